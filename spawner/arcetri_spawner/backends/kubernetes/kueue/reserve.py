"""What Kueue gave, against what Kueue does not know: who has devices, and what is kept for them.

Kueue counts what a node has left, and would let CPU-only sessions have all of it. So its word is
not the last for them: what it gives counts only once ``Claims`` has given the same node, which
leaves the cores and memory that sessions on free devices need. Nor does Kueue know of a device that
a session has whose Workload somebody deleted. A request that Kueue gave a node to in vain steps
aside, at its place, and stands in line again for the nodes that have room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from uuid import UUID

from arcetri_spawner.backends.kubernetes.claims import Claims
from arcetri_spawner.backends.kubernetes.kueue.asking import Whose, need_of, nodes_of, whose
from arcetri_spawner.backends.kubernetes.kueue.places import age
from kueue_client import TicketState, TicketStatus, Workload, is_aside


class Verdict(StrEnum):
    """Whether what a Workload says is so."""

    STANDS = "stands"
    UNKNOWN = "unknown"
    """It was given a node, and nobody can say whether that has room."""
    IN_VAIN = "in_vain"
    """It was given a node whose room is kept for others, or whose devices others have."""


class Reserve:
    """Judges what Kueue gives; without claims all of it stands."""

    def __init__(self, claims: Claims | None) -> None:
        self._claims = claims
        self._standing: set[UUID] = set()
        """Requests whose node was found good: a start may be under way, so it is not taken back."""

    def judge(self, who: Whose, workload: Workload) -> Verdict:
        """Judge what a Workload says now, and count what it was given."""
        status, claims = TicketStatus.of(workload), self._claims
        if claims is None or status.state in (TicketState.RESERVED, TicketState.EVICTED):
            return Verdict.STANDS
        given = status.admitted
        if status.state is not TicketState.ADMITTED or given is None or given.node is None:
            self.forget(who.request)
            return Verdict.STANDS
        if who.request in self._standing:
            return Verdict.STANDS
        verdict = self._give(claims, who, workload, given.node, runs=status.ready)
        if verdict is Verdict.STANDS:
            self._standing.add(who.request)
        return verdict

    def _give(
        self, claims: Claims, who: Whose, workload: Workload, node: str, *, runs: bool
    ) -> Verdict:
        flavor = claims.offering.flavors.get(who.flavor)
        if flavor is None:
            return Verdict.STANDS
        need = need_of(workload)
        # What has a pod has been decided before.
        if runs or claims.has_pod(who.request):
            claims.hold(who.request, who.flavor, need, node)
            return Verdict.STANDS
        if flavor.resource is not None:
            # It takes no reserve. But what Kueue does not know of may have every device there.
            taken = claims.take_device(who.request, who.flavor, need, node)
            return Verdict.STANDS if taken else Verdict.IN_VAIN
        if not claims.fresh:
            return Verdict.UNKNOWN
        given = claims.take(who.request, who.flavor, need, node)
        return Verdict.STANDS if given else Verdict.IN_VAIN

    def forget(self, request: UUID) -> None:
        """Count a request no more: it holds nothing."""
        self._standing.discard(request)
        if self._claims is not None:
            self._claims.drop(request)

    def nodes(self, who: Whose, workload: Workload) -> tuple[str, ...]:
        """The nodes with room for a request now, best first."""
        if self._claims is None:
            return ()
        return tuple(self._claims.rooms(who.flavor, need_of(workload)))

    def moves(self, workloads: Iterable[Workload]) -> Iterator[tuple[Whose, tuple[str, ...]]]:
        """Requests for which other nodes would do than before, the oldest first; none: no node.

        Of those that stand aside no more than have room; who comes too late steps aside again.
        """
        claims = self._claims
        if claims is None or not claims.fresh:
            return
        known: dict[tuple[str, int, int], dict[str, int]] = {}
        left: dict[tuple[str, int, int], int] = {}
        for workload in sorted(workloads, key=age):
            who, bound, aside = whose(workload), nodes_of(workload), is_aside(workload)
            waits = TicketStatus.of(workload).state is TicketState.WAITING
            if who is None or not waits or not (aside or bound is not None):
                continue
            if claims.has_pod(who.request):
                continue  # it runs, and its place is where it is
            need = need_of(workload)
            key = who.flavor, need.cpu, need.memory
            if key not in known:
                known[key] = claims.rooms(who.flavor, need)
                left[key] = sum(known[key].values())
            rooms = known[key]
            if not aside:
                if frozenset(rooms) != bound:
                    yield who, tuple(rooms)
                continue
            if left[key] > 0:
                left[key] -= 1
                yield who, tuple(rooms)
