"""From asking for a notebook to a pod that answers: ours against stock KubeSpawner, on one cluster.

Pairs are interleaved, with both hubs up all the time and watching their namespaces; a start asks
by the REST API and follows the progress events as JupyterHub's own page does.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cluster import hubs, site
from benchmarks.cluster.site import Asked
from benchmarks.hubs import Hub
from benchmarks.stats import interleave, ratio_of_medians
from tests.cluster import images

WARM_UP = 2
MEMORY_SESSIONS = 100


def run(pairs: int = 30) -> dict[str, Any]:
    """Measure start time, the hub's CPU and API requests per start, and memory per session."""
    (user,) = site.people(1)
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("pods") as cluster,
    ):
        image = cluster.load(images.MINIMAL)
        folder = Path(name)
        with (
            hubs.stock(cluster, folder, image, [user], flavor="gpu") as reference,
            hubs.ours(cluster, folder, image, [user], flavor="gpu", whole=True) as hub,
        ):
            site.home(cluster, site.STOCK, f"home/{user}", hubs.IMAGES_NUMBER)
            found = _pairs(
                hub,
                reference,
                user,
                pairs,
                {
                    hub.name: Asked(cluster, hubs.OUR_ACCOUNT),
                    reference.name: Asked(cluster, hubs.STOCK_ACCOUNT),
                },
            )
    return {**found, "memory": memory()}


def _pairs(
    hub: Hub, reference: Hub, user: str, pairs: int, asked: dict[str, Asked]
) -> dict[str, Any]:
    cpu: dict[str, list[float]] = {hub.name: [], reference.name: []}
    requests: dict[str, list[Counter[str]]] = {hub.name: [], reference.name: []}

    def go(which: Hub) -> Callable[[], float]:
        def once() -> float:
            asked[which.name].since_last()
            seconds, spent = which.start_once(user)
            cpu[which.name].append(spent)
            requests[which.name].append(asked[which.name].since_last())
            return seconds

        return once

    mine, theirs = interleave(go(hub), go(reference), pairs=pairs, warm_up=WARM_UP)
    counts = {name: [c.total() for c in many[WARM_UP:]] for name, many in requests.items()}
    return {
        "seconds_to_ready": ratio_of_medians(mine, theirs).to_json(),
        "hub_cpu_seconds_per_start": ratio_of_medians(
            cpu[hub.name][WARM_UP:], cpu[reference.name][WARM_UP:]
        ).to_json(),
        "api_requests_per_start_and_stop": ratio_of_medians(
            counts[hub.name], counts[reference.name]
        ).to_json(),
        "api_requests_of_one": {name: dict(many[-1]) for name, many in requests.items()},
    }


def memory(sessions: int = MEMORY_SESSIONS) -> dict[str, Any]:
    """What each running session adds to the hub's memory, by many on simulated nodes."""
    grown: dict[str, float] = {}
    whole: dict[str, int] = {}
    users = site.people(sessions)
    for make in (hubs.stock, partial(hubs.ours, whole=True)):
        with (
            tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
            site.started("memory") as cluster,
        ):
            site.simulate(cluster, -(-sessions // site.DEVICES_A_NODE))
            with make(cluster, Path(name), "none", users, flavor="simulated") as hub:
                # What the first start loads once is not what a session costs.
                hub.start_once(users[0])
                before = hub.memory()["hub"]
                for user in users:
                    with hub.client(user) as client:
                        hub.ask(client, user)
                        hub.wait_ready(client, user)
                whole[hub.name] = hub.memory()["hub"]
                grown[hub.name] = (whole[hub.name] - before) / sessions
    ours, reference = (grown[name] for name in ("arcetri", "stock KubeSpawner"))
    return {
        "sessions": sessions,
        "bytes_a_session": {"ours": ours, "stock": reference},
        "ratio_a_session": ours / reference,
        "hub_bytes_with_all": {"ours": whole["arcetri"], "stock": whole["stock KubeSpawner"]},
        "hub_ratio_with_all": whole["arcetri"] / whole["stock KubeSpawner"],
    }
