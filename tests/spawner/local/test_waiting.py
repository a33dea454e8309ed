"""The waiting room over the real queue, store and backend: asked, in line, admitted, started."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from arcetri_spawner import gate
from arcetri_spawner.backends.base import Session, Ticket, TicketState
from arcetri_spawner.backends.local import end_instance
from arcetri_spawner.errors import (
    ArcetriError,
    BackendError,
    Busy,
    Conflict,
    Denied,
    Kept,
    StoreError,
)
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant, Identity, Standing
from arcetri_spawner.service import SessionService
from arcetri_spawner.waiting import Entry, line, reconciler, room, unopened
from tests.spawner.local.test_service import People, until
from tests.spawner.local.world import World, catalog_text, launch
from tests.support import builders

ROOT = Path(__file__).parents[3]

T4 = {"flavor": "t4"}
A100 = {"flavor": "a100"}


class Everybody(People):
    """As IAM has them; it can be silent, or not know somebody any more."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.standing: dict[str, Standing] = {}
        self.refused: set[str] = set()
        """Whom it did not admit when it last answered."""
        self.silent: dict[str, asyncio.Event] = {}
        """Of whom it answers only when this is set."""

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:
        if username in self.silent:
            await self.silent[username].wait()
        known = await super().fresh(username, reuse=reuse)
        standing = self.standing.get(username, Standing.ADMITTED)
        return replace(known, standing=standing, was_admitted=username not in self.refused)

    async def known(self, username: str) -> Identity:
        known = await super().fresh(username)
        return replace(known, was_admitted=username not in self.refused)


class Hub:
    """One hub: a service with its waiting room at work, and what JupyterHub would do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people = Everybody(world)
        self.now = datetime.now(UTC)
        self.queued: list[str] = []
        self.service = SessionService(
            catalogs=world.catalogs,
            store=world.store,
            queue=world.queue,
            backend=world.backend,
            identities=self.people,
            clock=lambda: self.now,
        )
        self.starts: list[tuple[str, str]] = []
        self.opened: set[str] = set()
        self.env: dict[str, str] = {}
        """What sessions are started with."""

    async def ready(self) -> None:
        """At once."""

    async def start(self, username: str, server_name: str, choice: Mapping[str, str]) -> None:
        self.starts.append((username, server_name))
        await self.service.start(username, server_name, dict(choice), launch(**self.env))

    async def ask(self, name: str, raw: Mapping[str, str] = T4, server: str = "") -> Any:
        """Ask as a page does: who is admitted at once is started at once."""
        entry, starts = await self.service.ask(name, server, dict(raw))
        if starts:
            await self.service.start(name, server, dict(raw), launch())
        return entry

    async def end(self, name: str, server: str = "") -> None:
        found = await self.service.find(name, server)
        assert isinstance(found, Session)
        await self.service.end(found.id, "stopped")

    async def runs(self, name: str, server: str = "") -> bool:
        return isinstance(await self.service.find(name, server), Session)

    async def states(self) -> dict[str, str]:
        return {r.grant.username: r.state for r in await self.world.store.live_requests()}

    async def last(self, name: str) -> tuple[str, str]:
        account = (await self.people.known(name)).account_id
        ended = await self.world.store.last_ended(account, "")
        assert ended is not None
        return ended.reason, ended.message


def text(**simulated: int) -> str:
    return catalog_text(**simulated)


@asynccontextmanager
async def a_hub(folder: Path, instance: str, catalog: str, **config: Any) -> AsyncIterator[Hub]:
    """One hub after another over the same folder."""
    world = World(folder, catalog, instance_id=instance, **config)
    world.edit(catalog.replace("local: default", f"local: {world.interpreter}"))
    hub = Hub(world)
    work: list[asyncio.Task[None]] = []
    try:
        await world.backend.recover()
        await hub.service.recover()
        seen = lambda name, _server, _since: name in hub.opened  # noqa: E731
        work = [
            asyncio.create_task(hub.service.reconciler.run(hub)),
            asyncio.create_task(hub.service.unopened.run(seen, hub.service.holds)),
        ]
        yield hub
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await hub.service.close(end_sessions=False)
        await world.close()


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything that is done now and then be done at once."""
    for module, name in (
        (reconciler, "SWEEP"),
        (reconciler, "RETRY"),
        (line, "RETRY"),
        (room, "RETRY"),
        (unopened, "LOOK"),
    ):
        monkeypatch.setattr(module, name, 0.05)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    instance = uuid4().hex
    try:
        async with a_hub(tmp_path, instance, text(t4=1, a100=1)) as made:
            yield made
    finally:
        end_instance(instance, grace=0.0)


