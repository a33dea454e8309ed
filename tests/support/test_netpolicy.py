"""The evaluator of NetworkPolicies, held to the rules that Kubernetes' documentation gives."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.support.netpolicy import (
    READINGS,
    Connection,
    End,
    Node,
    Outside,
    Pod,
    Policies,
    Reading,
    in_block,
    selects,
    types_of,
)

NAMESPACES = {"default": {}, "other": {"project": "myproject"}, "third": {}}
PLAIN = Reading(blocks_reach_inside=True, knows_host_network=False)
DB = Pod("default", {"role": "db"}, "172.16.0.1", node="a", ports={("TCP", "redis"): 6379})
FRONT = Pod("default", {"role": "frontend"}, "172.16.0.2", node="b")
ODD = Pod("default", {}, "172.16.0.3", node="b")
GUEST = Pod("other", {}, "172.16.1.1", node="b")
GUEST_FRONT = Pod("other", {"role": "frontend"}, "172.16.1.2", node="b")
STRANGER = Pod("third", {"role": "frontend"}, "172.16.2.1", node="b")

# The example of the documentation's page on network policies.
EXAMPLE = """
podSelector: {matchLabels: {role: db}}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - ipBlock: {cidr: 172.17.0.0/16, except: [172.17.1.0/24]}
  - namespaceSelector: {matchLabels: {project: myproject}}
  - podSelector: {matchLabels: {role: frontend}}
  ports: [{protocol: TCP, port: 6379}]
egress:
- to: [{ipBlock: {cidr: 10.0.0.0/24}}]
  ports: [{protocol: TCP, port: 5978}]
