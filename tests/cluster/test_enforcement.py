"""NetworkPolicies as a real plugin enforces them: the chart's, and the evaluator beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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
PORTS = (22, 80, 443, 5432, 6443, 8000, 8001, 8010, 8011, 8012, 8020, 8081, 8888)
TRIALS = 3
"""A plugin lags behind for a moment now and then; a policy that is wrong stays wrong."""
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
    # Another run's may still be going.
    cluster.run(
        [
            "kubectl",
            "delete",
            "namespace",
            *namespaces,
            "--ignore-not-found",
            "--now",
            "--timeout=90s",
        ]
    )
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

    def ask(source: str) -> dict[tuple[str, str, int], bool]:
        asked = [(one, port) for one, there in ports.items() if one != source for port in there]
        places = [(ends[target].address, port) for target, port in asked]
        pod = source.replace(" ", "-")
        answers = enforcement.ask(cluster, ends[source].namespace, pod, places)
        return {(source, *one): answer for one, answer in zip(asked, answers, strict=True)}

    sources = [name for name, end in ends.items() if isinstance(end, Pod)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, sources))
    return {key: answer for one in answers for key, answer in one.items()}


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
    cast = connections.pods(RELEASE, RELEASE)
    try:
        ends = _start(cluster, cast, {f"p{port}": port for port in PORTS})
        node = Node(addresses.NODE_NAME, addresses.NODE)
        ends |= {name: Outside(address) for name, address in STRANGERS.items()}
        ends |= {"node": node, "API server": node}
        ports = dict.fromkeys((*cast, *STRANGERS), PORTS)
        ports |= {"node": (10250, 22), "API server": (addresses.API_PORT,)}
        with (
            enforcement.outside(cluster, dict.fromkeys(STRANGERS.values(), PORTS)),
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
            for _ in range(TRIALS):
                reached = _reached(cluster, ends, ports)
                if not (wrong := _differ(reached, _evaluated(cluster, ends, reached))):
                    break
                time.sleep(3)
        assert wrong == {}

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


ODD = {
    "nothing": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    "no-egress": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"]},
    "types-filled-in": {"podSelector": {}, "egress": []},
    "one-peer-of-two-selectors": {
        "podSelector": {"matchLabels": {"app": "b"}},
        "ingress": [
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"team": "red"}},
                        "podSelector": {"matchLabels": {"app": "c"}},
                    }
                ]
            }
        ],
    },
    "two-peers": {
        "podSelector": {"matchLabels": {"app": "b"}},
        "ingress": [
            {
                "from": [
                    {"namespaceSelector": {"matchLabels": {"team": "red"}}},
                    {"podSelector": {"matchLabels": {"app": "c"}}},
                ]
            }
        ],
    },
    "named-port": {
        "podSelector": {},
        "ingress": [{"ports": [{"port": "p8001"}, {"port": 8010, "endPort": 8012}]}],
    },
    "expressions": {
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchExpressions": [{"key": "side", "operator": "Exists"}]}}
                ]
            }
        ],
    },
    "block-with-exceptions": {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [
            {
                "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.168.0.0/16"]}}],
                "ports": [{"port": 80}, {"port": 8888}],
            }
        ],
    },
    "both-sides": {
        "podSelector": {"matchLabels": {"app": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "c"}}}]}],
    },
    "empty-lists-are-everything": {
        "podSelector": {},
        "ingress": [{"from": [], "ports": []}],
        "policyTypes": ["Ingress"],
    },
}
"""Policies that are easily read wrong."""


@pytest.fixture(scope="module")
def arena(enforced: Cluster) -> Iterator[dict[str, End]]:
    """Some pods in two namespaces, and one machine outside."""
    cast = {
        "a": ("arena", {"app": "a"}),
        "b": ("arena", {"app": "b", "side": "left"}),
        "c": ("arena", {"app": "c"}),
        "d": ("arena-red", {"app": "c", "side": "right"}),
        "e": ("arena-red", {"app": "e"}),
    }
    try:
        ends = _start(enforced, cast, {f"p{port}": port for port in ODD_PORTS})
        enforced.run(["kubectl", "label", "namespace", "arena-red", "team=red"])
        outside = {name: STRANGERS[name] for name in ("internet", "private network")}
        with enforcement.outside(enforced, dict.fromkeys(outside.values(), ODD_PORTS)):
            yield ends | {name: Outside(address) for name, address in outside.items()}
    finally:
        _end(enforced, {"arena", "arena-red"})


ODD_PORTS = (80, 8001, 8011, 8012, 8888)


@pytest.mark.parametrize("name", ODD)
def test_the_evaluator_says_what_a_plugin_does(
    enforced: Cluster, arena: dict[str, End], name: str
) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "arena"},
        "spec": ODD[name],
    }
    enforced.apply(policy)
    try:
        enforcement.settled(enforced, [policy], [])
        for left in (2, 1, 0):  # the firewall follows events, and says of none that it is done
            reached = _reached(enforced, arena, dict.fromkeys(arena, ODD_PORTS))
            wrong = _differ(reached, _evaluated(enforced, arena, reached))
            if not wrong:
                break
            time.sleep(left)
        assert wrong == {}
    finally:
        enforced.run(["kubectl", "delete", "networkpolicy", name, "--namespace=arena"])
        enforcement.forgotten(enforced, name)
