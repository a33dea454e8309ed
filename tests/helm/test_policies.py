"""The chart's NetworkPolicies allow the connections of the documentation's table, and no others."""

from __future__ import annotations

import functools
import ipaddress
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.helm import connections
from tests.helm.connections import COMPONENTS, NAMESPACES, STRANGERS, Row, world
from tests.support import helm
from tests.support.netpolicy import READINGS, Connection, Node, Outside, Pod, Policies, Reading

ROWS = tuple(connections.rows())
FAMILIES = (4, 6)


def _policies(values: Mapping[str, Any], reading: Reading) -> Policies:
    objects = helm.render(helm.merged(connections.everything(), values))
    found = [one for one in objects if one["kind"] == "NetworkPolicy"]
    return Policies.of(found, NAMESPACES, reading)


@functools.cache
def _as_it_comes(reading: Reading) -> Policies:
    return _policies({}, reading)


@pytest.fixture(params=READINGS, ids=str)
def policies(request: pytest.FixtureRequest) -> Policies:
    return _as_it_comes(request.param)


def _say(row: Row) -> str:
    return f"{row.source} to {row.target}, {'yes' if row.allowed else 'no'}"


@pytest.mark.parametrize("row", ROWS, ids=_say)
def test_a_connection_of_the_table(row: Row) -> None:
    for reading in READINGS:
        policies = _as_it_comes(reading)
        for family in FAMILIES:
            for _, tried in world(family).tried(row):
                verdict = policies.verdict(tried)
                assert verdict.allowed is row.allowed, f"{reading}, {tried}: {verdict.why}"


def test_whatever_the_table_does_not_allow_is_refused(policies: Policies) -> None:
    for family in FAMILIES:
        here = world(family)
        wanted = {names for row in ROWS if row.allowed for names, _ in here.tried(row)}
        wrong = [
            (*names, verdict.why)
            for names, tried in here.everything()
            if not set(names[:2]) <= set(STRANGERS)  # what they do among themselves is not ours
            and not _to_its_pods(tried)
            and names not in wanted
            and (verdict := policies.verdict(tried))
        ]
        assert not wrong


def _to_its_pods(tried: Connection) -> bool:
    """A node reaches its own pods: the kubelet's probes."""
    source, target = tried.source, tried.target
    return isinstance(source, Node) and isinstance(target, Pod) and source.name == target.node


def test_every_pod_of_ours_is_isolated_both_ways(policies: Policies) -> None:
    ends = world(4).ends
    for name in (*COMPONENTS, "session", "pulled image"):
        for direction in ("ingress", "egress"):
            assert policies.isolating(ends[name], direction), (name, direction)
    for name in ("session", "agent", "provisioner", "pulled image"):
        stray = Pod(ends[name].namespace, {"any": "thing"}, "10.42.0.99")
        assert policies.isolating(stray, "ingress")
        assert policies.isolating(stray, "egress")


def test_other_tenants_of_the_releases_namespace_are_left_alone(policies: Policies) -> None:
    database = Pod(helm.NAMESPACE, {"app": "postgresql"}, "10.42.0.98")
    for other in (Outside("1.1.1.1"), world(4).ends["another application"]):
        assert policies.verdict(Connection(other, database, 5432))
        assert policies.verdict(Connection(database, other, 443))


@pytest.mark.parametrize("family", FAMILIES)
def test_of_all_addresses_a_session_reaches_public_ones_alone(
    policies: Policies, family: int
) -> None:
    session = world(family).ends["session"]

    @given(st.ip_addresses(v=family), st.integers(1, 65535))
    def reach(address: Any, port: int) -> None:
        reached = policies.verdict(Connection(session, Outside(str(address)), port))
        if reached:
            assert address.is_global
            assert not address.is_multicast
        elif family == 4:
            near = any(address in ipaddress.ip_network(one) for one in _NEAR_PUBLIC)
            assert not address.is_global or address.is_multicast or near

    reach()
    for text in _NEAR:
        if ipaddress.ip_address(text).version == family:
            assert not policies.verdict(Connection(session, Outside(text), 80))


