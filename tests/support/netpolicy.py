"""What NetworkPolicies allow, by the rules of Kubernetes' own API (networking.k8s.io/v1).

A connection is allowed when the sender's side and the receiver's side both allow it. A side allows
everything while no policy about its direction selects its pod, and else what at least one rule of
those policies names. What is no pod has no policies. A pod always hears its own node, which is how
the kubelet probes it, and itself.

Some things the API leaves to the network plugin; a ``Reading`` is one way of taking them. What must
hold everywhere is asked of all ``READINGS``. Not looked at: protocols without ports, what Services
rewrite (connections are between addresses and ports of the pods themselves), and a pod's way to its
own node, which a plugin may leave open whatever the policies say.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.netpolicychecks import PolicyError, check

Labels = Mapping[str, str]
Json = Mapping[str, Any]
Direction = Literal["ingress", "egress"]

NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server gives each namespace."""
_PEERS: Mapping[Direction, str] = {"ingress": "from", "egress": "to"}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, as policies see it."""

    namespace: str
    labels: Labels
    address: str
    """Its own; of a pod on its host's network, the node's."""
    node: str = ""
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Numbers by protocol and name, such as ``{("TCP", "http"): 8000}``."""
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """A node itself: what listens on its address, such as a kubelet or an API server."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Outside:
    """What is neither a pod nor a node of the cluster."""

    address: str


End = Pod | Node | Outside


@dataclass(frozen=True, slots=True)
class Reading:
    """How a plugin takes what the API leaves open."""

    blocks_reach_inside: bool
    """Whether an ``ipBlock`` is also about addresses of pods and nodes: "these should be
    cluster-external IPs"."""
    knows_host_network: bool
    """Whether pods on their host's network are told from their node: mostly they are not."""


READINGS = tuple(itertools.starmap(Reading, itertools.product((False, True), repeat=2)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a connection is allowed, and why."""

    allowed: bool
    why: str

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class Connection:
    """An attempt to connect."""

    source: End
    target: End
    port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Policies:
    """A cluster's policies, the labels of its namespaces, and its plugin's way of reading."""

    items: Sequence[Json]
    namespaces: Mapping[str, Labels]
    reading: Reading

    @classmethod
    def of(
        cls, policies: Iterable[Json], namespaces: Mapping[str, Labels], reading: Reading
    ) -> Policies:
        """Take policies as the API server gives or takes them.

        Raises:
            PolicyError: It would refuse one.
        """
        named = {name: {**labels, NAME_LABEL: name} for name, labels in namespaces.items()}
        found = cls(tuple(policies), named, reading)
        for policy in found.items:
            check(policy)
            found._labels_of(policy["metadata"]["namespace"])
        return found

    def verdict(self, tried: Connection) -> Verdict:
        """Whether a connection is allowed, and by which rules."""
        source, target = tried.source, tried.target
        if _family(source.address) != _family(target.address):
            return Verdict(False, "addresses of different families")
        if source == target:
            return Verdict(True, "itself")
        out = self._side(source, "egress", tried)
        into = self._side(target, "ingress", tried)
        if out and into:
            return Verdict(True, f"{out.why}; {into.why}")
        return into if out else out

    def isolating(self, pod: Pod, direction: Direction) -> list[Json]:
        """The policies about a direction that select a pod."""
        if not self._is_seen(pod):
            return []
        return [
            policy
            for policy in self.items
            if policy["metadata"]["namespace"] == pod.namespace
            and direction in types_of(policy["spec"])
            and selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]

    def _side(self, own: End, direction: Direction, tried: Connection) -> Verdict:
        if not isinstance(own, Pod):
            return Verdict(True, f"{direction}: no pod")
        if direction == "ingress" and self._is_node_of(tried.source, own):
            return Verdict(True, "ingress: its own node")
        policies = self.isolating(own, direction)
        if not policies:
            return Verdict(True, f"{direction}: not isolated")
        for policy in policies:
            for number, rule in enumerate(policy["spec"].get(direction) or ()):
                if self._rule_matches(rule, policy["metadata"]["namespace"], direction, tried):
                    return Verdict(
                        True, f"{direction}: rule {number} of {policy['metadata']['name']}"
                    )
        names = ", ".join(policy["metadata"]["name"] for policy in policies)
        return Verdict(False, f"{direction}: no rule of {names}")

    def _rule_matches(self, rule: Json, home: str, direction: Direction, tried: Connection) -> bool:
        ports = rule.get("ports") or ()
        if ports and not any(self._port_matches(port, tried) for port in ports):
            return False
        other = tried.source if direction == "ingress" else tried.target
        peers = rule.get(_PEERS[direction]) or ()
        return not peers or any(self._peer_matches(peer, home, other) for peer in peers)

    def _port_matches(self, rule: Json, tried: Connection) -> bool:
        if rule.get("protocol", "TCP") != tried.protocol:
            return False
        wanted = rule.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, str):
            named = tried.target.ports if self._is_seen(tried.target) else {}
            return named.get((tried.protocol, wanted)) == tried.port
        return bool(wanted <= tried.port <= rule.get("endPort", wanted))

    def _peer_matches(self, peer: Json, home: str, other: End) -> bool:
        if block := peer.get("ipBlock"):
            reached = self.reading.blocks_reach_inside or isinstance(other, Outside)
            return reached and in_block(block, other.address)
        if not self._is_seen(other):
            return False
        wanted = peer.get("namespaceSelector")
        if wanted is None:
            right_place = other.namespace == home
        else:
            right_place = selects(wanted, self._labels_of(other.namespace))
        return right_place and selects(peer.get("podSelector") or {}, other.labels)

    def _is_seen(self, end: End) -> bool:
        """Whether selectors are about it: a pod that is not taken for its node."""
        return isinstance(end, Pod) and (self.reading.knows_host_network or not end.host_network)

    def _is_node_of(self, source: End, pod: Pod) -> bool:
        """Whether a connection from ``source`` comes from the pod's own node."""
        if isinstance(source, Node):
            return source.name == pod.node
        if isinstance(source, Outside) or self._is_seen(source):
            return False
        return source.node == pod.node

    def _labels_of(self, namespace: str) -> Labels:
        if namespace not in self.namespaces:
            raise PolicyError(f"no such namespace: {namespace}")
        return self.namespaces[namespace]


def types_of(spec: Json) -> Sequence[str]:
    """Which directions a policy is about: as it says, else as the API server fills it in."""
    given = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return [one.lower() for one in given]


def selects(selector: Json, labels: Labels) -> bool:
    """Whether a label selector selects; an empty one selects everything."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _requirement(one, labels) for one in selector.get("matchExpressions") or ()
    )


def in_block(block: Json, address: str) -> bool:
    """Whether an address is in an ``ipBlock`` and in none of its exceptions."""
    one = ipaddress.ip_address(address)
    return one in ipaddress.ip_network(block["cidr"]) and not any(
        one in ipaddress.ip_network(but) for but in block.get("except") or ()
    )


def _requirement(requirement: Json, labels: Labels) -> bool:
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case other:
            raise PolicyError(f"no such operator: {other}")


def _family(address: str) -> int:
    return ipaddress.ip_address(address).version
