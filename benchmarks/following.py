"""How soon what is on offer follows nodes and pods, at 200 simulated nodes and 2,000 pods."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cluster import hubs, site
from benchmarks.hubs import Hub
from tests.cluster.cluster import Cluster
from tests.cluster.pods import simulated_node, simulated_pod
from tests.support.platform import login

GPU = "nvidia.com/gpu"
NODES = 200
PODS = 2000
HOLDING_OF_FIVE = 2
EVENTS = 20
WATCHED_SECONDS = 60.0
PATIENCE = 60.0


def run(nodes: int = NODES, pods: int = PODS, events: int = EVENTS) -> dict[str, Any]:
    """Change nodes and pods, and see when the offers say so; and what watching them costs.

    Two pods in five hold a device, of all namespaces. Nodes are cordoned and freed, leave and come
    back, and are cut into fewer devices and back; pods that hold a device come and go. The hub's
    processor time is taken while a pod is replaced each second, and nobody asks.
    """
    users = site.people(1)
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("following") as cluster,
    ):
        names = site.simulate(cluster, nodes)
        _fill(cluster, pods)
        with hubs.ours(cluster, Path(name), "none", users, flavor="simulated") as hub:
            time.sleep(10)  # what a start of the hub costs is over
            cpu = hub.cpu()
            time.sleep(WATCHED_SECONDS)
            at_rest = (hub.cpu() - cpu) / WATCHED_SECONDS
            cpu, begin = hub.cpu(), time.monotonic()
            replaced = _replace(cluster, WATCHED_SECONDS)
            busy = (hub.cpu() - cpu) / (time.monotonic() - begin)
            delays = _follow(
                cluster, hub, users[0], names[: 3 * events : 3], names[1 : 3 * events : 3]
            )
    return {
        "nodes": nodes,
        "pods": pods,
        "hub_cpu_of_a_core": at_rest,
        "hub_cpu_of_a_core_while_replaced": busy,
        "pods_replaced_a_second": replaced / WATCHED_SECONDS,
        "events": len(delays),
        "seconds_to_follow_median": statistics.median(delays),
        "seconds_to_follow_longest": max(delays),
    }


def _fill(cluster: Cluster, pods: int) -> None:
    cluster.run(["kubectl", "create", "namespace", "others"])
    for begin in range(0, pods, 250):
        many = (
            _other(f"other-{number:04}", holds=number % 5 < HOLDING_OF_FIVE)
            for number in range(begin, begin + 250)
        )
        cluster.apply(*many)
    deadline = time.monotonic() + 300
    running = ["kubectl", "get", "pods", "--namespace=others", "--no-headers"]
    running += ["--field-selector=status.phase=Running"]
    while len(cluster.run(running).splitlines()) < pods:
        if time.monotonic() > deadline:
            raise RuntimeError("the simulated pods do not run")
        time.sleep(1)


def _other(name: str, *, holds: bool) -> dict[str, Any]:
    return simulated_pod(name, "others", devices={GPU: 1} if holds else None)


def _replace(cluster: Cluster, seconds: float) -> int:
    """Have a pod that holds a device be replaced each second; how many were."""
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        cluster.apply(_other(f"guest-{count}", holds=True))
        if count:
            cluster.run(["kubectl", "delete", "pod", "--namespace=others", "--wait=false",
                         f"guest-{count - 1}"])  # fmt: skip
        count += 1
        time.sleep(max(0.0, begin + count - time.monotonic()))
    return count


def _follow(
    cluster: Cluster, hub: Hub, user: str, cordoned: list[str], changed: list[str]
) -> list[float]:
    """Seconds from the API server's word to the hub's, for each change."""
    delays = []
    with httpx.Client(base_url=hub.url, timeout=60, trust_env=False) as client:
        login(client, hub.url, user, "demo")

        def offer() -> dict[str, Any]:
            offers = client.get("/hub/arcetri/offers").json()["offers"]
            found: dict[str, Any] = next(one for one in offers if one["flavor"] == "simulated")
            return found

        def there() -> int:
            return int(offer()["total"])

        def free() -> int:
            """For this person, and beyond their own limit: ``798 more for others``."""
            found = offer()
            others = found["others"].partition(" ")[0]
            return int(found["startable"]) + int(others or 0)

        whole = there()
        less = whole - site.DEVICES_A_NODE

        def see(command: list[str], wanted: int) -> None:
            cluster.run(["kubectl", *command])
            delays.append(_until(lambda: there() == wanted))

        for name in cordoned:
            see(["cordon", name], less)
            see(["uncordon", name], whole)
        for name in changed[::2]:
            see(["delete", "node", name], less)
            cluster.simulate(simulated_node(name, {GPU: site.DEVICES_A_NODE}))
            delays.append(_until(lambda: there() == whole))
        for name in changed[1::2]:
            for count in (site.DEVICES_A_NODE // 2, site.DEVICES_A_NODE):
                has = {"capacity": {GPU: str(count)}, "allocatable": {GPU: str(count)}}
                change = json.dumps({"status": has})
                patch = ["patch", "node", name, "--subresource=status", "--type=merge"]
                see([*patch, f"--patch={change}"], less + count)

        def becomes(wanted: int) -> None:
            delays.append(_until(lambda: free() == wanted))

        for number in range(len(cordoned)):
            before = free()
            cluster.apply(_other(f"late-{number}", holds=True))
            becomes(before - 1)
            cluster.run(["kubectl", "delete", "pod", "--namespace=others", f"late-{number}"])
            becomes(before)
    return delays


def _until(condition: Callable[[], bool]) -> float:
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > PATIENCE:
            raise RuntimeError("the offers do not follow")
        time.sleep(0.05)
    return time.monotonic() - begin
