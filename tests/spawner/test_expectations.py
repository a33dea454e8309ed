"""Expected waits from memory: from what the ledger said and the lines as they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from arcetri_accounting.client import Heard
from arcetri_accounting.contract.lengths import SessionLength, SessionLengths
from arcetri_spawner import expectations as module
from arcetri_spawner.errors import StoreError
from arcetri_spawner.estimates import ExpectedWait, Order
from arcetri_spawner.estimates.lines import lines
from arcetri_spawner.expectations import Expectations
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.model import FlavorInventory, Inventory
from tests.support.builders import ASTRO, CMS, NOW, catalog, grant, loaded, section

HOUR = timedelta(hours=1)
GROUPS = section(
    "groups",
    **{
        CMS: {"flavors": {"t4": {"quota": 2, "borrow": 1}}},
        ASTRO: {"flavors": {"t4": {}}},
    },
)


def row(state: str, hours: float = 1, group: str = CMS, lifetime: timedelta = 72 * HOUR) -> LiveRow:
    """Somebody who asked, and perhaps started, so many hours ago."""
    began = NOW - hours * HOUR
    session: Any = SimpleNamespace(started=began) if state == "running" else None
    return LiveRow(grant(request_id=uuid4(), group=group, lifetime=lifetime), state, session, began)


def heard(count: int = 40, minutes: float = 120) -> Heard:
    """The ledger's word: that many sessions, of about so many minutes."""
    sessions = tuple(
        SessionLength(
            flavor="t4",
            flavor_type="gpu",
            group=CMS,
            kind="notebook",
            began=int((NOW - timedelta(days=1 + number / 10)).timestamp() * 1000),
            lasted=int(minutes * 60_000 * (0.5 + number / count)),
            reason="stopped",
        )
        for number in range(count)
    )
    since = int((NOW - timedelta(days=60)).timestamp() * 1000)
    return Heard(SessionLengths(at=since, since=since, sessions=sessions), NOW)


class World:
    """What the expectations are told, for a test to change."""

    def __init__(self, *rows: LiveRow, heard: Heard | None = None) -> None:
        self.rows: Sequence[LiveRow] = rows
        self.heard = heard
        self.now = NOW
        self.looks = 0
        self.fails = False
        self.over: list[tuple[str, float, ExpectedWait | None]] = []
        of: Any = SimpleNamespace(current=loaded(catalog(groups=GROUPS)))
        self.expectations = Expectations(
            live=self.live,
            catalogs=of,
            inventory=lambda: Inventory({"t4": FlavorInventory(3, 0)}, self.now),
            heard=lambda: self.heard,
            order=Order.FIRST_COME,
            observer=self,
            clock=lambda: self.now,
        )

    async def live(self) -> Sequence[LiveRow]:
        self.looks += 1
        if self.fails:
            raise StoreError("the database is away")
        return self.rows

    def wait_over(self, flavor: str, waited: float, said: ExpectedWait | None) -> None:
        self.over.append((flavor, waited, said))

    async def expected(self, of: LiveRow | UUID) -> ExpectedWait | None:
        return await self.expectations.expected(of if isinstance(of, UUID) else of.grant.request_id)


FULL = [row("running", 1), row("running", 1.5), row("running", 0.5, ASTRO)]


async def test_who_waits_is_told_and_from_memory_then() -> None:
    waiting = row("waiting", 0)
    world = World(*FULL, waiting, heard=heard())
    found = await world.expected(waiting)
    assert found is not None
    assert timedelta() < found.low < found.likely < found.high < 6 * HOUR
    assert (found.confidence, found.sessions) == (0.8, 40)
    assert await world.expected(waiting) == found
    assert await world.expectations(waiting.grant) == found
    assert world.looks == 1


async def test_for_a_crowd_the_lines_are_looked_at_once() -> None:
    crowd = [row("waiting", 0) for _ in range(20)]
    world = World(*FULL, *crowd, heard=heard())
    found = await asyncio.gather(*(world.expected(one) for one in crowd))
    assert None not in found
    assert world.looks == 1


@pytest.mark.parametrize("state", ["running", "starting", "asked", "ended"])
async def test_who_does_not_wait_is_told_nothing(state: str) -> None:
    other = row(state)
    world = World(*FULL, other, heard=heard())
    assert await world.expected(other) is None
    assert await world.expected(uuid4()) is None


