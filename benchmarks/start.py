"""From asking for a notebook to a server that is ready: ours against stock JupyterHub.

Pairs are interleaved on one machine, with both hubs up all the time; a start asks by the REST API
and follows the progress events as JupyterHub's own page does.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.hubs import Hub, ours, stock
from benchmarks.stats import interleave, ratio_of_medians

PROFILES = Path(__file__).with_name("profiles.yaml")
CROWD = 20


def run(pairs: int = 30) -> dict[str, Any]:
    """Measure start time, the hub's CPU per start, memory, and a crowd of starts at once."""
    users = [f"user{number:02}" for number in range(CROWD)]
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        stock(Path(name), users[:1]) as reference,
        ours(Path(name), PROFILES, users) as hub,
    ):
        time_ratio, cpu_ratio = _pairs(hub, reference, users[0], pairs)
        memory = {"ours": hub.memory(), "stock": reference.memory()}
        crowd = _crowd(hub, users)
    return {
        "seconds_to_ready": time_ratio.to_json(),
        "hub_cpu_seconds_per_start": cpu_ratio.to_json(),
        "memory_bytes": memory,
        "memory_ratio": sum(memory["ours"].values()) / sum(memory["stock"].values()),
        "crowd": crowd,
    }


def _pairs(hub: Hub, reference: Hub, user: str, pairs: int) -> Any:
    cpu: dict[str, list[float]] = {hub.name: [], reference.name: []}

    def once(which: Hub) -> float:
        seconds, spent = which.start_once(user)
        cpu[which.name].append(spent)
        return seconds

    mine, theirs = interleave(lambda: once(hub), lambda: once(reference), pairs=pairs, warm_up=2)
    return (
        ratio_of_medians(mine, theirs),
        # The warm-up's are the first two.
        ratio_of_medians(cpu[hub.name][2:], cpu[reference.name][2:]),
    )


def _crowd(hub: Hub, users: list[str]) -> dict[str, Any]:
    """Everybody asks at the same moment; how many are ready, and when the last one is."""

    def go(user: str) -> float:
        with hub.client(user) as client:
            begin = time.monotonic()
            hub.ask(client, user)
            hub.wait_ready(client, user)
            return time.monotonic() - begin

    with ThreadPoolExecutor(len(users)) as pool:
        outcomes = [pool.submit(go, user) for user in users]
        seconds = sorted(one.result() for one in outcomes if one.exception() is None)
        failures = [str(one.exception()) for one in outcomes if one.exception() is not None]
    for user in users:
        with hub.client(user) as client:
            hub.stop(client, user)
    return {
        "asked": len(users),
        "ready": len(seconds),
        "failures": failures,
        "median_seconds": seconds[len(seconds) // 2] if seconds else None,
        "last_seconds": seconds[-1] if seconds else None,
    }


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(
        json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else 30), indent=2) + "\n"
    )
