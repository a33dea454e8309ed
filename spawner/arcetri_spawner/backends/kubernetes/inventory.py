"""What the nodes have for each flavour, exact, and kept up to date change by change.

What counts. A flavour's devices are those of nodes that can start one of its sessions *now*: ready,
not cordoned, labelled as the flavour demands, without a taint it does not tolerate. Of these, free
is what the node can hand out (``allocatable``, so that a new MIG layout or a sick device counts at
once) less what pods of **all** namespaces take. Where flavours share a resource on one node, each
may have every device that is left. What a session takes besides its device bounds it too: a
flavour's room is how many more sessions of its smallest size would start.

A flavour without a device is counted in sessions: free is how many more of its smallest size would
start, and the total is those and the ones that run.

**Room kept for devices.** On a node with free devices, CPU-only sessions may not use the cores and
memory that sessions on those devices would need: for each free device, the smallest size (fewest
cores, then least memory) that the catalog offers with any flavour the device could serve there.
Without it CPU-only sessions could fill a node, and its GPUs would be free in the count and of no
use. The scheduler does not know this rule: tie CPU-only sessions to what ``Stock.rooms`` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from arcetri_spawner.backends.kubernetes.node import NodeBook, NodeFacts, PodFacts
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.tally import Tally
from arcetri_spawner.policy.model import FlavorInventory, Inventory


@dataclass(frozen=True, slots=True)
class Room:
    """A node, and how many more sessions fit there."""

    hostname: str
    """What ``PodPlan.nodes`` takes."""
    sessions: int


class Stock:
    """What the nodes have, kept by the events of two watches; no event, no work.

    Each change marks its node, and a question sums up again only the marked nodes. Not for several
    threads at once.

    Args:
        offering: What is counted.
        instance: The platform whose sessions count as such: ``Rules.instance``.
        namespace: Where they run.
    """

    def __init__(self, offering: Offering, *, instance: str, namespace: str) -> None:
        self._instance = instance
        self._namespace = namespace
        self._nodes: dict[str, NodeBook] = {}
        self._where: dict[str, str] = {}
        self._offering = offering
        self._tallies: dict[tuple[str, str], Tally] = {}

    def offer(self, offering: Offering) -> None:
        """Count by another catalog from now on."""
        self._offering = offering
        self._tallies.clear()

    def put_node(self, node: Mapping[str, Any]) -> bool:
        """Take a node as it is now, new or changed.

        Returns:
            Whether anything that counts has changed.
        """
        facts = NodeFacts.of(node)
        book = self._nodes.setdefault(facts.name, NodeBook())
        if book.facts == facts:
            return False
        book.facts = facts
        self._mark(facts.name)
        return True

    def drop_node(self, name: str) -> bool:
        """Forget a node that is gone; its pods go by events of their own. False if unknown."""
        book = self._nodes.get(name)
        if book is None or book.facts is None:
            return False
        book.facts = None
        self._mark(name)
        self._tidy(name)
        return True

    def put_pod(self, pod: Mapping[str, Any]) -> bool:
        """Take a pod as it is now, of whatever namespace.

        Returns:
            Whether anything that counts has changed.
        """
        facts = PodFacts.of(pod, self._instance, self._namespace)
        if facts is None:
            return self.drop_pod(str((pod.get("metadata") or {}).get("uid", "")))
        elsewhere = self._where.get(facts.uid)
        if elsewhere is not None and elsewhere != facts.node:
            self.drop_pod(facts.uid)
        self._where[facts.uid] = facts.node
        changed = self._nodes.setdefault(facts.node, NodeBook()).put(facts)
        if changed:
            self._mark(facts.node)
        return changed

    def drop_pod(self, uid: str) -> bool:
        """Forget a pod that is gone; False when it took nothing."""
        node = self._where.pop(uid, None)
        if node is None:
            return False
        self._nodes[node].drop(uid)
        self._mark(node)
        self._tidy(node)
        return True

    def inventory(self, as_of: datetime, *, stale: bool = False) -> Inventory:
        """Return what there is of every flavour.

        Args:
            as_of: When the last news came.
            stale: Whether the API server cannot be asked just now.
        """
        flavors = {}
        for name in self._offering.flavors:
            counted = self._tally(name, "").sum(self._nodes)
            sizes = self._offering.sizes[name]
            flavors[name] = FlavorInventory(
                total=counted.total,
                free=counted.free,
                room=self.startable(name, sizes[0]) if sizes else None,
            )
        return Inventory(flavors=flavors, as_of=as_of, stale=stale)

    def startable(self, flavor: str, size: str) -> int:
        """How many more sessions of this flavour and size would start now, node by node.

        Raises:
            KeyError: The catalog has no such flavour or size.
        """
        if size not in self._offering.sizes[flavor]:
            self._offering.needs[size]
            return 0
        return self._tally(flavor, size).sum(self._nodes).free

    def rooms(self, flavor: str, size: str) -> tuple[Room, ...]:
        """Return the nodes where such a session fits, those first that are best filled first.

        For a flavour without a device these are nodes with fewest free devices, then those with
        least room, so that large rooms stay for large sessions.

        Raises:
            KeyError: The catalog has no such flavour or size.
        """
        if not self.startable(flavor, size):
            return ()
        tally = self._tally(flavor, size)
        found = [
            (self._devices_left(book), part.free, book.facts.hostname)
            for name, part in tally.parts.items()
            if part.free and (book := self._nodes[name]).facts is not None
        ]
        return tuple(Room(hostname, sessions) for _, sessions, hostname in sorted(found))

    def _devices_left(self, book: NodeBook) -> int:
        resources = {flavor.resource for flavor in self._offering.flavors.values()} - {None}
        return sum(book.left(resource) for resource in resources if resource)

    def _tally(self, flavor: str, size: str) -> Tally:
        key = (flavor, size)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally(self._offering, flavor, size, self._nodes)
        return tally

    def _mark(self, node: str) -> None:
        for tally in self._tallies.values():
            tally.changed.add(node)

    def _tidy(self, node: str) -> None:
        book = self._nodes[node]
        if book.facts is None and not book.pods:
            del self._nodes[node]