@pytest.mark.parametrize("said", [None, heard(3)], ids=["silent", "too little"])
async def test_nothing_is_invented(said: Heard | None) -> None:
    waiting = row("waiting", 0)
    world = World(*FULL, waiting, heard=said)
    assert await world.expected(waiting) is None


async def test_what_the_ledger_said_last_serves_while_it_is_away() -> None:
    waiting = row("waiting", 0)
    world = World(*FULL, waiting, heard=heard())
    assert await world.expected(waiting) is not None
    world.now += timedelta(days=2)
    late = row("waiting", 0)
    world.rows = [*FULL, late]
    assert await world.expected(late) is not None


async def test_what_the_ledger_says_anew_counts_at_once() -> None:
    waiting, later = row("waiting", 0), row("waiting", 0)
    world = World(*FULL, waiting, heard=heard(minutes=120))
    before = await world.expected(waiting)
    world.heard = heard(minutes=1200)
    world.rows = [*FULL, later]
    after = await world.expected(later)
    assert before is not None
    assert after is not None
    assert after.likely > 3 * before.likely


async def test_when_the_wait_is_over_it_is_compared_with_what_was_said_first() -> None:
    waiting, left = row("waiting", 0), row("waiting", 0)
    world = World(*FULL, waiting, left, heard=heard())
    first = await world.expected(waiting)
    world.now += HOUR
    await world.expected(uuid4())
    assert world.over == []
    begun = LiveRow(waiting.grant, "starting", None, waiting.asked)
    world.rows = [*FULL[1:], begun]
    await world.expected(uuid4())
    assert world.over == [("t4", 3600, first)]
    await world.expected(uuid4())
    assert len(world.over) == 1


async def test_of_who_was_told_nothing_the_wait_is_told_too() -> None:
    waiting = row("waiting", 0)
    world = World(*FULL, waiting)
    await world.expected(waiting)
    world.rows = [*FULL[1:], LiveRow(waiting.grant, "admitted", None, waiting.asked)]
    await world.expected(uuid4())
    assert world.over == [("t4", 0, None)]


@contextlib.asynccontextmanager
async def looking(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.expectations.run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_in_the_background_the_lines_are_followed_also_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.01)
    waiting = row("waiting", 0)
    world = World(*FULL, waiting, heard=heard())
    async with looking(world), asyncio.timeout(10):
        found = await world.expected(waiting)
        world.fails = True
        looks = world.looks
        while world.looks < looks + 3:
            await asyncio.sleep(0.01)
        assert await world.expected(waiting) == found
        world.fails = False
        world.rows = [*FULL[1:], LiveRow(waiting.grant, "starting", None, waiting.asked)]
        while not world.over:
            await asyncio.sleep(0.01)
    assert world.over[0][2] == found


def test_a_line_is_made_of_the_catalog_the_inventory_and_the_rows() -> None:
    first, second = row("waiting", 2, lifetime=5 * HOUR), row("waiting", 1, ASTRO)
    starting = row("starting")
    inventory = Inventory({"t4": FlavorInventory(3, 0)}, NOW)
    rows = [*FULL, first, starting, second, row("asked"), row("ended")]
    found = lines(catalog(groups=GROUPS), inventory, rows, NOW, Order.FAIR_SHARE)
    line = found["t4"]
    assert list(found) == ["t4"]
    assert (line.places, line.flavor_type, line.order) == (3, "gpu", Order.FAIR_SHARE)
    assert [(one.id, one.group, one.lifetime) for one in line.waiting] == [
        (first.grant.request_id, CMS, 5 * HOUR),
        (second.grant.request_id, ASTRO, 72 * HOUR),
    ]
    assert [one.began for one in line.running] == [
        *(NOW - hours * HOUR for hours in (1, 1.5, 0.5)),
        NOW,
    ]
    assert line.running[0].ends_by == NOW + 71 * HOUR
    assert (line.quotas, line.borrow) == ({CMS: 2}, {CMS: 1})


def test_a_flavour_that_nothing_has_is_a_line_without_places() -> None:
    found = lines(catalog(groups=GROUPS), Inventory({}, datetime.now(UTC)), [row("waiting")], NOW,
                  Order.FIRST_COME)  # fmt: skip
    assert found["t4"].places == 0


def test_devices_that_others_than_sessions_hold_are_no_places() -> None:
    inventory = Inventory({"t4": FlavorInventory(8, 1)}, NOW)
    found = lines(catalog(groups=GROUPS), inventory, [*FULL, row("waiting")], NOW,
                  Order.FAIR_SHARE)  # fmt: skip
    assert found["t4"].places == len(FULL) + 1
