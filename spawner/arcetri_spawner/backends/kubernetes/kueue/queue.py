"""The queue of a cluster with Kueue: one Workload a request, which the platform owns.

What a Workload holds stays held until it is released or finished, whatever Kueue says, so that who
is evicted has time to save their work. A hub that starts again finds everybody in their place: the
places are in the cluster. What Kueue cannot be told now it is told again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import Position, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue import places, telling
from arcetri_spawner.backends.kubernetes.kueue.asking import (
    asked,
    handed_over,
    is_set_aside,
    only_on,
    place_name,
    set_aside,
    whose,
)
from arcetri_spawner.backends.kubernetes.kueue.bounds import Bounds, silent
from arcetri_spawner.backends.kubernetes.kueue.faults import PASSING, fault, flavor_gone
from arcetri_spawner.backends.kubernetes.kueue.platform import Platform
from arcetri_spawner.backends.kubernetes.kueue.watching import Watching
from arcetri_spawner.chores import Chores
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant, Inventory
from kueue_client import (
    AlreadyExists,
    Asked,
    AsyncKueue,
    AsyncTicket,
    ConditionType,
    Invalid,
    KueueError,
    NotFound,
    TicketStatus,
    Workload,
    WrongState,
)
from kueue_client import TicketState as Kueues
from kueue_client.asked import same

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from arcetri_spawner.backends.kubernetes.claims import Claims
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.queues.names import Names

log = structlog.get_logger(__name__)

VERDICT: Final = 3.0
"""Seconds for which a new request waits for Kueue's first word: who can start at once does."""
RETRY: Final = 2.0
"""Seconds between two tries of what the cluster could not be told."""
APART: Final = 1.0
"""Seconds between two requests of a queue that are told after a silence, which keep their order."""