async def test_the_next_starts_by_itself_when_the_first_ends(hub: Hub) -> None:
    await hub.ask("alice")
    for name in ("bob", "carla"):
        assert (await hub.ask(name)).stage == "waiting"
    assert await hub.states() == {"alice": "running", "bob": "waiting", "carla": "waiting"}

    await hub.end("alice")

    await until(lambda: hub.runs("bob"))
    assert await hub.states() == {"bob": "running", "carla": "waiting"}
    assert hub.starts == [("bob", "")]


async def test_no_start_is_too_late_for_a_wait_and_its_time_counts_from_the_turn(
    tmp_path: Path,
) -> None:
    instance, limit = uuid4().hex, 4.0
    try:
        async with a_hub(tmp_path, instance, text(t4=1), start_timeout=limit) as hub:
            await hub.ask("alice")
            for name in ("bob", "carla"):
                await hub.ask(name)
            began = time.monotonic()
            await asyncio.sleep(1.2 * limit)
            # Nothing has begun that could be late, and nothing has failed.
            assert await hub.states() == {"alice": "running", "bob": "waiting", "carla": "waiting"}
            assert hub.starts == []

            await hub.end("alice")
            await until(lambda: hub.runs("bob"))

            hub.env = {"FAKE_SILENT": "1"}
            turn = time.monotonic()
            assert turn - began > limit
            await hub.end("bob")
            await until(lambda: nobody(hub))
            assert time.monotonic() - turn >= limit
            code, message = await hub.last("carla")
            assert code == "start_failed"
            assert "did not answer within 4 seconds" in message
            assert hub.starts == [("bob", ""), ("carla", "")]
    finally:
        end_instance(instance, grace=0.0)


async def test_who_asks_again_is_where_they_were(hub: Hub) -> None:
    await hub.ask("alice")
    entry = await hub.ask("bob")
    await hub.ask("carla")

    assert await hub.ask("bob", A100) is entry
    wait = await hub.service.waiting.tell(entry, await hub.people.known("bob"))

    assert wait.position is not None
    assert (wait.position.ahead, wait.position.provisional) == (0, False)
    assert [reason.code for reason in wait.reasons] == ["busy_capacity"]
    assert [offer.flavor for offer in wait.alternatives] == ["a100", "cpu"]
    assert wait.expected is None
    said = ExpectedWait(*(timedelta(minutes=m) for m in (5, 20, 60)), confidence=0.8, sessions=40)

    async def estimate(grant: Grant) -> ExpectedWait | None:
        return said if grant.request_id == entry.id else None

    hub.service.waiting.estimator = estimate
    wait = await hub.service.waiting.tell(entry, await hub.people.known("bob"))
    assert wait.expected == said


async def answers_late(hub: Hub, name: str, *asked: Coroutine[Any, Any, Any]) -> list[Any]:
    """What comes of things asked at once, of which each is under way before IAM answers."""
    answer = hub.people.silent[name] = asyncio.Event()
    tasks = [asyncio.create_task(one) for one in asked]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)
    answer.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_asks_twice_at_once_has_one_request_and_leads_to_it(hub: Hub) -> None:
    await hub.ask("alice")

    both = await answers_late(hub, "bob", *(hub.service.ask("bob", "", dict(T4)) for _ in "12"))

    assert [one.starts for one in both] == [False, False]
    assert both[0].entry is both[1].entry is hub.service.waiting.find("bob", "")
    assert await hub.states() == {"alice": "running", "bob": "waiting"}
    await hub.end("alice")
    await until(lambda: hub.runs("bob"))


async def test_who_asks_twice_at_once_is_to_start_it_once(hub: Hub) -> None:
    both = await answers_late(hub, "bob", *(hub.service.ask("bob", "", dict(T4)) for _ in "12"))

    assert [one.starts for one in both] == [True, False]
    await hub.service.start("bob", "", T4, launch())
    assert await hub.states() == {"bob": "running"}
    assert hub.service.waiting.entries() == []