"""


def _policy(spec: str | dict[str, Any], namespace: str = "default") -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": yaml.safe_load(spec) if isinstance(spec, str) else spec,
    }


def _allowed(
    source: End,
    target: End,
    *specs: str | dict[str, Any],
    port: int = 6379,
    protocol: str = "TCP",
    reading: Reading = PLAIN,
) -> bool:
    policies = Policies.of(map(_policy, specs), NAMESPACES, reading)
    return bool(policies.verdict(Connection(source, target, port, protocol)))


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (FRONT, True),
        (ODD, False),
        (GUEST, True),
        (STRANGER, False),
        (Outside("172.17.0.1"), True),
        (Outside("172.17.1.1"), False),
        (Outside("172.17.2.1"), True),
        (Outside("172.18.0.1"), False),
        (Node("a", "192.168.0.1"), True),
        (Node("b", "192.168.0.2"), False),
    ],
)
def test_the_example_lets_in_what_its_page_says(source: End, wanted: bool) -> None:
    assert _allowed(source, DB, EXAMPLE) is wanted
    assert _allowed(source, DB, EXAMPLE, port=6380) is isinstance(source, Node) & wanted
    assert _allowed(source, DB, EXAMPLE, protocol="UDP") is isinstance(source, Node) & wanted


def test_the_example_lets_out_what_its_page_says() -> None:
    assert _allowed(DB, Outside("10.0.0.9"), EXAMPLE, port=5978)
    assert not _allowed(DB, Outside("10.0.0.9"), EXAMPLE, port=5979)
    assert not _allowed(DB, Outside("10.0.1.9"), EXAMPLE, port=5978)
    assert not _allowed(DB, FRONT, EXAMPLE, port=5978)


def test_pods_that_no_policy_selects_are_not_isolated() -> None:
    assert _allowed(ODD, FRONT, EXAMPLE, port=1)
    assert _allowed(STRANGER, GUEST, EXAMPLE, port=1)


def test_a_policy_is_about_pods_of_its_own_namespace() -> None:
    everyone = _policy({"podSelector": {}, "policyTypes": ["Ingress"]}, "other")
    policies = Policies.of([everyone], NAMESPACES, PLAIN)
    assert not policies.verdict(Connection(DB, GUEST, 80))
    assert policies.verdict(Connection(GUEST, DB, 80))


def test_one_peer_of_two_selectors_is_narrower_than_two_peers() -> None:
    both = """
    podSelector: {}
    ingress:
    - from:
      - namespaceSelector: {matchLabels: {project: myproject}}
        podSelector: {matchLabels: {role: frontend}}
    """
    either = both.replace("  podSelector: {matchLabels", "- podSelector: {matchLabels")
    reached = {
        name: [_allowed(one, DB, spec) for one in (GUEST_FRONT, GUEST, FRONT, ODD, STRANGER)]
        for name, spec in {"both": both, "either": either}.items()
    }
    assert reached == {
        "both": [True, False, False, False, False],
        "either": [True, True, True, False, False],
    }


def test_an_empty_selector_of_namespaces_is_every_pod_and_nothing_else() -> None:
    spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"
    assert _allowed(STRANGER, DB, spec)
    assert not _allowed(Outside("1.1.1.1"), DB, spec)


def test_namespaces_are_known_by_the_name_that_the_api_server_gives_them() -> None:
    spec = """
    podSelector: {}
    ingress:
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: third}}}]
    """
    assert _allowed(STRANGER, DB, spec)
    assert not _allowed(GUEST, DB, spec)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("{podSelector: {}}", ["ingress"]),
        ("{podSelector: {}, ingress: [{}]}", ["ingress"]),
        ("{podSelector: {}, egress: []}", ["ingress"]),
        ("{podSelector: {}, egress: [{}]}", ["ingress", "egress"]),
        ("{podSelector: {}, egress: [{}], policyTypes: [Ingress]}", ["ingress"]),
        ("{podSelector: {}, ingress: [{}], policyTypes: [Egress]}", ["egress"]),
    ],
)
def test_types_that_a_policy_does_not_say_are_filled_in(spec: str, wanted: list[str]) -> None:
    parsed = yaml.safe_load(spec)
    assert types_of(parsed) == wanted
    rules = {kind: bool(parsed.get(kind)) for kind in wanted}
    assert _allowed(FRONT, DB, spec) is (rules.get("ingress", True) and rules.get("egress", True))


def test_both_sides_must_allow() -> None:
    out = "{podSelector: {matchLabels: {role: frontend}}, policyTypes: [Egress], egress: [{}]}"
    none_out = "{podSelector: {matchLabels: {role: frontend}}, policyTypes: [Egress]}"
    into = "{podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress], ingress: [{}]}"
    none_in = "{podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress]}"
    assert _allowed(FRONT, DB, out, into)
    assert not _allowed(FRONT, DB, none_out, into)
    assert not _allowed(FRONT, DB, out, none_in)


def test_policies_add_up() -> None:
    deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
    assert not _allowed(FRONT, DB, deny)
    out = "{podSelector: {}, policyTypes: [Egress], egress: [{}]}"
    assert _allowed(FRONT, DB, deny, EXAMPLE, out)
    assert _allowed(FRONT, DB, EXAMPLE, deny, out)


@pytest.mark.parametrize(
    ("port", "reached"),
    [
        ("{}", {("TCP", 1), ("TCP", 6379), ("TCP", 65535)}),
        ("{protocol: UDP}", {("UDP", 6379)}),
        ("{port: 6379}", {("TCP", 6379)}),
        ("{port: 6379, protocol: UDP}", {("UDP", 6379)}),
        ("{port: 6000, endPort: 6379}", {("TCP", 6379)}),
        ("{port: 6379, endPort: 65535}", {("TCP", 6379), ("TCP", 65535)}),
        ("{port: redis}", {("TCP", 6379)}),
        ("{port: redis, protocol: UDP}", set()),
        ("{port: http}", set()),
    ],
)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_ports_by_number_range_name_and_protocol(
    port: str, direction: str, reached: set[tuple[str, int]]
) -> None:
    who = "db" if direction == "ingress" else "frontend"
    types = direction.title()
    spec = (
        f"{{podSelector: {{matchLabels: {{role: {who}}}}}, policyTypes: [{types}],"
        f" {direction}: [{{ports: [{port}]}}]}}"
    )
    asked = [("TCP", 1), ("TCP", 6379), ("TCP", 65535), ("UDP", 6379)]
    assert {
        (protocol, number)
        for protocol, number in asked
        if _allowed(FRONT, DB, spec, port=number, protocol=protocol)
    } == reached


def test_a_named_port_outside_the_cluster_is_no_port() -> None:
    spec = "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: redis}]}]}"
    assert not _allowed(FRONT, Outside("1.1.1.1"), spec)
    assert not _allowed(FRONT, Node("a", "192.168.0.1"), spec)


def test_a_rule_needs_both_its_ports_and_its_peers() -> None:
    spec = """
    podSelector: {}
    ingress:
    - {ports: [{port: 80}], from: [{podSelector: {}}]}
    - {ports: [{port: 81}]}
    """
    assert _allowed(FRONT, DB, spec, port=80)
    assert not _allowed(GUEST, DB, spec, port=80)
    assert _allowed(GUEST, DB, spec, port=81)


def test_a_pod_hears_itself_and_its_own_node_whatever_the_policies() -> None:
    deny = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
    assert _allowed(DB, DB, deny)
    assert _allowed(Node("a", "192.168.0.1"), DB, deny)
    assert not _allowed(Node("b", "192.168.0.2"), DB, deny)
    assert not _allowed(DB, Node("a", "192.168.0.1"), deny)


def test_families_do_not_mix() -> None:
    assert not _allowed(DB, Outside("2606:4700::1111"))
    six = Pod("default", {}, "fd00::1")
    assert _allowed(six, Outside("2606:4700::1111"))
    spec = "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: '0.0.0.0/0'}}]}]}"
    assert not _allowed(six, Outside("2606:4700::1111"), spec)


class TestReadings:
    BLOCK = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
    SELECTOR = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"
    DENY = "{podSelector: {}, policyTypes: [Ingress, Egress]}"
    HOST = Pod("other", {}, "192.168.0.2", node="b", host_network=True)

    def test_whether_blocks_are_about_pods_and_nodes(self) -> None:
        reached = {
            reading.blocks_reach_inside: [
                _allowed(one, DB, self.BLOCK, reading=reading)
                for one in (FRONT, Node("b", "192.168.0.2"), Outside("1.1.1.1"))
            ]
            for reading in READINGS
        }
        assert reached == {True: [True, True, True], False: [False, False, True]}

    def test_whether_pods_of_the_hosts_network_are_known(self) -> None:
        for reading in READINGS:
            known = reading.knows_host_network
            assert _allowed(self.HOST, DB, self.SELECTOR, reading=reading) is known
            there = Policies.of([_policy(self.DENY, "other")], NAMESPACES, reading)
            assert bool(there.verdict(Connection(self.HOST, DB, 80))) is not known
            assert bool(there.verdict(Connection(DB, self.HOST, 80))) is not known

    def test_a_pod_taken_for_its_node_is_heard_by_that_nodes_pods(self) -> None:
        near = Pod("default", {"role": "db"}, "172.16.0.9", node="b")
        for reading in READINGS:
            wanted = not reading.knows_host_network
            assert _allowed(self.HOST, near, self.DENY, reading=reading) is wanted
            assert not _allowed(self.HOST, DB, self.DENY, reading=reading)


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))
VALUES = st.lists(st.sampled_from("xyz"), min_size=1, unique=True)


@given(LABELS, st.sampled_from("abc"), VALUES)
def test_operators_of_selectors(labels: dict[str, str], key: str, values: list[str]) -> None:
    def chosen(operator: str, *more: str) -> bool:
        wanted = {"key": key, "operator": operator, **({"values": list(more)} if more else {})}
        return selects({"matchExpressions": [wanted]}, labels)

    assert chosen("Exists") is (key in labels)
    assert chosen("DoesNotExist") is (key not in labels)
    assert chosen("In", *values) is (labels.get(key) in values)
    assert chosen("NotIn", *values) is not chosen("In", *values)
    assert chosen("In", *values) is any(chosen("In", value) for value in values)
    assert selects({"matchLabels": labels}, labels)
    assert selects({}, labels)


@given(LABELS, LABELS)
def test_labels_must_all_match(wanted: dict[str, str], labels: dict[str, str]) -> None:
    assert selects({"matchLabels": wanted}, labels) is (wanted.items() <= labels.items())


def _networks(family: int, low: int = 0) -> st.SearchStrategy[Any]:
    bits = {4: 32, 6: 128}[family]
    kind = {4: ipaddress.IPv4Network, 6: ipaddress.IPv6Network}[family]
    return st.builds(
        lambda address, length: kind((address, length), strict=False),
        st.ip_addresses(v=family),
        st.integers(low, bits),
    )


@given(st.data(), st.sampled_from([4, 6]))
def test_blocks_and_their_exceptions(data: st.DataObject, family: int) -> None:
    whole = data.draw(_networks(family))
    hole = data.draw(
        st.sampled_from(list(whole.subnets())) if whole.num_addresses > 1 else st.none()
    )
    block = {"cidr": str(whole), **({"except": [str(hole)]} if hole else {})}
    for address in (
        data.draw(st.ip_addresses(v=family)),
        data.draw(st.ip_addresses(network=whole)),
        whole[0],
        whole[-1],
    ):
        inside = whole[0] <= address <= whole[-1]
        taken = hole is not None and hole[0] <= address <= hole[-1]
        assert in_block(block, str(address)) is (inside and not taken)


SPECS = st.fixed_dictionaries(
    {"podSelector": st.builds(lambda labels: {"matchLabels": labels}, LABELS)},
    optional={
        "policyTypes": st.lists(st.sampled_from(["Ingress", "Egress"]), unique=True),
        **{
            direction: st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "ports": st.lists(
                            st.builds(lambda port: {"port": port}, st.integers(80, 82)), max_size=2
                        ),
                        peers: st.lists(
                            st.one_of(
                                st.builds(
                                    lambda one: {"podSelector": {"matchLabels": one}}, LABELS
                                ),
                                st.builds(
                                    lambda one: {"ipBlock": {"cidr": str(one)}}, _networks(4, 8)
                                ),
                                st.just({"namespaceSelector": {}}),
                            ),
                            max_size=2,
                        ),
                    },
                ),
                max_size=2,
            )
            for direction, peers in (("ingress", "from"), ("egress", "to"))
        },
    },
)
PODS = st.builds(
    Pod,
    st.sampled_from(["default", "other"]),
    LABELS,
    st.ip_addresses(v=4).map(str),
    node=st.sampled_from("ab"),
)
CONNECTIONS = st.builds(Connection, PODS, PODS, st.integers(80, 82))


@given(st.lists(SPECS, max_size=3), CONNECTIONS, st.sampled_from(READINGS))
def test_order_does_not_matter_and_another_rule_never_takes_away(
    specs: list[dict[str, Any]], tried: Connection, reading: Reading
) -> None:
    def allowed(policies: list[dict[str, Any]]) -> bool:
        return bool(Policies.of(policies, NAMESPACES, reading).verdict(tried))

    policies = [_policy(spec) for spec in specs]
    before = allowed(policies)
    assert allowed(policies[::-1]) is before
    assert allowed(policies * 2) is before
    everything = {"podSelector": {}, "ingress": [{}], "egress": [{}]}
    if before:
        assert allowed([*policies, _policy(everything)])
        for policy in policies:
            types = [one.title() for one in types_of(policy["spec"])]
            wider = {**policy["spec"], "policyTypes": types}
            for direction in ("ingress", "egress"):
                wider[direction] = [*wider.get(direction, []), {"ports": [{"port": 80}]}]
            assert allowed([_policy(wider) if one is policy else one for one in policies])


@given(st.lists(SPECS, max_size=3), CONNECTIONS, st.sampled_from(READINGS))
def test_where_everything_is_denied_only_what_a_rule_names_is_allowed(
    specs: list[dict[str, Any]], tried: Connection, reading: Reading
) -> None:
    nothing = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policies = [_policy(spec, where) for spec in specs for where in ("default", "other")]
    denied = [_policy(nothing, where) for where in ("default", "other")]
    verdict = Policies.of([*policies, *denied], NAMESPACES, reading).verdict(tried)
    if verdict and tried.source != tried.target:
        assert "not isolated" not in verdict.why
        assert Policies.of(policies, NAMESPACES, reading).verdict(tried)
