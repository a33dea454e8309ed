"""NetworkPolicies as a real plugin enforces them: the chart's, and the evaluator beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.cluster import addresses, enforcement, images
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, running
from tests.helm import connections
from tests.support import helm
from tests.support.netpolicy import Connection, End, Node, Outside, Pod, Policies, Reading

pytestmark = pytest.mark.cluster

RELEASE = "guarded"
READING = Reading(blocks_reach_inside=True, knows_host_network=False)
"""How kube-router reads what the API leaves open."""
NODE_PORTS = (addresses.API_PORT, 10250)
STRANGERS = {
    "internet": "1.1.1.1",
    "metadata": "169.254.169.254",
    "private network": "192.168.7.7",
    "database": "192.168.7.8",
}


@pytest.fixture(scope="module")
def enforced(cluster: Cluster) -> Iterator[Cluster]:
    with enforcement.enforcing(cluster):
        yield cluster


def _start(
    cluster: Cluster, wanted: Mapping[str, tuple[str, dict[str, str]]], ports: Mapping[str, int]
) -> dict[str, End]:
    """Pods that listen on ports, by name; the names' spaces become hyphens."""
    base = cluster.load(images.BASE)
    named = [{"name": name, "containerPort": number} for name, number in ports.items()]
    namespaces = sorted({namespace for namespace, _ in wanted.values()})
    cluster.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": one}}
            for one in namespaces
        ),
        *(
            pod(
                name.replace(" ", "-"),
                namespace,
                image=base,
                labels=labels,
                container={
                    "command": enforcement.listening(ports.values()),
                    "ports": named,
                },
                **enforcement.LISTENER,
            )
            for name, (namespace, labels) in wanted.items()
        ),
    )
    ends: dict[str, End] = {}
    for name, (namespace, _) in wanted.items():
        found = cluster.until("pod", name.replace(" ", "-"), running, namespace=namespace)
        ends[name] = Pod(
            namespace,
            found["metadata"]["labels"],
            found["status"]["podIP"],
            node=found["spec"]["nodeName"],
            ports={
                (one["protocol"], one["name"]): one["containerPort"]
                for one in found["spec"]["containers"][0]["ports"]
            },
        )
    return ends


def _end(cluster: Cluster, namespaces: set[str]) -> None:
    command = ["kubectl", "delete", "namespace", *sorted(namespaces), "--wait=false", "--now"]
    cluster.run(command)


def _reached(
    cluster: Cluster, ends: Mapping[str, End], ports: Mapping[str, tuple[int, ...]]
) -> dict[tuple[str, str, int], bool]:
    """Which pod connects to whom at which port, tried for real."""
    found = {}
    for source, end in ends.items():
        if isinstance(end, Pod):
            asked = [
                (target, port)
                for target, there in ports.items()
                if target != source
                for port in there
            ]
            places = [(ends[target].address, port) for target, port in asked]
            answers = enforcement.ask(cluster, end.namespace, source.replace(" ", "-"), places)
            found |= {(source, *one): answer for one, answer in zip(asked, answers, strict=True)}
    return found


def _labels(cluster: Cluster) -> dict[str, dict[str, str]]:
    items = cluster.kubectl("get", "namespaces")["items"]
    return {one["metadata"]["name"]: one["metadata"]["labels"] for one in items}


def _evaluated(
    cluster: Cluster, ends: Mapping[str, End], tried: dict[tuple[str, str, int], bool]
) -> dict[tuple[str, str, int], bool]:
    """What the evaluator says of the same, by the objects that the API server holds."""
    held = cluster.kubectl("get", "networkpolicies", "--all-namespaces")["items"]
    policies = Policies.of(held, _labels(cluster), READING)
    return {
        (source, target, port): policies.verdict(
            Connection(ends[source], ends[target], port)
        ).allowed
        for source, target, port in tried
    }


def test_the_charts_policies_when_they_are_enforced(enforced: Cluster) -> None:
    cluster = enforced
    tcp = tuple(port for port, protocol in connections.PORTS if protocol == "TCP")
    cast = connections.pods(RELEASE, RELEASE)
    try:
        ends = _start(cluster, cast, {f"p{port}": port for port in tcp})
        node = Node(addresses.NODE_NAME, addresses.NODE)
        ends |= {name: Outside(address) for name, address in STRANGERS.items()}
        ends |= {"node": node, "API server": node}
        ports = dict.fromkeys((*cast, *STRANGERS), tcp)
        ports |= {"node": (10250, 22), "API server": (addresses.API_PORT,)}
        with (
            enforcement.outside(cluster, dict.fromkeys(STRANGERS.values(), tcp)),
            enforcement.on_the_node(cluster, [22]),
        ):
            open_before = _reached(cluster, ends, ports)
            assert all(open_before.values()), "something does not listen, or is closed already"

            objects = helm.render(
                connections.everything(RELEASE), release=RELEASE, namespace=RELEASE
            )
            policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
            cluster.apply(*policies)
            pods = [end for end in ends.values() if isinstance(end, Pod)]
            enforcement.settled(cluster, policies, pods)
            reached = _reached(cluster, ends, ports)
        assert _differ(reached, _evaluated(cluster, ends, reached)) == {}

        wanted = {
            (source, target, port)
            for row in connections.rows()
            if row.allowed
            for source, target, port, protocol in connections.names(row)
            if protocol == "TCP"
        }
        ours = {
            one: (answer, one in wanted)
            for one, answer in reached.items()
            if not {*one[:2]} <= {*connections.STRANGERS}
        }
        assert {one: both for one, both in ours.items() if both[0] is not both[1]} == {}
        assert sum(reached.values()) > 100
    finally:
        _end(cluster, {namespace for namespace, _ in cast.values()})


def _differ(one: Mapping[Any, bool], other: Mapping[Any, bool]) -> dict[Any, tuple[bool, bool]]:
    return {key: (one[key], other[key]) for key in one if one[key] is not other[key]}