_NEAR_PUBLIC = ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")
_NEAR = {
    "169.254.169.254", "fd00:ec2::254",  # Amazon, Google, Azure, OpenStack
    "168.63.129.16",  # Azure's other one
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle
    "fd20:ce::254",  # Google
    "192.88.99.1", "2002:a9fe:a9fe::1",  # what a tunnel would carry to a private address
    "64:ff9b::a9fe:a9fe", "::ffff:169.254.169.254", "fe80::1", "::1",
}  # fmt: skip


def _block(address: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": f"{address}/{32 if '.' in address else 128}"}}


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_a_site_that_says_where_things_are_opens_nothing_else(reading: Reading) -> None:
    ends = world(4).ends
    places = {
        "apiServer": {"to": [_block(ends["API server"].address)]},
        "database": {"to": [_block(ends["database"].address)]},
        "iam": {"to": [_block(ends["internet"].address)]},
        "proxy": {"from": [{"namespaceSelector": {"matchLabels": {"side": "front"}}}]},
    }
    policies = _policies({"networkPolicy": places}, reading)
    reached = {
        names
        for names, tried in world(4).everything()
        if set(names[:2])
        & {"hub", "ledger", "agent", "provisioner", "prepuller", "queues", "proxy"}
        and set(names[:2]) & (set(STRANGERS) - {"DNS", "monitoring"})
        and not _to_its_pods(tried)
        and policies.verdict(tried)
    }
    api = {
        (name, "API server", port, "TCP")
        for name in ("hub", "ledger", "agent", "provisioner", "prepuller", "queues")
        for port in (443, 6443)
    }
    assert reached == {
        *(api if reading.blocks_reach_inside else ()),
        ("hub", "database", 5432, "TCP"),
        ("ledger", "database", 5432, "TCP"),
        ("hub", "internet", 443, "TCP"),
    }


def _reached_by_a_session(values: Mapping[str, Any], family: int = 4) -> set[tuple[str, int, str]]:
    policies = _policies({"networkPolicy": {"sessions": values}}, READINGS[0])
    return {
        names[1:]
        for names, tried in world(family).everything()
        if names[0] == "session" and policies.verdict(tried)
    }


ALWAYS = {("hub", 8081, "TCP"), ("DNS", 53, "TCP"), ("DNS", 53, "UDP")}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_without_the_internet(family: int) -> None:
    assert _reached_by_a_session({"internet": {"enabled": False}}, family) == ALWAYS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_with_some_ports_of_the_internet(family: int) -> None:
    ports = [{"port": 80}, {"port": 8000, "endPort": 8443}, {"port": 123, "protocol": "UDP"}]
    reached = _reached_by_a_session({"internet": {"ports": ports}}, family)
    numbers = {one for one in connections.PORTS if one[1] == "TCP" and 8000 <= one[0] <= 8443}
    numbers |= {(80, "TCP"), (123, "UDP")}
    assert reached - ALWAYS == {("internet", *one) for one in numbers}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_whose_nodes_have_public_addresses(family: int) -> None:
    public = ["1.1.0.0/16", "2606:4700::/32", "fd00::/8", "10.0.0.0/8"]
    assert _reached_by_a_session({"internet": {"protectedCidrs": public}}, family) == ALWAYS


def test_a_site_that_opens_its_own_servers() -> None:
    rule = {"to": [_block("192.168.7.7")], "ports": [{"port": 443}]}
    reached = _reached_by_a_session({"egress": [rule], "internet": {"enabled": False}})
    assert reached - ALWAYS == {("private network", 443, "TCP")}


@pytest.mark.parametrize("component", ["hub", "proxy", "ledger", "agents", "provisioner"])
def test_a_site_adds_rules_to_a_component(component: str) -> None:
    door = {"ports": [{"port": 22}]}
    values = {"networkPolicy": {component: {"ingress": [door], "egress": [door]}}}
    policies = _policies(values, READINGS[0])
    pod, other = (world(4).ends[name] for name in (component.rstrip("s"), "private network"))
    assert policies.verdict(Connection(pod, other, 22))
    assert policies.verdict(Connection(other, pod, 22))
    assert not policies.verdict(Connection(other, pod, 23))


def test_with_zero_to_jupyterhub_its_hub_and_proxy_take_our_places() -> None:
    hub_elsewhere = {"enabled": False, "publicUrl": "https://ai.example.org"}
    policies = _policies({"hub": hub_elsewhere}, READINGS[0])
    ends = world(4).ends
    hub, proxy, user = (
        Pod(helm.NAMESPACE, {"app": "jupyterhub", "component": name}, f"10.42.1.{number}")
        for number, name in enumerate(("hub", "proxy", "singleuser-server"))
    )
    wanted = [
        *((hub, name, port) for name, port in (("session", 8888), ("ledger", 8010))),
        *((proxy, name, port) for name, port in (("session", 8888), ("ledger", 8010))),
        (hub, "provisioner", 8020),
    ]
    for one in (hub, proxy, user):
        for name in ("session", "ledger", "provisioner", "agent"):
            for port in (8888, 8010, 8020, 8011):
                expected = (one, name, port) in wanted
                assert policies.verdict(Connection(one, ends[name], port)).allowed is expected
    for name in ("session", "ledger"):
        assert policies.verdict(Connection(ends[name], hub, 8081))
        assert not policies.verdict(Connection(ends[name], proxy, 8001))


OVERLAY = Path(__file__).parents[2] / "helm" / "z2jh-overlay" / "values.yaml"


def test_the_overlays_rules_let_both_charts_through_and_no_more() -> None:
    """zero-to-jupyterhub's own policies with nothing in them but what the overlay adds."""
    overlay = yaml.safe_load(OVERLAY.read_text(encoding="utf-8"))
    given = {
        "hub": overlay["hub"]["networkPolicy"],
        "proxy": overlay["proxy"]["chp"]["networkPolicy"],
    }
    theirs = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": helm.NAMESPACE},
            "spec": {
                "podSelector": {"matchLabels": {"app": "jupyterhub", "component": name}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": rules.get("ingress", []),
                "egress": rules["egress"],
            },
        }
        for name, rules in given.items()
    ]
    values = {"hub": {"enabled": False, "publicUrl": "https://ai.example.org"}}
    objects = helm.render(helm.merged(connections.everything(), values))
    ours = [one for one in objects if one["kind"] == "NetworkPolicy"]
    policies = Policies.of([*ours, *theirs], NAMESPACES, READINGS[0])
    ends = dict(world(4).ends)
    for number, name in enumerate(("hub", "proxy")):
        labels = {"app": "jupyterhub", "component": name}
        ends[name] = Pod(helm.NAMESPACE, labels, f"10.42.1.{number}")
    reached = {
        (source, target, port)
        for source, target in itertools.permutations(ends, 2)
        if {source, target} & {"hub", "proxy"}
        for port in (8000, 8001, 8010, 8011, 8012, 8020, 8081, 8888, 443, 6443, 5432)
        if policies.verdict(Connection(ends[source], ends[target], port))
        and not _to_its_pods(Connection(ends[source], ends[target], port))
    }
    near = {one for one in reached if not {*one[:2]} & {*STRANGERS}}
    assert near == {
        ("hub", "session", 8888), ("hub", "another session", 8888),
        ("hub", "ledger", 8010), ("hub", "provisioner", 8020),
        ("proxy", "session", 8888), ("proxy", "another session", 8888),
        ("proxy", "ledger", 8010),
        ("session", "hub", 8081), ("another session", "hub", 8081),
        ("ledger", "hub", 8081), ("test", "hub", 8081),
    }  # fmt: skip
    assert {port for source, _, port in reached - near if source == "hub"} == {443, 6443}
    assert not {one for one in reached - near if one[0] == "proxy"}


def test_without_policies_there_are_none() -> None:
    values = helm.merged(connections.everything(), {"networkPolicy": {"enabled": False}})
    assert not [one for one in helm.render(values) if one["kind"] == "NetworkPolicy"]
