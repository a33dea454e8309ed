"""Requests that Kueue gave a node to in vain: put back at their place, for other nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.kubernetes.kueue.asking import Whose, only_on
from arcetri_spawner.backends.kubernetes.kueue.reserve import Reserve
from arcetri_spawner.backends.kubernetes.offering import Offering
from kueue_client import AsyncTicket, Conflict, KueueError, NotFound, Workload, WrongState

log = structlog.get_logger(__name__)

ASIDE: Final = "No node has room for it beside what is kept for free devices"
UNCOUNTED: Final = "Every device of the node it was given is in use: Kueue does not count them all"
"""Why a request stands aside, as its Workload says."""


class Moves:
    """Moves requests from node to node.

    Args:
        reserve: Says who has room where.
        ticket: A request's ticket.
        offering: The catalog of the moment, with what the site adds.
        newer: Told of each Workload that was changed.
        done: Told when a request has been put back, as far as it could be.
    """

    def __init__(
        self,
        reserve: Reserve,
        ticket: Callable[[UUID], AsyncTicket],
        offering: Callable[[], Offering],
        newer: Callable[[Workload], None],
        done: Callable[[], None],
    ) -> None:
        self._reserve = reserve
        self._ticket = ticket
        self._offering = offering
        self._newer = newer
        self._done = done
        self._under_way: set[UUID] = set()

    def is_under_way(self, request: UUID) -> bool:
        """Whether a request is being put back: what is heard of it meanwhile is no news."""
        return request in self._under_way

    def begin(self, request: UUID) -> None:
        """Say that a request is to be put back; ``put_back`` follows."""
        self._under_way.add(request)

    async def put_back(self, who: Whose, workload: Workload) -> None:
        """Have a request give back its node, and try for another where one has room."""
        try:
            found = await self._ticket(who.request).stand_aside(self._why(who))
            self._newer(found.workload)
            if nodes := self._reserve.nodes(who, workload):
                await self._line_up(who, nodes)
        except KueueError as error:
            log.debug("a request is not put back yet", request=str(who.request), why=str(error))
        finally:
            self._under_way.discard(who.request)
            self._done()

    async def offer(self, workloads: Iterable[Workload]) -> None:
        """Offer what has become free to those for whom there was no node, in their order.

        Raises:
            KueueError: Kueue could not be told; it is tried again.
        """
        for who, nodes in list(self._reserve.moves(workloads)):
            if who.request not in self._under_way:
                await self._line_up(who, nodes)

    def _why(self, who: Whose) -> str:
        flavor = self._offering().flavors.get(who.flavor)
        return UNCOUNTED if flavor is not None and flavor.resource is not None else ASIDE

    async def _line_up(self, who: Whose, nodes: Sequence[str]) -> None:
        """Have a request stand in line for these nodes alone; none: step aside."""
        ticket = self._ticket(who.request)
        try:
            if nodes:
                placement = self._offering().placements.get(who.flavor)
                terms = only_on(placement.terms if placement else (), nodes)
                found = await ticket.stand_in_line(terms)
            else:
                found = await ticket.stand_aside(self._why(who))
        except (NotFound, WrongState, Conflict):
            return  # what has happened meanwhile is heard, and looked at again
        self._newer(found.workload)
