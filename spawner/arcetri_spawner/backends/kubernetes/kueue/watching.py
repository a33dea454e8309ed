"""What the cluster says of the requests in line, followed for ever and told as tickets.

One watch a kind follows all of them; nothing is asked for each. What an event of its own says is
told at once; what changes around those that wait, or with time alone, is looked at now and then.
What such a look costs grows with the queues, and with those of whom something else is to be said.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue import bounds, places, telling
from arcetri_spawner.backends.kubernetes.kueue.asking import (
    Whose,
    is_set_aside,
    selector,
    set_aside,
    whose,
)
from arcetri_spawner.backends.kubernetes.kueue.faults import PASSING
from arcetri_spawner.backends.kubernetes.kueue.following import Following
from arcetri_spawner.backends.kubernetes.kueue.lines import Lines
from arcetri_spawner.backends.kubernetes.kueue.moving import Moves
from arcetri_spawner.backends.kubernetes.kueue.platform import Platform
from arcetri_spawner.backends.kubernetes.kueue.reserve import Reserve, Verdict
from arcetri_spawner.backends.kubernetes.kueue.roster import Key, Roster, queues_of
from arcetri_spawner.backends.ticketnews import TicketNews
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.changes import Changes
from arcetri_spawner.chores import Chores
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Inventory
from kueue_client import (
    AsyncKueue,
    AsyncTicket,
    ClusterQueue,
    ConditionType,
    KueueError,
    LocalQueue,
    Workload,
)
from kueue_client.why import QUIET_SECONDS

log = structlog.get_logger(__name__)

REQUEUED_SECONDS: Final = 3.0
"""For how long it is waited for Kueue to put one in line again; a tenth of one is usual."""
REQUEUED_LOOK: Final = 0.05

HEARD: Final = 0.2
"""Seconds in which changes of what there is are one."""
REFRESH: Final = 5.0
"""Seconds between two looks at what waits: a silence, or others' numbers, are no event of its."""
_NOBODY: Final = UUID(int=0)


