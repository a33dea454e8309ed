"""The queue of a cluster with Kueue: one Workload a request, which the platform owns.

One watch follows all of them; nothing is asked for each. What a Workload holds stays held until it
is released or finished, whatever Kueue says, so that who is evicted has time to save their work.
A hub that starts again finds everybody in their place: the places are in the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import Position, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue import places, telling
from arcetri_spawner.backends.kubernetes.kueue.asking import (
    Whose,
    asked,
    handed_over,
    is_set_aside,
    only_on,
    place_name,
    selector,
    set_aside,
    ticket_name,
    whose,
)
from arcetri_spawner.backends.kubernetes.kueue.faults import PASSING, fault, flavor_gone
from arcetri_spawner.backends.kubernetes.kueue.following import Following
from arcetri_spawner.backends.kubernetes.kueue.moving import Moves
from arcetri_spawner.backends.kubernetes.kueue.reserve import Reserve, Verdict
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.ticketnews import TicketNews
from arcetri_spawner.changes import Changes
from arcetri_spawner.chores import Chores
from arcetri_spawner.policy import maintenance_now, queueing
from arcetri_spawner.policy.model import Grant, Inventory
from kueue_client import (
    AlreadyExists,
    Asked,
    AsyncKueue,
    AsyncTicket,
    ClusterQueue,
    ConditionType,
    KueueError,
    LocalQueue,
    NotFound,
    PendingWorkload,
    TicketStatus,
    Workload,
    WrongState,
    is_aside,
)
from kueue_client import TicketState as Kueues
from kueue_client.asked import same
from kueue_client.why import QUIET_SECONDS

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from arcetri_spawner.backends.kubernetes.claims import Claims
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.queues.names import Names

log = structlog.get_logger(__name__)

VERDICT: Final = 3.0
"""Seconds for which a new request waits for Kueue's first word: who can start at once does."""
LINE_KEPT: Final = 1.0
"""Seconds for which the order of a queue is not asked for again."""
RETRY: Final = 2.0
"""Seconds between two tries of what the cluster could not be told."""
HEARD: Final = 0.2
"""Seconds in which changes of what there is are one."""
REFRESH: Final = 5.0
"""Seconds between two looks at what waits: a silence, or others' numbers, are no event of its."""


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
        self._names = names
        self._instance = instance
        self._catalogs = catalogs
        self._inventory = inventory
        self._claims = claims
        self._changes = changes
        self._reserve = Reserve(claims)
        self._verdict = verdict
        self._open: _Open | None = None
        self._opening = asyncio.Lock()
        self._unsent: dict[UUID, Grant] = {}
        """Requests that Kueue could not be told of yet, in their order."""
        self._unready: dict[UUID, Ticket] = {}
        self._lines: dict[str, _Line] = {}
        self._told: dict[UUID, Ticket] = {}
        """What was last said of each request."""
        self._news = TicketNews()
        self._said = Changes()
        """Told when something else is said of a request."""
        self._stale = asyncio.Event()
        """Set where what was said of those that wait may not be so any more."""
        self._chores = Chores()
        self._insisting = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def apart(self) -> bool:
        """Workloads are the cluster's, and anybody's who may delete them."""
        return True

    async def submit(self, grant: Grant) -> Ticket:
        """Take a place, or return the one already taken.

        Where Kueue cannot be asked the request waits all the same, and it is asked again until it
        could be.

        Raises:
            QueueFault: It will not take it.
        """
        here = await self._opened()
        try:
            await self._place(here, grant)
        except PASSING as error:
            log.warning("a request is not in the queue yet", why=str(error))
            self._unsent[grant.request_id] = grant
            self._insist()
            return Ticket(grant.request_id, TicketState.WAITING, reason=queueing.silent())
        except KueueError as error:
            raise fault(error) from error
        return await self._first_word(grant.request_id)

    async def _place(self, here: _Open, grant: Grant) -> None:
        """Have a Workload that asks for what was granted, and is this request's."""
        ticket = here.kueue.ticket(place_name(grant), self._names.namespace)
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
            # The catalog says something else of its nodes, by which it could never be admitted.
            status = await ticket.look()
            if status.state not in telling.HOLDING:
                log.warning("a request is put in the queue anew", request=str(grant.request_id))
                await ticket.leave()
                status = await ticket.submit(wanted)
        here.workloads.put(status.workload)
        await self._take_over(here, ticket, grant, status.workload)

    def _asked(self, grant: Grant) -> Asked:
        """What a request asks for; where its session runs, on the node where that is."""
        wanted = asked(grant, self._offering, self._names, self._instance)
        node = self._claims.tied_to(grant.request_id) if self._claims is not None else None
        if node is None:
            return wanted
        terms = [dict(one) for one in wanted.node_terms]
        return replace(wanted, node_terms=only_on(terms, [node]))

    async def _take_over(
        self, here: _Open, ticket: AsyncTicket, grant: Grant, found: Workload
    ) -> None:
        """Have the Workload of the request whose place this one has, if it is not its already.

        Given back first: what bears this request's name holds nothing of the one before.
        """
        who = whose(found)
        if who is None or who.request == grant.request_id:
            return
        await ticket.release()
        here.workloads.newer(await self._change(here, found, handed_over(grant.request_id)))

    async def _change(self, here: _Open, found: Workload, change: Mapping[str, object]) -> Workload:
        return await here.kueue.workloads.patch(found.name, found.namespace, change=change)

    def _is_maintained(self, workload: Workload) -> bool:
        who = whose(workload)
        catalog, now = self._catalogs.current.catalog, datetime.now(UTC)
        return who is not None and maintenance_now(catalog, who.flavor, now) is not None

    async def _line_up(self, here: _Open) -> None:
        """Have stand in line again what was set aside for a maintenance that is over."""
        for workload in list(here.workloads.there.values()):
            if is_set_aside(workload) and not self._is_maintained(workload):
                try:
                    found = await self._change(here, workload, set_aside(aside=False))
                except KueueError as error:
                    log.warning("a request is not in line again yet", why=str(error))
                else:
                    here.workloads.newer(found)

    @property
    def _offering(self) -> Offering:
        if self._claims is not None:
            return self._claims.offering
        return Offering.of(self._catalogs.current.catalog)

    async def _first_word(self, request: UUID) -> Ticket:
        """The ticket, once Kueue has said something of it, or has not for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._verdict):
                while (found := self._now(request)) is None or _unsaid(found):
                    await self._said.next()
        return self._now(request) or Ticket(request, TicketState.WAITING, reason=queueing.silent())

    async def watch(self) -> AsyncIterator[Ticket]:
        """Tickets as they change, for ever; starts with every ticket as it is.

        What is not so any more is not told: who has submitted one knows better already.
        """
        here = await self._opened()
        await here.workloads.listed()
        with self._news.follow(self._told.values()) as changes:
            while True:
                ticket = await changes.get()
                now = self._told.get(ticket.request_id)
                if ticket == now or (now is None and ticket.state is TicketState.GONE):
                    yield ticket

    async def position(self, ticket: Ticket) -> Position | None:
        """The ticket's place among its group's requests for the same flavour.

        It is called provisional where other groups can change it, and where Kueue does not say the
        order: then it is the order of asking.
        """
        here = await self._opened()
        mine = here.workloads.there.get(here.name_of(ticket.request_id))
        if mine is None or (who := whose(mine)) is None:
            return self._unsent_place(here, ticket.request_id)
        now = self._now(ticket.request_id)
        if now is None or now.state is not TicketState.WAITING:
            return None
        line = await self._line(here, mine.spec.queue_name)
        order = None if line is None else list(line)
        contested = places.contested(self._catalogs.current.catalog, who.group, who.flavor)
        everybody = here.workloads.there.values()
        return places.place(mine, everybody, order, contested=contested)

    def _unsent_place(self, here: _Open, request: UUID) -> Position | None:
        grant = self._unsent.get(request)
        if grant is None:
            return None
        ahead = 0
        for workload in here.workloads.there.values():
            who = whose(workload)
            if who is not None and (who.group, who.flavor) == (grant.group, grant.flavor):
                now = self._told.get(who.request)
                ahead += now is not None and now.state is TicketState.WAITING
        for other in self._unsent.values():
            if other.request_id == request:
                break
            ahead += (other.group, other.flavor) == (grant.group, grant.flavor)
        return Position(ahead, provisional=True)

    async def _line(self, here: _Open, queue: str) -> dict[str, PendingWorkload] | None:
        """Those that wait in a queue, in order, by name; one question for all who ask."""
        line = self._lines.setdefault(queue, _Line())
        async with line.asking:
            if time.monotonic() - line.at >= LINE_KEPT:
                try:
                    found = await here.kueue.pending(queue, self._names.namespace)
                    line.waiting = {one.metadata.name: one for one in found}
                except KueueError as error:
                    log.debug("the order of a queue is not known", queue=queue, why=str(error))
                    line.waiting = None
                line.at = time.monotonic()
        return line.waiting

    async def ready(self, ticket: Ticket) -> None:
        """Say that the admitted session answers, now or as soon as it can be said.

        A session runs whether Kueue knows of it or not: nothing here ends it.
        """
        here = await self._opened()
        known = here.workloads.there.get(here.name_of(ticket.request_id))
        if known is not None and known.holds(ConditionType.PODS_READY):
            return
        self._unready[ticket.request_id] = ticket
        await self._say_ready(here, ticket.request_id)
        if self._unready:
            self._insist()

    async def _say_ready(self, here: _Open, request: UUID) -> None:
        try:
            await self._ticket(here, request).ready()
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
            known = here.workloads.there.get(here.name_of(ticket.request_id))
            aside = known is not None and self._is_maintained(known)
            if known is not None and aside:
                # Kueue knows of no maintenance, and would admit it again at once.
                await self._change(here, known, set_aside(aside=True))
            released = await self._ticket(here, ticket.request_id).release(activate=not aside)
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
        name = place_name(unsent) if unsent else here.name_of(ticket.request_id)
        known = here.workloads.there.get(name)
        who = whose(known) if known is not None else None
        if who is not None and who.request != ticket.request_id and unsent is None:
            return  # it is the one's who stands at its place
        try:
            await here.kueue.ticket(name, self._names.namespace).leave()
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
        """Tell Kueue what it could not be told, one after the other, until it all was."""
        try:
            while self._unsent or self._unready:
                await asyncio.sleep(RETRY)
                here = await self._opened()
                with contextlib.suppress(*PASSING):
                    await self._send_all(here)
                for request in list(self._unready):
                    await self._say_ready(here, request)
        finally:
            self._insisting = False

    async def _send_all(self, here: _Open) -> None:
        for request, grant in list(self._unsent.items()):
            if request not in self._unsent:
                continue
            try:
                await self._place(here, grant)
            except PASSING:
                raise
            except Exception as error:  # noqa: BLE001  # one bad request must not hold up the rest
                log.error("a request is not in the queue", request=str(request), why=str(error))
            if request not in self._unsent:
                await self._ticket(here, request).leave()  # it was finished meanwhile
            self._unsent.pop(request, None)

    # What the cluster has

    async def _opened(self) -> _Open:
        async with self._opening:
            if self._open is None:
                kueue = AsyncKueue(await self._connect())
                where = self._names.namespace
                ours = selector(self._instance)
                workloads = Following(kueue.workloads, where, ours, self._workload)
                self._open = here = _Open(
                    kueue,
                    workloads,
                    Following(kueue.local_queues, where, "", self._queue_changed),
                    Following(kueue.cluster_queues, None, "", self._queue_changed),
                    Moves(
                        self._reserve,
                        lambda request: self._ticket(here, request),
                        lambda: self._offering,
                        workloads.newer,
                        self._stale.set,
                    ),
                )
                works = (here.workloads, here.queues, here.pools)
                self._tasks = [asyncio.create_task(one.run()) for one in works]
                self._tasks.append(asyncio.create_task(self._refresh(here)))
                if self._changes is not None:
                    self._tasks.append(asyncio.create_task(self._hear(here, self._changes())))
            return self._open

    def _ticket(self, here: _Open, request: UUID) -> AsyncTicket:
        return here.kueue.ticket(here.name_of(request), self._names.namespace)

    def _workload(self, before: Workload | None, after: Workload | None) -> None:
        one = after or before
        who = whose(one) if one is not None else None
        if one is None or who is None or self._open is None:
            return
        self._open.forget(before)
        self._open.note(after)
        was = whose(before) if before is not None else None
        if was is not None and was.request != who.request:
            self._reserve.forget(was.request)
            self._say(Ticket(was.request, TicketState.GONE))
        if after is None:
            self._reserve.forget(who.request)
            self._say(Ticket(who.request, TicketState.GONE))
        elif (ticket := self._judge(self._open, who, after)) is not None:
            self._say(ticket)

    def _judge(self, here: _Open, who: Whose, workload: Workload) -> Ticket | None:
        """The ticket that a Workload is; None where nothing is to be said for the moment."""
        verdict = self._reserve.judge(who, workload)
        if here.moves.is_under_way(who.request):
            return None
        if verdict is Verdict.UNKNOWN:
            return Ticket(who.request, TicketState.WAITING, reason=queueing.silent())
        if verdict is Verdict.STANDS:
            return self._read(here, who, workload)
        here.moves.begin(who.request)
        self._chores.start(here.moves.put_back(who, workload))
        if self._reserve.nodes(who, workload):
            return None  # another node has room, and is given at once
        why = telling.aside(who, self._catalogs.current.catalog)
        return Ticket(who.request, TicketState.WAITING, reason=why)

    async def _hear(self, here: _Open, changes: AsyncIterator[Inventory]) -> None:
        """Look again, soon after what there is has changed, where somebody waits for that."""
        async for _ in changes:
            if any(map(is_aside, here.workloads.there.values())):
                self._stale.set()
                await asyncio.sleep(HEARD)

    def _queue_changed(
        self, before: LocalQueue | ClusterQueue | None, after: LocalQueue | ClusterQueue | None
    ) -> None:
        if _gate(before) != _gate(after):
            self._stale.set()

    def _read(self, here: _Open, who: Whose, workload: Workload) -> Ticket:
        key = who.group, who.flavor
        around = telling.situation(
            who,
            self._catalogs.current.catalog,
            self._inventory(),
            here.held.get(key, 0),
            datetime.now(UTC),
            behind=here.behind(key, workload),
        )
        line = self._lines.get(workload.spec.queue_name)
        return telling.ticket(
            who.request,
            workload,
            around,
            here.queues.there,
            here.pools.there,
            line.waiting.get(workload.name) if line and line.waiting else None,
            known=here.queues.known and here.pools.known,
        )

    def _now(self, request: UUID) -> Ticket | None:
        return self._told.get(request)

    def _say(self, ticket: Ticket) -> None:
        before = self._told.get(ticket.request_id)
        if ticket == before or (before is None and ticket.state is TicketState.GONE):
            return
        if ticket.state is TicketState.GONE:
            del self._told[ticket.request_id]
        else:
            self._told[ticket.request_id] = ticket
        self._news.tell(ticket)
        self._said.tell()

    def _look_again(self) -> None:
        """See whether what is said of those that wait is still so; asks nobody."""
        here = self._open
        if here is None:
            return
        for workload in list(here.workloads.there.values()):
            who = whose(workload)
            before = self._told.get(who.request) if who else None
            if who is None or (before and before.state is not TicketState.WAITING):
                continue
            if (ticket := self._judge(here, who, workload)) is not None:
                self._say(ticket)

    async def _refresh(self, here: _Open) -> None:
        await here.queues.listed()
        await here.pools.listed()
        while True:
            self._stale.clear()
            for queue in here.unsaid():
                await self._line(here, queue)
            await self._line_up(here)
            self._look_again()
            try:
                await here.moves.offer(here.workloads.there.values())
            except KueueError as error:
                log.debug("nobody is put in line again yet", why=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH):
                    await self._stale.wait()

    async def close(self) -> None:
        """Stop following; every place is kept."""
        tasks = [*self._tasks, *self._chores.running()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._open is not None:
            await self._open.kueue.close()
            self._open = None


class _Line:
    """The order of a queue, as it was asked for last."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.at = float("-inf")
        self.waiting: dict[str, PendingWorkload] | None = None


