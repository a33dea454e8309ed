"""What the API server refuses in a NetworkPolicy is refused by the evaluator too."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.support.netpolicy import READINGS, Policies
from tests.support.netpolicychecks import PolicyError


def _take(spec: dict[str, Any], namespace: str = "default", kind: str = "NetworkPolicy") -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "one", "namespace": namespace},
        "spec": spec,
    }
    Policies.of([policy], {"default": {}}, READINGS[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("podSelectr: {}", "unknown: podSelectr"),
        ("podSelector: {app: hub}", "unknown: app"),
        ("policyTypes: [ingress]", "no such policy type: ingress"),
        ("ingress: [{to: []}]", "ingress 0: unknown: to"),
        ("egress: [{}, {from: []}]", "egress 1: unknown: from"),
        (
            "podSelector: {matchExpressions: [{key: a, operator: Is, values: [b]}]}",
            "no such operator: Is",
        ),
        ("podSelector: {matchExpressions: [{key: a, operator: In}]}", "In with no values"),
        (
            "podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "Exists with",
        ),
    ],
)
def test_what_a_policy_cannot_say(spec: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        _take(yaml.safe_load(spec))


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("{}", "a peer says nothing"),
        ("{podSelector: null}", "a peer says nothing"),
        ("{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}", "an ipBlock stands alone"),
        ("{podSelector: {}, serviceSelector: {}}", "unknown: serviceSelector"),
        ("{ipBlock: {cidr: 10.0.0.1/8}}", "host bits"),
        ("{ipBlock: {cidr: 10.0.0.0/8, excpt: []}}", "unknown: excpt"),
        ("{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}", "11.0.0.0/9 is no part of"),
        ("{ipBlock: {cidr: 10.0.0.0/8, except: ['::/9']}}", "::/9 is no part of"),
        ("{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}", "is no part of"),
    ],
)
def test_what_a_peer_cannot_say(peer: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        _take({"ingress": [{"from": [yaml.safe_load(peer)]}]})


@pytest.mark.parametrize(
    ("port", "message"),
    [
        ("{endPort: 9}", "endPort 9 needs a port"),
        ("{port: a, endPort: 9}", "endPort 9 needs a port"),
        ("{port: 10, endPort: 9}", "endPort 9 needs a port"),
        ("{port: 0}", "no such port: 0"),
        ("{protocol: ICMP}", "no such protocol: ICMP"),
        ("{number: 80}", "unknown: number"),
    ],
)
def test_what_a_port_cannot_say(port: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        _take({"egress": [{"ports": [yaml.safe_load(port)]}]})


def test_a_policy_of_an_unknown_namespace_or_another_kind() -> None:
    with pytest.raises(PolicyError, match="no such namespace: nowhere"):
        _take({"podSelector": {}}, "nowhere")
    with pytest.raises(PolicyError, match=r"no NetworkPolicy of networking\.k8s\.io/v1"):
        _take({"podSelector": {}}, kind="Ingress")
