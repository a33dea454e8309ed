"""How long each request will probably wait, from memory; and how good that was.

In the background the lines are looked at every few seconds, and how long sessions last is worked
out anew when the ledger has said more. Whoever asks is answered with what was found last. When a
request's wait is over, what was said of it when it came is compared with what it became.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.estimates import (
    ExpectedWait,
    Laws,
    Lengths,
    Line,
    Order,
    RunningSession,
    expected_waits,
)
from arcetri_spawner.estimates.lines import HOLDING, WAITING, lines, past

if TYPE_CHECKING:
    from arcetri_accounting.client import Heard
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.live import LiveRow
    from arcetri_spawner.policy.model import Grant, Inventory

log = structlog.get_logger(__name__)

_LOOK: Final = 15.0
"""Seconds between two looks at the lines."""
_LAWS: Final = timedelta(minutes=10)
"""How long it is taken as known how long sessions last, also when the ledger says nothing new."""


class WaitObserver(Protocol):
    """Told of waits that are over, for metrics."""

    def wait_over(self, flavor: str, waited: float, said: ExpectedWait | None) -> None:
        """A request was admitted.

        Args:
            flavor: For which one.
            waited: Seconds from the moment at which it was first found waiting.
            said: What was expected at that moment; None where nothing was.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Wait:
    """A request that waits, since when, and what was said of it first."""

    flavor: str
    since: datetime
    said: ExpectedWait | None


class Expectations:
    """Answers how long requests will wait, while ``run`` runs.

    Args:
        live: Everything that waits, starts or runs, in the order of asking.
        catalogs: The catalog in force.
        inventory: What there is, from memory.
        heard: What the ledger last said of how long sessions lasted; None before it did.
        order: Who is next in the queue.
        observer: Told of waits that are over.
        clock: The time.
    """

    def __init__(
        self,
        *,
        live: Callable[[], Awaitable[Sequence[LiveRow]]],
        catalogs: CatalogHolder,
        inventory: Callable[[], Inventory],
        heard: Callable[[], Heard | None],
        order: Order,
        observer: WaitObserver,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._live = live
        self._catalogs = catalogs
        self._inventory = inventory
        self._heard = heard
        self._order = order
        self._observer = observer
        self._clock = clock
        self._looking = asyncio.Lock()
        self._expected: Mapping[UUID, ExpectedWait] = {}
        self._waits: dict[UUID, _Wait] = {}
        self._laws: Laws | None = None
        self._laws_made: datetime | None = None
        self._laws_from: Heard | None = None

    async def expected(self, request_id: UUID) -> ExpectedWait | None:
        """How long a request will still wait; None where it does not, or where that is not known.

        From memory, a few seconds old, but for a request that came since: then the lines are looked
        at now.
        """
        if request_id not in self._waits:
            await self._look_surely(request_id)
        return self._expected.get(request_id)

    async def __call__(self, grant: Grant) -> ExpectedWait | None:
        """The same, for whoever has the grant of the request."""
        return await self.expected(grant.request_id)

    async def run(self) -> None:
        """Look at the lines, for ever."""
        while True:
            await self._look_surely()
            await asyncio.sleep(_LOOK)

    async def _look_surely(self, wanted: UUID | None = None) -> None:
        """Look at the lines; for one request only if the look before did not find it yet."""
        try:
            async with self._looking:
                # Of a crowd that comes at once, one look finds all who are there by then.
                if wanted is None or wanted not in self._waits:
                    await self._look()
        except ArcetriError as error:
            # What was expected before stands: it is old, and says so by no other means than time.
            log.warning("the lines could not be looked at", code=error.code)

    async def _look(self) -> None:
        rows = await self._live()
        now = self._clock()
        waiting = {row.grant.request_id: row for row in rows if row.state == WAITING}
        expected: dict[UUID, ExpectedWait] = {}
        if waiting:
            catalog = self._catalogs.current.catalog
            zone = ZoneInfo(catalog.site.timezone)
            found = lines(catalog, self._inventory(), rows, now, self._order)
            laws = await self._known(rows, now, zone)
            if laws is not None:
                expected = await asyncio.to_thread(_all, list(found.values()), laws, now, zone)
        self._expected = expected
        self._compare(rows, waiting, now)

    def _compare(
        self, rows: Sequence[LiveRow], waiting: Mapping[UUID, LiveRow], now: datetime
    ) -> None:
        """Note who has come, and tell of those whose wait is over; who left is forgotten."""
        held = {row.grant.request_id for row in rows if row.state in HOLDING}
        for request_id, wait in list(self._waits.items()):
            if request_id in held:
                seconds = (now - wait.since).total_seconds()
                self._observer.wait_over(wait.flavor, seconds, wait.said)
            if request_id not in waiting:
                del self._waits[request_id]
        for request_id, row in waiting.items():
            if request_id not in self._waits:
                said = self._expected.get(request_id)
                self._waits[request_id] = _Wait(row.grant.flavor, now, said)

    async def _known(self, rows: Sequence[LiveRow], now: datetime, zone: ZoneInfo) -> Laws | None:
        heard = self._heard()
        if heard is None:
            return None
        fresh = self._laws_made is not None and now - self._laws_made < _LAWS
        if heard is not self._laws_from or not fresh:
            self._laws = await asyncio.to_thread(_laws, heard, _running(rows, heard), now, zone)
            self._laws_from, self._laws_made = heard, now
        return self._laws


def _running(rows: Sequence[LiveRow], heard: Heard) -> list[RunningSession]:
    """Sessions that run, of those that the ledger would have told of, had they ended."""
    since = datetime.fromtimestamp(heard.lengths.since / 1000, UTC)
    return [
        RunningSession(row.grant.flavor, row.grant.flavor_type, str(row.grant.group), row.started)
        for row in rows
        if row.started is not None and row.started >= since
    ]


def _laws(heard: Heard, running: list[RunningSession], now: datetime, zone: ZoneInfo) -> Laws:
    lengths = Lengths(zone)
    lengths.add(past(heard.lengths))
    return lengths.laws(running, now)


def _all(found: list[Line], laws: Laws, now: datetime, zone: ZoneInfo) -> dict[UUID, ExpectedWait]:
    return {
        request_id: expected
        for line in found
        for request_id, expected in expected_waits(line, laws, now, zone).items()
    }
