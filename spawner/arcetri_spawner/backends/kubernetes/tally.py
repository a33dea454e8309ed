"""How many sessions would fit: a sum over all nodes that is mended, not made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arcetri_spawner.backends.kubernetes.demand import PODS, Amounts
from arcetri_spawner.backends.kubernetes.node import NodeBook, NodeFacts
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.placement import Placement
from arcetri_spawner.backends.kubernetes.site import Need


@dataclass(frozen=True, slots=True)
class Part:
    """What one node adds to a sum."""

    total: int
    free: int
    nodes: int
    """1 for a node where its sessions may run and start now."""


_NOTHING = Part(0, 0, 0)


class Tally:
    """A sum over all nodes of one thing that is asked for, mended where a node has changed.

    Args:
        offering: What is counted.
        flavor: Of which flavour.
        size: Of which size; empty for the flavour itself: its devices, whatever the size.
        nodes: Every node there is.

    Attributes:
        parts: What each node adds, where it adds anything.
        changed: Nodes to look at again.
    """

    def __init__(
        self, offering: Offering, flavor: str, size: str, nodes: Mapping[str, NodeBook]
    ) -> None:
        self._offering = offering
        self._flavor = flavor
        self._size = size
        self.parts: dict[str, Part] = {}
        self.changed: set[str] = set(nodes)
        self._total = 0
        self._free = 0
        self._node_count = 0

    def sum(self, nodes: Mapping[str, NodeBook]) -> Part:
        """Return the sum as it is now; only nodes in ``changed`` are looked at."""
        for name in self.changed:
            before = self.parts.pop(name, _NOTHING)
            book = nodes.get(name)
            now = self._part(book) if book is not None else _NOTHING
            if now != _NOTHING:
                self.parts[name] = now
            self._total += now.total - before.total
            self._free += now.free - before.free
            self._node_count += now.nodes - before.nodes
        self.changed.clear()
        return Part(self._total, self._free, self._node_count)

    def _part(self, book: NodeBook) -> Part:
        offering, facts = self._offering, book.facts
        placement = offering.placements[self._flavor]
        if facts is None or not facts.usable or not goes(placement, facts):
            return _NOTHING
        resource = offering.flavors[self._flavor].resource
        if resource is not None and not self._size:
            return Part(facts.allocatable.get(resource, 0), book.left(resource), 1)
        sizes = offering.sizes[self._flavor]
        size = self._size or (sizes[0] if sizes else "")
        free = fitting(book, offering, resource, offering.needs[size]) if size else 0
        return Part(free + book.sessions((self._flavor,)), free, 1)


def goes(placement: Placement, facts: NodeFacts) -> bool:
    """Whether a node is one of those where a flavour's sessions may run."""
    return placement.fits(facts.labels, facts.taints, facts.name)


def fitting(book: NodeBook, offering: Offering, resource: str | None, need: Need) -> int:
    """How many sessions would fit on a node."""
    wanted = {**need.amounts, PODS: 1}
    if resource is not None:
        wanted[resource] = 1
    kept = kept_for_devices(book, offering) if resource is None else {}
    # A size takes some of both: the catalog has none without cores or memory.
    return min(
        max(0, book.left(name) - kept.get(name, 0)) // amount for name, amount in wanted.items()
    )


def kept_for_devices(book: NodeBook, offering: Offering) -> Amounts:
    """What CPU-only sessions must leave on a node for the sessions on its free devices."""
    facts = book.facts
    smallest: dict[str, Need] = {}
    for name, flavor in offering.flavors.items():
        if (
            facts is None
            or flavor.resource is None
            or not offering.sizes[name]
            or not goes(offering.placements[name], facts)
        ):
            continue
        need = offering.needs[offering.sizes[name][0]]
        known = smallest.get(flavor.resource)
        if known is None or (need.cpu, need.memory) < (known.cpu, known.memory):
            smallest[flavor.resource] = need
    kept: Amounts = {}
    for resource, need in smallest.items():
        devices = book.left(resource)
        for name, amount in {**need.amounts, PODS: 1}.items():
            kept[name] = kept.get(name, 0) + devices * amount
    return kept