async def test_a_request_that_could_not_be_written_hides_none_of_its_server(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    room = hub.service.waiting

    room._add(other := Entry(builders.grant(username="bob"), hub.now))
    assert room.find("bob", "") is other
    room._drop(other)

    assert room.find("bob", "") is bob


async def test_two_moves_at_once_end_in_one_session(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    move = hub.service.waiting.move

    one, other = await answers_late(hub, "bob", move(bob, A100), move(bob, A100))

    assert isinstance(other, Conflict)
    assert one is hub.service.waiting.find("bob", "")
    await hub.service.start("bob", "", A100, launch())
    assert await hub.states() == {"alice": "running", "bob": "running"}


async def test_what_a_move_has_led_to_is_not_moved_before_it_has_its_place(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one finds the new request while the queue is asked for its place."""
    await hub.ask("alice")
    bob = await hub.ask("bob")
    room, submit, asked = hub.service.waiting, hub.world.queue.submit, asyncio.Event()
    answer = asyncio.Event()

    async def slow(grant: Grant) -> Ticket:
        asked.set()
        await answer.wait()
        return await submit(grant)

    monkeypatch.setattr(hub.world.queue, "submit", slow)
    first = asyncio.create_task(room.move(bob, A100))
    await asked.wait()
    new = room.find("bob", "")
    assert new is not None
    second = asyncio.create_task(room.move(new, {"flavor": "cpu"}))
    await asyncio.sleep(0.05)
    answer.set()

    assert await first is new
    with pytest.raises(Conflict):
        await second
    assert room.find("bob", "") is new
    await hub.service.start("bob", "", A100, launch())
    assert await hub.states() == {"alice": "running", "bob": "running"}


async def test_who_waits_is_told_of_the_catalog_of_the_moment(hub: Hub) -> None:
    """And not what a length of sessions would say of a wait that does not end with one."""
    said = ExpectedWait(*(timedelta(minutes=m) for m in (5, 20, 60)), confidence=0.8, sessions=40)

    async def estimate(_grant: Grant) -> ExpectedWait:
        return said

    async def told() -> tuple[list[str], ExpectedWait | None]:
        wait = await hub.service.waiting.tell(entry, await hub.people.known("bob"))
        return [reason.code for reason in wait.reasons], wait.expected

    hub.service.waiting.estimator = estimate
    await hub.ask("alice")
    entry = await hub.ask("bob")
    assert await told() == (["busy_capacity"], said)
    before = hub.world.profiles.read_text()

    hub.world.edit(before.replace("t4: {title", "t4: {maintenance: {message: New cooling.}, title"))
    assert await told() == (["maintenance", "busy_capacity"], None)
    hub.world.edit(before)
    assert await told() == (["busy_capacity"], said)

    hub.world.edit(before.replace("{t4: {}, a100", "{a100"))
    assert await told() == (["queue_no_flavor"], None)


async def test_a_start_of_what_waits_is_refused_and_changes_nothing(hub: Hub) -> None:
    await hub.ask("alice")
    await hub.ask("bob")

    with pytest.raises(Busy) as caught:
        await hub.service.start("bob", "", T4, launch())

    assert caught.value.code == "busy_capacity"
    assert await hub.states() == {"alice": "running", "bob": "waiting"}


async def test_who_leaves_is_gone_and_the_others_move_up(hub: Hub) -> None:
    await hub.ask("alice")
    bob, carla = await hub.ask("bob"), await hub.ask("carla")

    await hub.service.end(bob.id, "admin", "Make room.")

    assert await hub.last("bob") == ("admin", "Make room.")
    wait = await hub.service.waiting.tell(carla, await hub.people.known("carla"))
    assert wait.position is not None
    assert wait.position.ahead == 0
    assert not hub.service.holds(bob.id)
    await hub.end("alice")
    await until(lambda: hub.runs("carla"))


async def test_an_alternative_that_is_free_takes_the_requests_place(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")

    moved = await hub.service.waiting.move(bob, A100)
    await hub.service.start("bob", "", A100, launch())

    assert moved.stage == "admitted"
    assert await hub.runs("bob")
    rows = {r.grant.username: r.grant.flavor for r in await hub.world.store.live_requests()}
    assert rows == {"alice": "t4", "bob": "a100"}
    assert len(await hub.world.store.leases()) == 2


async def test_an_alternative_that_waits_for_something_else_says_for_what(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    submit, why = hub.world.queue.submit, queueing.size("A100")

    async def cramped(grant: Grant) -> Ticket:
        if grant.flavor == "a100":
            return Ticket(grant.request_id, TicketState.WAITING, reason=why)
        return await submit(grant)

    monkeypatch.setattr(hub.world.queue, "submit", cramped)
    with pytest.raises(Busy, match="No node has room for a session of this size") as error:
        await hub.service.waiting.move(bob, A100)
    assert error.value.remedy == "Your request keeps its place."
    assert hub.service.waiting.find("bob", "") is bob


@pytest.mark.parametrize("refused", ["taken", "denied", "nonsense"])
async def test_an_alternative_that_is_refused_leaves_the_place(hub: Hub, refused: str) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    await hub.ask("carla")
    choice = {"taken": A100, "denied": {"flavor": "h100"}, "nonsense": {"flavor": ["t4"]}}[refused]
    if refused == "taken":
        await hub.ask("dora", A100)

    with pytest.raises((Busy, Denied)) as error:
        await hub.service.waiting.move(bob, choice)

    assert ("was taken a moment ago" in str(error.value)) is (refused == "taken")
    assert (await hub.states())["bob"] == "waiting"
    found = hub.service.waiting.find("bob", "")
    assert found is bob
    assert await hub.world.queue.position(Ticket(bob.id, TicketState.WAITING)) is not None
    await hub.end("alice")
    await until(lambda: hub.runs("bob"))
    assert (await hub.states())["carla"] == "waiting"


@pytest.mark.parametrize("away", [False, True], ids=["", "and the queue is silent then"])
async def test_what_the_queue_says_of_who_tries_an_alternative_costs_no_place(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """In a queue apart, which knows nothing of exchanges, the old ticket stands all the while."""
    await hub.ask("alice")
    bob = await hub.ask("bob")
    queue, store = hub.world.queue, hub.world.store
    submit, finish = queue.submit, queue.finish
    rows, finished = await store.live_requests(), list[UUID]()
    silent = away

    async def before() -> Any:
        return rows

    async def faster(grant: Grant) -> Ticket:
        nonlocal silent
        if grant.request_id != bob.id:
            # Somebody was faster with the other one, and meanwhile it is this one's turn.
            queue._news.tell(Ticket(bob.id, TicketState.ADMITTED))
            await hub.end("alice")
            await asyncio.sleep(0.1)
            await hub.service.reconciler._resync()
            with monkeypatch.context() as late:
                late.setattr(store, "live_requests", before)
                await hub.service.reconciler._resync()
            assert hub.service.waiting.known(bob.id) is None
            return Ticket(grant.request_id, TicketState.WAITING, reason=queueing.silent())
        if silent:
            silent = False
            raise BackendError("Away.", code="queue_away")
        return await submit(grant)

    async def noted(ticket: Ticket) -> None:
        finished.append(ticket.request_id)
        await finish(ticket)

    monkeypatch.setattr(queue, "submit", faster)
    monkeypatch.setattr(queue, "finish", noted)
    with pytest.raises(Busy, match="Your request keeps its place"):
        await hub.service.waiting.move(bob, A100)

    assert bob.id not in finished
    await until(lambda: hub.runs("bob"))
    assert hub.starts == [("bob", "")]


async def test_what_could_only_wait_for_ever_is_refused(hub: Hub) -> None:
    with pytest.raises(Busy) as caught:
        await hub.ask("alice", {"flavor": "v70"})

    assert caught.value.code == "capacity_none"
    assert await hub.states() == {}
    assert hub.service.waiting.entries() == []


@pytest.mark.parametrize("standing", [Standing.UNKNOWN, Standing.NOT_ADMITTED])
async def test_who_cannot_be_decided_about_is_kept_until_they_can(
    hub: Hub, standing: Standing
) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    carla = await hub.ask("carla")
    hub.people.standing["bob"] = standing

    await hub.end("alice")
    await until(lambda: bob.trouble)

    assert bob.trouble is not None
    assert bob.trouble.code in ("identity_unknown", "not_admitted")
    assert await hub.states() == {"bob": "admitted", "carla": "waiting"}
    assert hub.starts == []
    assert bob.hold_until == hub.now + timedelta(minutes=10)
    hub.people.standing.clear()
    await until(lambda: hub.runs("bob"))
    assert carla.stage == "waiting"


async def test_who_is_kept_for_too_long_makes_room_for_the_next(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    await hub.ask("carla")
    hub.people.standing["bob"] = Standing.UNKNOWN
    await hub.end("alice")
    await until(lambda: bob.trouble)

    hub.now += timedelta(minutes=10)

    await until(lambda: hub.runs("carla"))
    code, message = await hub.last("bob")
    assert code == "hold_over"
    assert "IAM does not answer" in message


async def test_who_asks_while_iam_is_silent_is_kept_and_started_when_it_answers(hub: Hub) -> None:
    hub.people.standing["bob"] = Standing.UNKNOWN

    bob, starts = await hub.service.ask("bob", "", T4)

    assert (bob.stage, starts) == ("admitted", False)
    assert bob.trouble is not None
    assert bob.trouble.code == "identity_unknown"
    assert bob.trouble.own == "It starts by itself as soon as IAM answers."
    assert bob.hold_until == hub.now + timedelta(minutes=10)
    assert (await hub.ask("carla")).stage == "waiting"
    assert await hub.states() == {"bob": "admitted", "carla": "waiting"}
    wait = await hub.service.waiting.tell(bob, await hub.people.fresh("bob"))
    assert (wait.trouble, wait.alternatives) == (bob.trouble, ())
    await asyncio.sleep(0.3)
    assert hub.starts == []
    hub.people.standing.clear()
    await until(lambda: hub.runs("bob"))
    assert hub.starts == [("bob", "")]
    assert (await hub.states())["carla"] == "waiting"


async def test_who_asked_while_iam_is_silent_is_kept_no_longer_than_hold(hub: Hub) -> None:
    hub.people.standing["bob"] = Standing.UNKNOWN
    await hub.ask("bob")
    await hub.ask("carla")

    hub.now += timedelta(minutes=10)

    await until(lambda: hub.runs("carla"))
    code, message = await hub.last("bob")
    assert code == "hold_over"
    assert "IAM does not answer" in message


async def test_who_asks_while_iam_is_slow_is_kept_and_started_when_it_answers(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_PATIENCE", 0.05)
    answer = hub.people.silent["bob"] = asyncio.Event()

    bob, starts = await hub.service.ask("bob", "", T4)

    assert (bob.stage, bob.is_kept, starts) == ("admitted", True, False)
    assert await hub.states() == {"bob": "admitted"}
    answer.set()
    await until(lambda: hub.runs("bob"))


async def test_who_asks_for_what_is_busy_while_iam_is_silent_waits_in_line(hub: Hub) -> None:
    await hub.ask("alice")
    hub.people.standing["bob"] = Standing.UNKNOWN

    bob = await hub.ask("bob")

    assert (bob.stage, bob.trouble) == ("waiting", None)
    hub.people.standing.clear()
    await hub.end("alice")
    await until(lambda: hub.runs("bob"))


@pytest.mark.parametrize(
    ("standing", "before", "choice", "code"),
    [
        # It says no: nobody is kept anything.
        (Standing.NOT_ADMITTED, True, T4, "not_admitted"),
        # It said no when it last said anything.
        (Standing.UNKNOWN, False, T4, "identity_unknown"),
        # Not of the groups it named last, and whether of others nobody knows.
        (Standing.UNKNOWN, True, {"flavor": "h100"}, "identity_unknown"),
        # What has nothing to do with groups.
        (Standing.UNKNOWN, True, {**T4, "size": "huge"}, "size_unknown"),
    ],
)
async def test_who_is_refused_though_iam_is_silent(
    hub: Hub, standing: Standing, before: bool, choice: dict[str, str], code: str
) -> None:
    hub.people.standing["bob"] = standing
    hub.people.refused = set() if before else {"bob"}

    with pytest.raises(Denied) as caught:
        await hub.ask("bob", choice)

    assert caught.value.code == code
    assert await hub.states() == {}
    assert hub.service.waiting.entries() == []


async def test_a_start_that_finds_iam_silent_keeps_the_request_that_was_admitted_at_once(
    hub: Hub,
) -> None:
    bob, starts = await hub.service.ask("bob", "", T4)
    assert starts
    hub.people.standing["bob"] = Standing.UNKNOWN

    with pytest.raises(Kept, match="It starts by itself as soon as IAM answers"):
        await hub.service.start("bob", "", T4, launch())

    assert bob.is_kept
    assert await hub.states() == {"bob": "admitted"}
    hub.people.standing.clear()
    await until(lambda: hub.runs("bob"))
    assert hub.starts == [("bob", "")]


async def test_a_start_that_iam_refuses_ends_the_request_that_was_admitted_at_once(
    hub: Hub,
) -> None:
    await hub.service.ask("bob", "", T4)
    hub.people.standing["bob"] = Standing.NOT_ADMITTED

    with pytest.raises(Denied):
        await hub.service.start("bob", "", T4, launch())

    assert await hub.states() == {}
    assert (await hub.last("bob"))[0] == "not_admitted"


async def test_who_is_kept_is_kept_by_the_next_hub_too(tmp_path: Path) -> None:
    instance, catalog = uuid4().hex, text(t4=1, a100=1)
    try:
        async with a_hub(tmp_path, instance, catalog) as first:
            first.people.standing["bob"] = Standing.UNKNOWN
            await first.ask("bob")
        async with a_hub(tmp_path, instance, catalog) as second:
            await until(lambda: second.runs("bob"))
            assert second.starts == [("bob", "")]
    finally:
        end_instance(instance, grace=0.0)


async def test_an_alternative_is_not_taken_while_iam_is_silent(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    hub.people.standing["bob"] = Standing.UNKNOWN

    with pytest.raises(Denied, match="Your request keeps its place"):
        await hub.service.waiting.move(bob, A100)

    assert hub.service.waiting.find("bob", "") is bob
    assert (await hub.states())["bob"] == "waiting"


async def test_who_lost_the_group_meanwhile_is_refused_and_told(hub: Hub) -> None:
    await hub.ask("alice")
    await hub.ask("bob")
    world = hub.world
    text_ = world.profiles.read_text()
    world.edit(text_.replace("t4: {}, a100: {}, a100-1g: {}", "a100: {}, a100-1g: {}"))

    await hub.end("alice")

    async def ended() -> bool:
        return "bob" not in await hub.states()

    await until(ended)
    account = (await hub.people.known("bob")).account_id
    told = await world.store.last_ended(account, "")
    assert told is not None
    assert (told.reason, told.ran, told.had_turn) == ("flavor_not_granted", False, True)
    assert await world.store.leases() == {}


async def test_a_person_at_their_limit_waits_until_they_end_one(hub: Hub) -> None:
    await hub.ask("alice")
    await hub.ask("bob", {"flavor": "cpu"}, "one")
    await hub.ask("bob", A100, "two")
    with pytest.raises(Denied) as caught:
        await hub.ask("bob", T4, "three")
    assert caught.value.code == "session_limit"


async def test_nobody_opens_it_and_it_goes_to_the_next(hub: Hub) -> None:
    await hub.ask("alice")
    for name in ("bob", "carla"):
        await hub.ask(name)
    await hub.end("alice")
    await until(lambda: hub.runs("bob"))
    [bob] = [row for row in await hub.service.live() if row.grant.username == "bob"]
    assert bob.open_by == hub.now + timedelta(minutes=10)

    hub.now += timedelta(minutes=10)

    await until(lambda: hub.runs("carla"))
    assert (await hub.last("bob"))[0] == "not_opened"
    hub.opened.add("carla")

    async def seen() -> bool:
        [row] = await hub.world.store.live_requests()
        return row.hold_until is None

    await until(seen)
    hub.now += timedelta(hours=1)
    await asyncio.sleep(0.3)
    assert await hub.runs("carla")


async def test_what_starts_at_once_need_not_be_opened(hub: Hub) -> None:
    await hub.ask("alice")

    hub.now += timedelta(hours=1)
    await asyncio.sleep(0.3)

    assert await hub.runs("alice")
    assert [row.hold_until for row in await hub.world.store.live_requests()] == [None]


async def test_a_start_that_fails_ends_the_request_and_the_next_one_has_their_turn(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.ask("alice")
    for name in ("bob", "carla"):
        await hub.ask(name)
    start = hub.world.backend.start

    async def fails(grant: Grant, *rest: Any) -> Session:
        if grant.username == "bob":
            raise BackendError("It cannot be had.")
        return await start(grant, *rest)

    monkeypatch.setattr(hub.world.backend, "start", fails)
    await hub.end("alice")

    await until(lambda: hub.runs("carla"))
    assert await hub.last("bob") == ("backend_failed", "It cannot be had.")
    assert hub.starts.count(("bob", "")) == 1


async def test_a_queue_that_cannot_be_asked_keeps_the_request_and_is_asked_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = hub.world.queue.submit

    async def away(_: Grant) -> Ticket:
        raise ArcetriError("The queue is away.", code="queue_away", remedy="It is asked again.")

    monkeypatch.setattr(hub.world.queue, "submit", away)
    entry, starts = await hub.service.ask("alice", "", T4)
    assert not starts
    assert entry.trouble is not None
    assert (entry.stage, entry.trouble.code) == ("asked", "queue_away")
    monkeypatch.setattr(hub.world.queue, "submit", submit)

    await until(lambda: hub.runs("alice"))


@pytest.mark.parametrize("fault", [RuntimeError("ours"), ArcetriError("Away.", code="queue_away")])
async def test_who_could_not_ask_for_what_another_catalog_says_asks_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    await hub.ask("alice")
    bob, carla = await hub.ask("bob"), await hub.ask("carla")
    submit = hub.world.queue.submit
    asked: list[str] = []
    fails = True

    async def faulty(grant: Grant) -> Ticket:
        asked.append(grant.username)
        if fails and grant.username == "bob":
            raise fault
        return await submit(grant)

    monkeypatch.setattr(hub.world.queue, "submit", faulty)
    hub.world.edit(hub.world.profiles.read_text().replace("NVIDIA T4", "Tesla T4"))

    # The fault of one keeps nobody else behind, and is tried again, also when it lasts.
    await until(lambda: asked.count("bob") >= 3)
    assert asked.count("carla") == 1
    assert bob.behind
    assert not carla.behind
    fails = False
    await until(lambda: not bob.behind)
    told = len(asked)
    await asyncio.sleep(0.3)
    assert len(asked) == told
    assert (bob.stage, bob.trouble) == ("waiting", None)
    await hub.end("alice")
    await until(lambda: hub.runs("bob"))


async def test_a_ticket_without_a_request_is_taken_away(hub: Hub) -> None:
    world = hub.world
    grant = await world.grant("zoe")
    await world.store.mark(grant.request_id, "waiting")
    await world.queue.submit(grant)
    assert len(await world.store.leases()) == 1
    await world.store.mark(grant.request_id, "ended", reason="behind its back")
    await hub.service.reconciler._stray(Ticket(grant.request_id, TicketState.ADMITTED))

    assert await world.store.leases() == {}


async def test_a_stray_ticket_that_came_while_the_database_was_away_is_found_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = hub.world
    await hub.ask("alice")
    bob = await hub.ask("bob")
    before = await world.store.leases()
    zoe = await world.grant("zoe", "a100")
    looked = asyncio.Event()

    async def away() -> Any:
        looked.set()
        raise StoreError("Away.")

    with monkeypatch.context() as broken:
        broken.setattr(world.store, "live_requests", away)
        await world.queue.submit(zoe)
        await asyncio.wait_for(looked.wait(), 10)
        await world.store.mark(zoe.request_id, "ended", reason="behind its back")
    assert len(await world.store.leases()) == 2

    await hub.service.reconciler._resync()

    assert await world.store.leases() == before
    assert await hub.states() == {"alice": "running", "bob": "waiting"}
    assert await world.queue.position(Ticket(bob.id, TicketState.WAITING)) is not None


async def test_who_came_back_from_an_exchange_while_the_rows_were_read_is_kept(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    live = hub.world.store.live_requests
    during = [row for row in await live() if row.id != bob.id]

    async def rows() -> Any:
        monkeypatch.setattr(hub.world.store, "live_requests", live)
        return during

    monkeypatch.setattr(hub.world.store, "live_requests", rows)
    await hub.service.reconciler._resync()
    assert hub.service.waiting.get(bob.id) is bob
    # What has ended indeed goes.
    await hub.world.store.mark(bob.id, "ended", reason="behind its back")
    await hub.service.reconciler._resync()
    assert hub.service.waiting.get(bob.id) is None


async def test_a_ticket_that_vanishes_is_asked_for_again(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")

    await hub.world.queue.finish(Ticket(bob.id, TicketState.GONE))

    async def in_line() -> bool:
        return await hub.world.queue.position(Ticket(bob.id, TicketState.WAITING)) is not None

    await until(in_line)
    assert bob.stage == "waiting"


async def test_after_a_restart_everyone_is_in_their_place(tmp_path: Path) -> None:
    instance = uuid4().hex
    catalog = text(t4=1, a100=1)
    names = ("bob", "carla", "dora")
    try:
        async with a_hub(tmp_path, instance, catalog) as first:
            await first.ask("alice")
            for name in names:
                await first.ask(name)
        async with a_hub(tmp_path, instance, catalog) as second:
            assert await second.runs("alice")
            places = []
            for name in names:
                entry = second.service.waiting.find(name, "")
                assert entry is not None
                wait = await second.service.waiting.tell(entry, await second.people.known(name))
                places.append(wait.position.ahead if wait.position else None)
            assert places == [0, 1, 2]
            # Who came first has it, before anybody who comes now.
            await second.ask("zoe")
            await second.end("alice")
            await until(lambda: second.runs("bob"))
            assert second.starts == [("bob", "")]
    finally:
        end_instance(instance, grace=0.0)


async def test_one_admitted_while_the_hub_was_away_starts_once(tmp_path: Path) -> None:
    instance = uuid4().hex
    catalog = text(t4=1, a100=1)
    try:
        async with a_hub(tmp_path, instance, catalog) as first:
            # Asked, admitted, and the hub ended before anybody began the start.
            entry, starts = await first.service.ask("alice", "", T4)
            assert (entry.stage, starts) == ("admitted", True)
            # Who asks once more does not start it a second time.
            assert await first.service.ask("alice", "", T4) == (entry, False)
        async with a_hub(tmp_path, instance, catalog) as second:
            await until(lambda: second.runs("alice"))
            await asyncio.sleep(0.3)
            assert second.starts == [("alice", "")]
            assert len(await second.world.store.leases()) == 1
    finally:
        end_instance(instance, grace=0.0)


@pytest.mark.parametrize("point", ["start.answered", "request.running"])
async def test_what_started_by_itself_while_the_hub_died_goes_too_when_nobody_opens_it(
    tmp_path: Path, point: str
) -> None:
    instance, catalog = uuid4().hex, text(t4=1, a100=1)
    driver = [sys.executable, "-m", "tests.spawner.local.waiting_driver"]
    try:
        died = await asyncio.create_subprocess_exec(
            *driver, str(tmp_path), instance, catalog, point, cwd=ROOT
        )
        assert await asyncio.wait_for(died.wait(), 60) == -signal.SIGKILL
        async with a_hub(tmp_path, instance, catalog) as hub:
            assert await hub.runs("bob")
            [bob] = await hub.service.live()
            assert bob.open_by is not None
            assert bob.open_by > hub.now + timedelta(minutes=9)

            hub.now += timedelta(minutes=11)

            await until(lambda: nobody(hub))
            assert (await hub.last("bob"))[0] == "not_opened"
    finally:
        end_instance(instance, grace=0.0)


async def nobody(hub: Hub) -> bool:
    return await hub.states() == {}


async def test_a_move_of_what_waits_no_more_is_refused(hub: Hub) -> None:
    await hub.ask("alice")
    bob = await hub.ask("bob")
    hub.people.standing["bob"] = Standing.UNKNOWN
    await hub.end("alice")
    await until(lambda: bob.stage == "admitted")
    hub.people.standing.clear()

    with pytest.raises((Conflict, Denied)):
        await hub.service.waiting.move(bob, A100)


async def test_the_queue_is_asked_again_of_whom_it_may_never_have_heard(hub: Hub) -> None:
    await hub.ask("alice")
    await hub.ask("bob")
    entry = hub.service.waiting.find("bob", "")
    assert entry is not None
    entry.ticket = Ticket(entry.id, TicketState.WAITING, reason=queueing.silent())
    await hub.service.reconciler._resync()

    async def heard() -> bool:
        reason = entry.ticket.reason if entry.ticket else None
        return reason is not None and reason.code == "busy_capacity"

    await until(heard)