class _Open:
    """The connection, and what is followed over it."""

    def __init__(
        self,
        kueue: AsyncKueue,
        workloads: Following[Workload],
        queues: Following[LocalQueue],
        pools: Following[ClusterQueue],
        moves: Moves,
    ) -> None:
        self.moves = moves
        self.kueue = kueue
        self.workloads = workloads
        self.queues = queues
        self.pools = pools
        self.held: dict[tuple[str, str], int] = {}
        """How many requests hold a flavour, by group and flavour."""
        self._waiting: dict[tuple[str, str], dict[str, tuple[object, ...]]] = {}
        """The ages of those that wait, by group and flavour, then by name."""
        self._names: dict[UUID, str] = {}
        """What the Workloads are called of those that have gone back in line."""

    def name_of(self, request: UUID) -> str:
        """What a request's Workload is called."""
        return self._names.get(request) or ticket_name(request)

    def note(self, one: Workload | None) -> None:
        """Count a Workload: for what it holds, or among those that wait."""
        self._count(one, 1)

    def forget(self, one: Workload | None) -> None:
        """Count a Workload no more."""
        self._count(one, -1)

    def _count(self, one: Workload | None, by: int) -> None:
        who = whose(one) if one is not None else None
        if one is None or who is None:
            return
        if by > 0 and one.name != ticket_name(who.request):
            self._names[who.request] = one.name
        elif by < 0:
            self._names.pop(who.request, None)
        key, state = (who.group, who.flavor), TicketStatus.of(one).state
        if state in telling.HOLDING:
            self.held[key] = self.held.get(key, 0) + by
        elif state is Kueues.WAITING:
            waiting = self._waiting.setdefault(key, {})
            if by > 0:
                waiting[one.name] = places.age(one)
            else:
                waiting.pop(one.name, None)

    def behind(self, key: tuple[str, str], one: Workload) -> bool:
        """Whether others of a group wait for a flavour before a Workload."""
        mine = places.age(one)
        return any(age < mine for age in self._waiting.get(key, {}).values())

    def unsaid(self) -> set[str]:
        """The queues in which somebody waits of whom Kueue has said nothing for a while."""
        now = datetime.now(UTC)
        return {
            one.spec.queue_name
            for one in self.workloads.there.values()
            if one.condition(ConditionType.QUOTA_RESERVED) is None
            and one.metadata.creation_timestamp is not None
            and (now - one.metadata.creation_timestamp).total_seconds() > QUIET_SECONDS / 2
        }


def _unsaid(ticket: Ticket) -> bool:
    """Whether Kueue has said nothing of it yet."""
    return ticket.reason is not None and ticket.reason.code == "queue_new"


def _gate(one: LocalQueue | ClusterQueue | None) -> tuple[object, ...] | None:
    """What of a queue those that wait in it are told."""
    if one is None:
        return None
    active = one.active
    return one.spec.stop_policy, (active.holds, active.reason) if active else None
