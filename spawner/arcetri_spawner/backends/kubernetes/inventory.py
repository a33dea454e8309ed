"""What the nodes have for each flavour, exact, and kept up to date change by change.

What counts. A flavour's devices are those of nodes that can start one of its sessions *now*: ready,
not cordoned, labelled as the flavour demands, without a taint it does not tolerate. Of these, free
is what the node can hand out (``allocatable``, so that a new MIG layout or a sick device counts at
once) less what pods of **all** namespaces take. Where flavours share a resource on one node, each
may have every device that is left. What a session takes besides its device bounds it too: a
flavour's rooms are how many more sessions of each size would start.

A flavour without a device is counted in sessions: free is how many more of its smallest size would
start, and the total is those and the ones that run.

**Room kept for devices.** On a node with free devices, CPU-only sessions may not use the cores,
memory and places that sessions on those devices would need: for each free device, the smallest size
(fewest cores, then least memory) that the catalog offers with any flavour the device could serve
there, with what the site adds to it.
Without it CPU-only sessions could fill a node, and its GPUs would be free in the count and of no
use. The scheduler does not know this rule: tie sessions to a node that ``Stock.rooms`` names.

**Held places.** What was admitted to a node counts as taken there at once (``Stock.hold``), until
its pod is placed and counts by itself. So no two sessions are ever given the same room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from arcetri_spawner.backends.kubernetes.demand import Amounts
from arcetri_spawner.backends.kubernetes.node import NodeBook, NodeFacts, PodFacts
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.site import Need
from arcetri_spawner.backends.kubernetes.tally import Part, Tally, fitting, goes
from arcetri_spawner.policy.model import FlavorInventory, Inventory


@dataclass(frozen=True, slots=True)
class Room:
    """A node, and how many more sessions fit there."""

    hostname: str
    """What ``PodPlan.nodes`` takes."""
    sessions: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A place that is held on a node."""

    hostname: str
    demand: Amounts
    flavor: str
    uid: str = field(default_factory=lambda: f"held-{uuid4()}")
    """By which it is counted, as if it were a pod."""

    def facts(self, session: UUID, node: str) -> PodFacts:
        """It as the pod that it is counted as."""
        return PodFacts(self.uid, node, self.demand, self.flavor, session)


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
        self._held: dict[UUID, _Held] = {}
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
        for session, held in self._held.items():
            if held.hostname == facts.hostname and held.uid not in self._where:
                self._put(held.facts(session, facts.name))
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
        if facts.session is not None:
            self.drop(facts.session)
        return self._put(facts)

    def _put(self, facts: PodFacts) -> bool:
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

    def hold(self, session: UUID, hostname: str, flavor: str, need: Need) -> None:
        """Count a session as taking its place on a node, until its pod does, or ``drop``.

        Args:
            session: Whose place; one that it held before is given back.
            hostname: Of the node, which need not be known yet.
            flavor: The session's.
            need: What its pod will take besides the flavour's device.
        """
        self.drop(session)
        entry = self._offering.flavors.get(flavor)
        demand = need.amounts
        if entry is not None and entry.resource is not None:
            demand[entry.resource] = 1
        held = self._held[session] = _Held(hostname, demand, flavor)
        if (facts := self._facts_at(hostname)) is not None:
            self._put(held.facts(session, facts.name))

    def drop(self, session: UUID) -> bool:
        """Count a session's held place no more; False when it held none."""
        held = self._held.pop(session, None)
        if held is None:
            return False
        self.drop_pod(held.uid)
        return True

    def held(self) -> tuple[UUID, ...]:
        """Whose places are held."""
        return tuple(self._held)

    def is_held(self, session: UUID) -> bool:
        """Whether a place is held for a session."""
        return session in self._held

    def holds_on(self, session: UUID) -> str | None:
        """The node where a session's place is held, while that node can start it; else None."""
        held = self._held.get(session)
        node = self._where.get(held.uid) if held is not None else None
        book = self._nodes.get(node) if node is not None else None
        if held is None or book is None or book.facts is None or not book.facts.usable:
            return None
        placement = self._offering.placements.get(held.flavor)
        return held.hostname if placement is not None and goes(placement, book.facts) else None

    def inventory(self, as_of: datetime, *, stale: bool = False, lends: bool = False) -> Inventory:
        """Return what there is of every flavour.

        Args:
            as_of: When the last news came.
            stale: Whether the API server cannot be asked just now.
            lends: Whether the queue lets groups borrow.
        """
        flavors = {}
        for name in self._offering.flavors:
            counted = self._tally(name, "").sum(self._nodes)
            flavors[name] = FlavorInventory(
                total=counted.total,
                free=counted.free,
                rooms={size: self.startable(name, size) for size in self._offering.sizes[name]},
                nowhere=not counted.nodes,
            )
        return Inventory(flavors, as_of, stale, nodes=True, lends=lends)

    def startable(self, flavor: str, size: str) -> int:
        """How many more sessions of this flavour and size would start now, node by node.

        Raises:
            KeyError: The catalog has no such flavour or size.
        """
        if size not in self._offering.sizes[flavor]:
            self._offering.needs[size]
            return 0
        return self._tally(flavor, size).sum(self._nodes).free

    def rooms(self, flavor: str, need: Need) -> tuple[Room, ...]:
        """Return the nodes where a session fits, those first that are best filled first.

        These are nodes with fewest free devices, then those with least room, so that large rooms
        stay for large sessions.

        Args:
            flavor: The session's.
            need: What its pod will take.

        Raises:
            KeyError: The catalog has no such flavour.
        """
        found = [
            (self._devices_left(book), part.free, book.facts.hostname)
            for name, part in self._parts(flavor, need).items()
            if part.free and (book := self._nodes[name]).facts is not None
        ]
        return tuple(Room(hostname, sessions) for _, sessions, hostname in sorted(found))

    def left(self, hostname: str, resource: str) -> int | None:
        """How much of a resource nobody has on a node; None where the node is not known."""
        facts = self._facts_at(hostname)
        return None if facts is None else self._nodes[facts.name].left(resource)

    def _facts_at(self, hostname: str) -> NodeFacts | None:
        known = (book.facts for book in self._nodes.values())
        return next((one for one in known if one and one.hostname == hostname), None)

    def room(self, flavor: str, need: Need) -> int:
        """How many more sessions fit, on all nodes together.

        Raises:
            KeyError: The catalog has no such flavour.
        """
        size = self._size(flavor, need)
        if size is not None:
            return self._tally(flavor, size).sum(self._nodes).free
        return sum(part.free for part in self._parts(flavor, need).values())

    def _size(self, flavor: str, need: Need) -> str | None:
        """The size that takes just this; None where it was granted by another catalog."""
        sizes = self._offering.sizes[flavor]
        return next((one for one in sizes if self._offering.needs[one] == need), None)

    def _parts(self, flavor: str, need: Need) -> Mapping[str, Part]:
        size = self._size(flavor, need)
        if size is not None:
            tally = self._tally(flavor, size)
            tally.sum(self._nodes)
            return tally.parts
        resource = self._offering.flavors[flavor].resource
        placement = self._offering.placements[flavor]
        return {
            name: Part(0, fitting(book, self._offering, resource, need), 1)
            for name, book in self._nodes.items()
            if book.facts is not None and book.facts.usable and goes(placement, book.facts)
        }

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
