"""The places of sessions that are admitted and have no pod on a node yet.

Here, and nowhere else, it is decided whether a session has room on a node. Nothing is awaited
between the count and the taking, so that whatever else goes on at the same time, the next who asks
finds what was just given as taken: two CPU-only sessions never eat the same reserve of a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.site import Need
from arcetri_spawner.policy.model import Grant


class Claims:
    """Gives places on nodes, and keeps them until pods have them. Nodes are known by hostname.

    Args:
        stock: What the nodes have.
        offering: The catalog of the moment, with what the site adds to pods.
        fresh: Whether the stock is what the API server said just now.
        has_pod: Whether a session has a pod, on a node or on its way to one.
        is_placed: Whether a session's pod is on a node, and so counted by itself.
        changed: Told when what is free is another.
        tied_to: The node that a session's pod is tied to, by hostname.
    """

    def __init__(
        self,
        stock: Stock,
        offering: Callable[[], Offering],
        *,
        fresh: Callable[[], bool],
        has_pod: Callable[[UUID], bool],
        is_placed: Callable[[UUID], bool],
        changed: Callable[[], None],
        tied_to: Callable[[UUID], str | None] = lambda _: None,
    ) -> None:
        self._stock = stock
        self._offering = offering
        self._fresh = fresh
        self._has_pod = has_pod
        self._is_placed = is_placed
        self._changed = changed
        self._tied_to = tied_to

    @property
    def fresh(self) -> bool:
        """Whether it can be decided at all who has room."""
        return self._fresh()

    @property
    def offering(self) -> Offering:
        """The catalog of the moment, with what the site adds to pods."""
        return self._offering()

    def need_of(self, grant: Grant) -> Need:
        """What a granted session's pod takes of its node, besides its device."""
        return self.offering.need_of(grant)

    def has_pod(self, session: UUID) -> bool:
        """Whether a session has a pod already, so that where it is was decided."""
        return self._has_pod(session)

    def tied_to(self, session: UUID) -> str | None:
        """The node that a session's pod is on or on its way to; None where it has none."""
        return self._tied_to(session)

    def counts(self, session: UUID) -> bool:
        """Whether a session's place is counted, as held or by its pod."""
        return self._stock.is_held(session) or self._is_placed(session)

    def has_room(self, flavor: str, need: Need) -> bool:
        """Whether a session would start now; none would while nobody can say."""
        known = self.fresh and flavor in self.offering.flavors
        return known and self._stock.room(flavor, need) > 0

    def rooms(self, flavor: str, need: Need) -> dict[str, int]:
        """How many more sessions would start on each node, the best node first.

        Empty where the catalog has the flavour no longer, or nobody can say.
        """
        if not self.fresh or flavor not in self.offering.flavors:
            return {}
        return {room.hostname: room.sessions for room in self._stock.rooms(flavor, need)}

    def take(self, session: UUID, flavor: str, need: Need, hostname: str = "") -> str | None:
        """Give a session a node that has room for it, and count it there at once.

        Args:
            session: Whose place; one that it holds is given back first.
            flavor: The session's.
            need: What its pod will take.
            hostname: The one node that will do; empty for the best.

        Returns:
            The node; None where there is no room, and then it holds none.
        """
        self.drop(session)
        rooms = self.rooms(flavor, need)
        given = hostname if hostname in rooms else "" if hostname else next(iter(rooms), "")
        if not given:
            return None
        self._stock.hold(session, given, flavor, need)
        self._changed()
        return given

    def take_device(self, session: UUID, flavor: str, need: Need, hostname: str) -> bool:
        """Count a session on the node that the queue gave it, where that has a device for it.

        Cores and memory are the queue's to count. Nothing is refused that nobody can say.

        Returns:
            Whether it is counted; False where every device of the node is somebody's.
        """
        self.drop(session)
        entry = self.offering.flavors.get(flavor)
        resource = entry.resource if entry is not None else None
        if self.fresh and resource is not None and self._stock.left(hostname, resource) == 0:
            return False
        self.hold(session, flavor, need, hostname)
        return True

    def hold(self, session: UUID, flavor: str, need: Need, hostname: str) -> None:
        """Count a session on the node that it was given before, whether there is room or not."""
        if not self._is_placed(session):
            self._stock.hold(session, hostname, flavor, need)
            self._changed()

    def node(self, session: UUID) -> str | None:
        """The node where a session's place is held, while that node can start it; else None."""
        return self._stock.holds_on(session)

    def drop(self, session: UUID) -> None:
        """Give back a place that is held; one that a pod has goes with the pod."""
        if self._stock.drop(session):
            self._changed()

    def keep(self, sessions: Collection[UUID]) -> None:
        """Give back every place that is held by another than these."""
        for session in self._stock.held():
            if session not in sessions:
                self.drop(session)
