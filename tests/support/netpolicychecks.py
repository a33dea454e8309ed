"""What the API server refuses in a NetworkPolicy.

So that a misspelt rule is never taken for one that allows nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Set
from typing import Any

Json = Mapping[str, Any]

_DIRECTIONS = {"ingress": "from", "egress": "to"}
_NEEDS_VALUES = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}


class PolicyError(ValueError):
    """A policy that the API server would not take; the message says where and what."""


def check(policy: Json) -> None:
    """Check one policy.

    Raises:
        PolicyError: The API server would refuse it.
    """
    where = f"{policy.get('kind')} {policy.get('metadata', {}).get('name')}"
    kind = (policy.get("apiVersion"), policy.get("kind"))
    if kind != ("networking.k8s.io/v1", "NetworkPolicy"):
        raise PolicyError(f"{where}: no NetworkPolicy of networking.k8s.io/v1")
    spec = policy["spec"]
    _only(spec, {"podSelector", "policyTypes", *_DIRECTIONS}, where)
    _check_selector(spec.get("podSelector") or {}, where)
    for one in spec.get("policyTypes") or ():
        if one not in ("Ingress", "Egress"):
            raise PolicyError(f"{where}: no such policy type: {one}")
    for direction, peers in _DIRECTIONS.items():
        for number, rule in enumerate(spec.get(direction) or ()):
            place = f"{where}, {direction} {number}"
            _only(rule, {"ports", peers}, place)
            for port in rule.get("ports") or ():
                _check_port(port, place)
            for peer in rule.get(peers) or ():
                _check_peer(peer, place)


def _check_port(port: Json, where: str) -> None:
    _only(port, {"protocol", "port", "endPort"}, where)
    if port.get("protocol", "TCP") not in ("TCP", "UDP", "SCTP"):
        raise PolicyError(f"{where}: no such protocol: {port['protocol']}")
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, int) and not 1 <= number <= 65535:
        raise PolicyError(f"{where}: no such port: {number}")
    if end is not None and not (isinstance(number, int) and number <= end <= 65535):
        raise PolicyError(f"{where}: endPort {end} needs a port, a number and not above it")


def _check_peer(peer: Json, where: str) -> None:
    _only(peer, {"podSelector", "namespaceSelector", "ipBlock"}, where)
    peer = {name: value for name, value in peer.items() if value is not None}
    if not peer:
        raise PolicyError(f"{where}: a peer says nothing")
    block = peer.get("ipBlock")
    if block is None:
        for selector in peer.values():
            _check_selector(selector, where)
        return
    if len(peer) > 1:
        raise PolicyError(f"{where}: an ipBlock stands alone")
    _only(block, {"cidr", "except"}, where)
    whole = _network(block["cidr"], where)
    for one in block.get("except") or ():
        part = _network(one, where)
        if part == whole or not _is_part(part, whole):
            raise PolicyError(f"{where}: {part} is no part of {whole}")


def _check_selector(selector: Json, where: str) -> None:
    _only(selector, {"matchLabels", "matchExpressions"}, where)
    for one in selector.get("matchExpressions") or ():
        _only(one, {"key", "operator", "values"}, where)
        if one["operator"] not in _NEEDS_VALUES:
            raise PolicyError(f"{where}: no such operator: {one['operator']}")
        if bool(one.get("values")) != _NEEDS_VALUES[one["operator"]]:
            raise PolicyError(f"{where}: {one['operator']} with {one.get('values') or 'no values'}")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str, where: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise PolicyError(f"{where}: {error}") from error


def _is_part(part: Network, whole: Network) -> bool:
    if isinstance(part, ipaddress.IPv4Network):
        return isinstance(whole, ipaddress.IPv4Network) and part.subnet_of(whole)
    return isinstance(whole, ipaddress.IPv6Network) and part.subnet_of(whole)


def _only(given: Json, allowed: Set[str], where: str) -> None:
    if unknown := set(given) - allowed:
        raise PolicyError(f"{where}: unknown: {', '.join(sorted(unknown))}")