class Watching:
    """Follows the Workloads of one platform, and says what each means; make it inside the loop.

    Args:
        kueue: The connection.
        platform: Whose requests they are.
        changes: What there is, whenever it changes; without it, one looks now and then.
    """

    def __init__(
        self,
        kueue: AsyncKueue,
        platform: Platform,
        changes: Callable[[], AsyncIterator[Inventory]] | None,
    ) -> None:
        self.kueue = kueue
        self._platform = platform
        where, ours = platform.names.namespace, selector(platform.instance)
        self.workloads = Following(kueue.workloads, where, ours, self._workload)
        self._queues = Following(kueue.local_queues, where, "", self._queue_changed)
        self._pools = Following(kueue.cluster_queues, None, "", self._queue_changed)
        self.lines = Lines(kueue, where)
        self.roster = Roster()
        self._reserve = Reserve(platform.claims)
        self._stale = asyncio.Event()
        """Set where what was said of those that wait may not be so any more."""
        self._moves = Moves(
            self._reserve,
            self.ticket,
            lambda: platform.offering,
            self.workloads.newer,
            self._stale.set,
        )
        self.told: dict[UUID, Ticket] = {}
        """What was last said of each request."""
        self.news = TicketNews()
        self.said = Changes()
        """Told when something else is said of a request."""
        self.answers = True
        """Whether Kueue answered when it was asked last."""
        self._asked = float("-inf")
        """When that was, on the clock that only grows."""
        self._bounds: tuple[Catalog, bounds.Bounds] | None = None
        """What queues admit, by the catalog that it was worked out for."""
        self._around: dict[Key, object] = {}
        """What those that wait were last told from, besides their own Workloads."""
        self._restless: set[str] = set()
        """The names of those that wait of whom time alone can change what is said."""
        self._unread: set[str] = set()
        """The names of those of whom nothing was to be said for a moment."""
        self._chores = Chores()
        works = [one.run() for one in (self.workloads, self._queues, self._pools)]
        works.append(self._refresh())
        if changes is not None:
            works.append(self._hear(changes()))
        self._tasks = [asyncio.create_task(one) for one in works]

    def ticket(self, request: UUID) -> AsyncTicket:
        """A request's ticket, by which it is told of."""
        return self.kueue.ticket(self.roster.name_of(request), self._platform.names.namespace)

    async def close(self) -> None:
        """Stop following, and close the connection; every place is kept."""
        tasks = [*self._tasks, *self._chores.running()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.kueue.close()

    # What queues admit

    def bounds(self) -> bounds.Bounds:
        """Where queues admit less than the catalog grants, from memory."""
        catalog = self._platform.catalog
        followed = self._queues, self._pools
        if not self.answers or any(one.trouble for one in followed):
            return bounds.silent(catalog)
        if not all(one.known for one in followed):
            return {}  # they are being read for the first time
        if self._bounds is None or self._bounds[0] is not catalog:
            names, queues, pools = self._platform.names, self._queues.there, self._pools.there
            self._bounds = catalog, bounds.bounds(catalog, names, queues, pools)
        return self._bounds[1]

    async def _ask(self) -> None:
        """See now and then whether Kueue answers, by a question that costs next to nothing."""
        if time.monotonic() - self._asked < REFRESH:
            return
        queue = next((name for name in self._ours if name in self._queues.there), None)
        if queue is None:
            return
        self.answers = await self.lines.answers(queue)
        self._asked = time.monotonic()

    @property
    def _ours(self) -> Iterator[str]:
        names, catalog = self._platform.names, self._platform.catalog
        yield from (names.local_queue(group) for group in (*catalog.groups, EVERYONE))

    # Events

    def _workload(self, before: Workload | None, after: Workload | None) -> None:
        self.roster.forget(before)
        self.roster.note(after)
        one = after or before
        who = whose(one) if one is not None else None
        if who is None:
            return
        was = whose(before) if before is not None else None
        if was is not None and was.request != who.request:
            self._reserve.forget(was.request)
            self._say(Ticket(was.request, TicketState.GONE))
        if after is None:
            self._reserve.forget(who.request)
            self._say(Ticket(who.request, TicketState.GONE))
        else:
            self._tell(who, after)

    def _queue_changed(
        self, before: LocalQueue | ClusterQueue | None, after: LocalQueue | ClusterQueue | None
    ) -> None:
        self._bounds = None
        if _gate(before) != _gate(after):
            self._stale.set()

    async def _hear(self, changes: AsyncIterator[Inventory]) -> None:
        """Look again, soon after what there is has changed, where somebody waits for that."""
        async for _ in changes:
            if self.roster.aside:
                self._stale.set()
                await asyncio.sleep(HEARD)

    # What a Workload means

    def _tell(self, who: Whose, workload: Workload) -> None:
        """Say what a Workload means for whose it is, where anything is to be said."""
        ticket = self._judge(who, workload)
        if ticket is None:
            self._unread.add(workload.name)
        else:
            self._unread.discard(workload.name)
            self._say(ticket)

    def _judge(self, who: Whose, workload: Workload) -> Ticket | None:
        """The ticket that a Workload is; None where nothing is to be said for the moment."""
        verdict = self._reserve.judge(who, workload)
        if self._moves.is_under_way(who.request):
            return None
        if verdict is Verdict.UNKNOWN:
            return Ticket(who.request, TicketState.WAITING, reason=queueing.silent())
        if verdict is Verdict.STANDS:
            return self._read(who, workload)
        self._moves.begin(who.request)
        self._chores.start(self._moves.put_back(who, workload))
        if self._reserve.nodes(who, workload):
            return None  # another node has room, and is given at once
        why = telling.aside(who, self._platform.catalog)
        return Ticket(who.request, TicketState.WAITING, reason=why)

    def _read(self, who: Whose, workload: Workload) -> Ticket:
        around = telling.situation(
            who,
            self._platform.catalog,
            self._platform.inventory(),
            self.roster.held(who),
            datetime.now(UTC),
            behind=self.roster.behind(who, workload),
        )
        return telling.ticket(
            who.request,
            workload,
            around,
            self._queues.there,
            self._pools.there,
            self.lines.position(workload),
            known=self._queues.known and self._pools.known,
        )

    def _say(self, ticket: Ticket) -> None:
        before = self.told.get(ticket.request_id)
        if ticket == before or (before is None and ticket.state is TicketState.GONE):
            return
        if ticket.state is TicketState.GONE:
            del self.told[ticket.request_id]
        else:
            self.told[ticket.request_id] = ticket
        self.news.tell(ticket)
        self.said.tell()

    # What is no event of a Workload's

    async def _refresh(self) -> None:
        await self._queues.listed()
        await self._pools.listed()
        while True:
            self._stale.clear()
            try:
                await self._ask()
                await self._look()
            except KueueError as error:
                log.debug("nobody is put in line again yet", why=str(error))
            except Exception:
                # A fault of ours with one must not leave all the others where they stand.
                log.exception("who waits is not looked at")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH):
                    await self._stale.wait()

    async def _look(self) -> None:
        """Look once at all that wait.

        Raises:
            KueueError: Kueue could not be told where somebody may stand; it is tried again.
        """
        for queue, unsaid in self._unsaid().items():
            if all(map(self.lines.has, unsaid)):
                await self.lines.check(queue)
            # At once: of a line that Kueue has no more, nobody stands in it.
            if not all(map(self.lines.has, unsaid)):
                await self.lines.order(queue)
        await self.line_up()
        self._look_again()
        await self._moves.offer([self.workloads.there[name] for name in self.roster.movable])

    def _unsaid(self) -> dict[str, list[Workload]]:
        """Those of whom Kueue has said nothing for a while, by their queues."""
        since = datetime.now(UTC) - timedelta(seconds=QUIET_SECONDS / 2)
        found: dict[str, list[Workload]] = {}
        for one in self.workloads.there.values():
            created = one.metadata.creation_timestamp
            if (
                one.condition(ConditionType.QUOTA_RESERVED) is None
                and created is not None
                and created < since
            ):
                found.setdefault(one.spec.queue_name, []).append(one)
        return found

    async def line_up(self) -> None:
        """Have stand in no line who waits for what is under maintenance now, and the others do.

        Where Kueue gives no answer the rest is left to the next look: who is next must not be
        overtaken by who is told of.
        """
        for workload in [*self._begun(), *self._over()]:
            change = set_aside(aside=not is_set_aside(workload))
            try:
                found = await self.kueue.workloads.patch(
                    workload.name, workload.namespace, change=change
                )
            except PASSING as error:
                log.warning("requests are not in line, or aside, yet", why=str(error))
                return
            except KueueError as error:
                log.warning("a request is not in line, or aside", why=str(error))
            else:
                self.workloads.newer(found)
                if found.spec.active is not False:
                    await self._requeued(found.name)

    async def _requeued(self, name: str) -> None:
        """Return when Kueue has put one in line again that it had evicted, or does not soon.

        It does so in a step of its own, and would admit meanwhile whoever only waited.
        """
        for _ in range(round(REQUEUED_SECONDS / REQUEUED_LOOK)):
            if not _is_out(self.workloads.there.get(name)):
                return
            await asyncio.sleep(REQUEUED_LOOK)

    def _begun(self) -> Iterator[Workload]:
        """Those that wait for what is under maintenance: Kueue would admit them."""
        there = self.workloads.there
        for _, waiting in self.roster.waiting():
            if self._platform.maintains(there[next(iter(waiting))]):
                yield from (there[name] for name in waiting)

    def _over(self) -> Iterator[Workload]:
        """Those that were set aside for a maintenance that is over, in the order of asking.

        Kueue admits the first that it is told of.
        """
        aside = filter(is_set_aside, self.workloads.there.values())
        over = (one for one in aside if not self._platform.maintains(one))
        yield from sorted(over, key=places.age)

    def _look_again(self) -> None:
        """See whether what is said of those that wait is still so; asks nobody.

        Where nothing has changed around those that wait for the same, nothing is read again, so
        that a long line costs no more than a short one.
        """
        there = self.workloads.there
        catalog, now = self._platform.catalog, datetime.now(UTC)
        inventory = self._platform.inventory()
        again = self._unread | self.roster.apart
        restless: set[str] = set()
        for key, waiting in self.roster.waiting():
            # Whose request it is makes no difference here.
            some = Whose(_NOBODY, GroupPath(key[0]), key[1])
            situation = telling.situation(some, catalog, inventory, self.roster.held(some), now)
            gates = self._gates(there[name] for name in waiting)
            around = (situation, min(waiting.values()), gates)
            if around != self._around.get(key):
                self._around[key] = around
                again |= waiting.keys()
            restless.update(name for name in waiting if self._is_restless(there[name]))
            # Who was so until now is read once more.
            again |= self._restless & waiting.keys()
        self._restless = restless
        for name in again | restless:
            if (workload := there.get(name)) is None or (who := whose(workload)) is None:
                self._unread.discard(name)
                continue
            before = self.told.get(who.request)
            if before is None or before.state is TicketState.WAITING:
                self._tell(who, workload)

    def _is_restless(self, workload: Workload) -> bool:
        """Whether time alone can change what is said of one that waits."""
        return workload.status.requeue_state is not None or (
            workload.condition(ConditionType.QUOTA_RESERVED) is None
            and not self.lines.has(workload)
        )

    def _gates(self, workloads: Iterable[Workload]) -> object:
        """How the queues are in which these wait."""
        found = {}
        for queue in queues_of(workloads):
            local = self._queues.there.get(queue)
            pool = self._pools.there.get(local.spec.cluster_queue) if local else None
            found[queue] = (_gate(local), _gate(pool))
        return found


def _gate(one: LocalQueue | ClusterQueue | None) -> tuple[object, ...] | None:
    """What of a queue those that wait in it are told."""
    if one is None:
        return None
    active = one.active
    return one.spec.stop_policy, (active.holds, active.reason) if active else None


def _is_out(workload: Workload | None) -> bool:
    """Whether Kueue has evicted a Workload, and not put it in line again yet."""
    requeued = workload.condition(ConditionType.REQUEUED) if workload is not None else None
    return requeued is not None and not requeued.holds