class KueueQueue:
    """Implements ``backends.base.Queue`` over Kueue; make it once a process.

    Args:
        connect: Makes the connection; called once, inside the loop.
        names: What the queues are called, as ``arcetri queues sync`` makes them.
        instance: Which platform's requests are ours.
        catalogs: The catalog of the moment.
        inventory: What there is, from memory.
        claims: Who has room on which node, beside what is kept for free devices; without them,
            Kueue's word is the last.
        changes: What there is, whenever it changes; without it, one looks now and then.
        verdict: Seconds for which a new request waits for Kueue's first word.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[ApiClient]],
        names: Names,
        instance: str,
        catalogs: CatalogHolder,
        inventory: Callable[[], Inventory],
        *,
        claims: Claims | None = None,
        changes: Callable[[], AsyncIterator[Inventory]] | None = None,
        verdict: float = VERDICT,
    ) -> None:
        self._connect = connect
        self._platform = Platform(instance, names, catalogs, inventory, claims)
        self._changes = changes
        self._verdict = verdict
        self._open: Watching | None = None
        self._opening = asyncio.Lock()
        self._unsent: dict[UUID, Grant] = {}
        """Requests that Kueue could not be told of yet, in their order."""
        self._silent = False
        """Whether Kueue gave no answer when it was told of a request last."""
        self._unready: dict[UUID, Ticket] = {}
        self._chores = Chores()
        self._insisting = False

    @property
    def apart(self) -> bool:
        """Workloads are the cluster's, and anybody's who may delete them."""
        return True

    def bounds(self) -> Bounds:
        """Where queues admit less than the catalog grants; nothing while Kueue does not answer.

        Where it does again, those groups alone still wait for its word of whom it has yet to be
        told.
        """
        catalog = self._platform.catalog
        if self._unsent and self._silent:
            return silent(catalog)
        found = self._open.bounds() if self._open is not None else {}
        if not self._unsent:
            return found
        behind = {GroupPath(one.group) for one in self._unsent.values()}
        return {**found, **{key: no for key, no in silent(catalog).items() if key[0] in behind}}

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken.

        Where Kueue cannot be asked the request waits all the same, and it is asked again until it
        could be.

        Raises:
            QueueFault: It will not take it.
        """
        here = await self._opened()
        if self._comes_after_unsent(here, grant):
            return self._later(grant)
        try:
            await self._place(here, grant)
        except PASSING as error:
            log.warning("a request is not in the queue yet", why=str(error))
            self._silent = True
            return self._later(grant)
        except KueueError as error:
            raise fault(error) from error
        self._silent = False
        return await self._first_word(grant.request_id)

    def _comes_after_unsent(self, here: Watching, grant: Grant) -> bool:
        """Whether Kueue has yet to be told of somebody before this one, who is not in line."""
        first = next((one for one in self._unsent.values() if one.group == grant.group), None)
        if first is None or first.request_id == grant.request_id:
            return False
        return place_name(grant) not in here.workloads.there

    def _later(self, grant: Grant) -> Ticket:
        self._unsent[grant.request_id] = grant
        self._insist()
        return Ticket(grant.request_id, TicketState.WAITING, reason=queueing.silent())

    async def _place(self, here: Watching, grant: Grant) -> None:
        """Have a Workload that asks for what was granted, and is this request's."""
        ticket = here.kueue.ticket(place_name(grant), self._platform.names.namespace)
        # A hub that starts again submits everybody: of whom it has been told it need not ask.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._verdict):
                await here.workloads.listed()
        known = here.workloads.there.get(ticket.name)
        try:
            wanted = self._asked(grant)
        except KeyError as error:
            if known is None:
                raise flavor_gone(grant.flavor) from error
            return
        if (
            known is not None
            and TicketStatus.of(known).state is not Kueues.FINISHED
            and same(wanted.workload(ticket.name, known.namespace), known)
        ):
            await self._take_over(here, ticket, grant, known)
            return
        try:
            status = await ticket.submit(wanted)
        except AlreadyExists:
            status = await self._ask_for(ticket, grant, wanted)
        here.workloads.put(status.workload)
        await self._take_over(here, ticket, grant, status.workload)

    async def _ask_for(self, ticket: AsyncTicket, grant: Grant, wanted: Asked) -> TicketStatus:
        """Have a Workload that waits ask for what the catalog says now, at its place.

        By what it said before of its nodes it could never be admitted.
        """
        status = await ticket.look()
        if status.state in telling.HOLDING:
            return status
        request = str(grant.request_id)
        if status.state is not Kueues.FINISHED:
            log.info("a request asks for what the catalog says now", request=request)
            with contextlib.suppress(WrongState, Invalid):
                return await ticket.ask_for(wanted)
        log.warning("a request is put in the queue anew", request=request)
        await ticket.leave()
        return await ticket.submit(wanted)

    def _asked(self, grant: Grant) -> Asked:
        """What a request asks for; where its session runs, on the node where that is."""
        platform = self._platform
        wanted = asked(grant, platform.offering, platform.names, platform.instance)
        node = platform.claims.tied_to(grant.request_id) if platform.claims is not None else None
        if node is None:
            return wanted
        terms = [dict(one) for one in wanted.node_terms]
        return replace(wanted, node_terms=only_on(terms, [node]))

    async def _take_over(
        self, here: Watching, ticket: AsyncTicket, grant: Grant, found: Workload
    ) -> None:
        """Have the Workload of the request whose place this one has, if it is not its already.

        Given back first: what bears this request's name holds nothing of the one before.
        """
        who = whose(found)
        if who is None or who.request == grant.request_id:
            return
        await self._give_back(here, ticket, found)
        here.workloads.newer(await self._change(here, found, handed_over(grant.request_id)))

    async def _give_back(
        self, here: Watching, ticket: AsyncTicket, known: Workload | None
    ) -> TicketStatus:
        """Give back what a Workload holds, and have it wait again; aside during a maintenance."""
        aside = known is not None and self._platform.maintains(known)
        if known is not None and aside:
            # Kueue knows of no maintenance, and would admit it again at once, or who is next.
            await here.line_up()
            await self._change(here, known, set_aside(aside=True))
        return await ticket.release(activate=not aside)

    async def _change(
        self, here: Watching, found: Workload, change: Mapping[str, object]
    ) -> Workload:
        return await here.kueue.workloads.patch(found.name, found.namespace, change=change)

    async def _first_word(self, request: UUID) -> Ticket:
        """The ticket, once Kueue has said something of it, or has not for a while."""
        here = await self._opened()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._verdict):
                while (found := here.told.get(request)) is None or _unsaid(found):
                    await here.said.next()
        silent = Ticket(request, TicketState.WAITING, reason=queueing.silent())
        return here.told.get(request) or silent

    async def watch(self) -> AsyncIterator[Ticket]:
        """Tickets as they change, for ever; starts with every ticket as it is.

        What is not so any more is not told: who has submitted one knows better already.
        """
        here = await self._opened()
        await here.workloads.listed()
        with here.news.follow(here.told.values()) as changes:
            while True:
                ticket = await changes.get()
                now = here.told.get(ticket.request_id)
                if ticket == now or (now is None and ticket.state is TicketState.GONE):
                    yield ticket

    async def position(self, ticket: Ticket) -> Position | None:
        """The ticket's place among its group's requests for the same flavour.

        It is called provisional where other groups can change it, and where Kueue does not say the
        order: then it is the order of asking.
        """
        here = await self._opened()
        mine = here.workloads.there.get(here.roster.name_of(ticket.request_id))
        if mine is None or (who := whose(mine)) is None:
            return self._unsent_place(here, ticket.request_id)
        now = here.told.get(ticket.request_id)
        if now is None or now.state is not TicketState.WAITING or _out_of_line(mine):
            return None
        line = await here.lines.order(mine.spec.queue_name)
        order = None if line is None else list(line)
        contested = places.contested(self._platform.catalog, who.group, who.flavor)
        everybody = here.workloads.there.values()
        return places.place(mine, everybody, order, contested=contested)

    def _unsent_place(self, here: Watching, request: UUID) -> Position | None:
        grant = self._unsent.get(request)
        if grant is None:
            return None
        waiting = [
            workload
            for workload in here.workloads.there.values()
            if (who := whose(workload)) is not None
            and (now := here.told.get(who.request)) is not None
            and now.state is TicketState.WAITING
        ]
        return places.unsent_place(grant, waiting, self._unsent.values())

    async def ready(self, ticket: Ticket) -> None:
        """Say that the admitted session answers, now or as soon as it can be said.

        A session runs whether Kueue knows of it or not: nothing here ends it.
        """
        here = await self._opened()
        known = here.workloads.there.get(here.roster.name_of(ticket.request_id))
        if known is not None and known.holds(ConditionType.PODS_READY):
            return
        self._unready[ticket.request_id] = ticket
        await self._say_ready(here, ticket.request_id)
        if self._unready:
            self._insist()

    async def _say_ready(self, here: Watching, request: UUID) -> None:
        try:
            await here.ticket(request).ready()
        except PASSING:
            return
        except (NotFound, WrongState) as error:
            log.warning("a session that runs has no place", request=str(request), why=str(error))
        except KueueError as error:
            log.error("the queue is not told of a session", request=str(request), why=str(error))
        self._unready.pop(request, None)

    async def release(self, ticket: Ticket, *, requeue: bool) -> None:
        """Give back what an admitted ticket holds, and wait again at its place, or leave.

        Raises:
            QueueFault: It could not be done now.
        """
        if not requeue:
            await self.finish(ticket)
            return
        here = await self._opened()
        self._unready.pop(ticket.request_id, None)
        try:
            known = here.workloads.there.get(here.roster.name_of(ticket.request_id))
            released = await self._give_back(here, here.ticket(ticket.request_id), known)
        except NotFound:
            return  # whoever follows the tickets is told that it is gone
        except KueueError as error:
            raise fault(error) from error
        here.workloads.newer(released.workload)

    async def finish(self, ticket: Ticket) -> None:
        """Leave the queue and free everything; a second call changes nothing.

        Raises:
            QueueFault: It could not be done now.
        """
        here = await self._opened()
        unsent = self._unsent.pop(ticket.request_id, None)
        self._unready.pop(ticket.request_id, None)
        name = place_name(unsent) if unsent else here.roster.name_of(ticket.request_id)
        known = here.workloads.there.get(name)
        who = whose(known) if known is not None else None
        if who is not None and who.request != ticket.request_id and unsent is None:
            return  # it is the one's who stands at its place
        try:
            await here.kueue.ticket(name, self._platform.names.namespace).leave()
        except KueueError as error:
            if unsent is not None:
                self._unsent[ticket.request_id] = unsent
            raise fault(error) from error
        here.workloads.drop(name)

    # What could not be said

    def _insist(self) -> None:
        if not self._insisting:
            self._insisting = True
            self._chores.start(self._say_again())

    async def _say_again(self) -> None:
        """Tell Kueue what it could not be told, until it all was."""
        pause = RETRY
        try:
            while self._unsent or self._unready:
                await asyncio.sleep(pause)
                here, pause = await self._opened(), RETRY
                try:
                    await self._send_first(here)
                except PASSING:
                    self._silent = True
                else:
                    # Kueue tells ages by the second, and of one second by chance.
                    pause = APART if self._unsent else RETRY
                for request in list(self._unready):
                    await self._say_ready(here, request)
        finally:
            self._insisting = False

    async def _send_first(self, here: Watching) -> None:
        """Tell of the first of each group; between their queues there is no order."""
        for grant in {one.group: one for one in reversed(self._unsent.values())}.values():
            await self._send(here, grant)

    async def _send(self, here: Watching, grant: Grant) -> None:
        request = grant.request_id
        if request not in self._unsent:
            return
        try:
            await self._place(here, grant)
            self._silent = False
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001  # one bad request must not hold up the rest
            log.error("a request is not in the queue", request=str(request), why=str(error))
        if request not in self._unsent:
            await here.ticket(request).leave()  # it was finished meanwhile
        self._unsent.pop(request, None)

    # The connection

    async def _opened(self) -> Watching:
        async with self._opening:
            if self._open is None:
                kueue = AsyncKueue(await self._connect())
                self._open = Watching(kueue, self._platform, self._changes)
            return self._open

    async def close(self) -> None:
        """Stop following; every place is kept."""
        tasks = self._chores.running()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._open is not None:
            await self._open.close()
            self._open = None


def _out_of_line(workload: Workload) -> bool:
    """Whether somebody has set it aside; what the platform itself sets aside keeps its place."""
    return workload.spec.active is False and not is_set_aside(workload)


def _unsaid(ticket: Ticket) -> bool:
    """Whether Kueue has said nothing of it yet."""
    return ticket.reason is not None and ticket.reason.code == "queue_new"
