"""The loop's own promises: concurrency, backoff, retried ends, and what pages are told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from arcetri_hub.reaper.ask import Unasked
from arcetri_hub.reaper.decide import Activity, Limits, Moment
from arcetri_hub.reaper.hub import Target
from arcetri_hub.reaper.loop import BACKOFF_START, UNATTENDED, Reaper
from arcetri_spawner.policy import queueing
from arcetri_spawner.waiting import Back, Wanted

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = Limits(timedelta(hours=1), timedelta(days=3), timedelta(minutes=5))


class World:
    """Sessions that answer, keep silent or resist, and the clock."""

    def __init__(self, *names: str) -> None:
        self.now = Moment(NOON, 0.0)
        self.sessions = {
            name: Target(uuid4(), name, "", f"http://{name}/", NOON, LIMITS, None) for name in names
        }
        self.silent: set[str] = set()
        self.resisting: set[str] = set()
        self.asked: list[str] = []
        self.refusals: list[str] = []
        self.ended: list[tuple[UUID, str, str]] = []
        self.reaper = Reaper(self, self, self.end, lambda: self.now)

    def targets(self) -> list[Target]:
        return list(self.sessions.values())

    def token(self, target: Target) -> str:
        return f"token of {target.username}"

    def refused(self, target: Target) -> None:
        self.refusals.append(target.username)

    async def ask(self, url: str, token: str) -> Activity:
        name = url.removeprefix("http://").removesuffix("/")
        assert token == f"token of {name}"
        self.asked.append(name)
        await asyncio.sleep(0)
        if name in self.silent:
            raise Unasked("it did not answer")
        return Activity(NOON, busy=False, signs=frozenset({"nothing new"}))

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        await asyncio.sleep(0)
        name = next(n for n, t in self.sessions.items() if t.session_id == session_id)
        if name in self.resisting:
            raise OSError("the database is away")
        self.ended.append((session_id, reason, message))
        del self.sessions[name]

    async def look_after(self, minutes: float) -> None:
        passed = timedelta(minutes=minutes)
        self.now = Moment(self.now.wall + passed, self.now.steady + passed.total_seconds())
        await self.reaper.look()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_an_idle_session_is_announced_to_its_own_user_and_ended() -> None:
    world = World("alice", "bob")
    await world.look_after(0)
    assert world.asked == [], "nobody is asked before the answer can matter"
    await world.look_after(56)
    (said,) = world.reaper.notices("alice")
    assert said.code == "idle"
    assert said.at == NOON + timedelta(minutes=61)
    assert world.reaper.notices("nobody") == []
    alice = world.sessions["alice"].session_id
    await world.look_after(5)
    assert {reason for _, reason, _ in world.ended} == {"idle"}
    assert alice in {session_id for session_id, _, _ in world.ended}
    assert all("nothing had happened" in message for _, _, message in world.ended)
    await world.look_after(1)
    assert world.reaper.notices("alice") == []
    assert world.reaper.idle_for(alice) is None


async def test_a_silent_session_is_kept_and_asked_ever_more_rarely() -> None:
    world = World("alice")
    world.silent = {"alice"}
    await world.look_after(0)
    for _ in range(120):
        await world.look_after(0.5 + 56 * (not world.asked))
    assert world.ended == []
    assert 4 <= len(world.asked) <= 12
    assert world.refusals == world.asked, "each failure makes the next ask use a new token"


async def test_a_silent_session_does_not_keep_others_from_their_end() -> None:
    world = World("alice", "bob")
    world.silent = {"bob"}
    for minutes in (0, 56, 5):
        await world.look_after(minutes)
    assert "alice" not in world.sessions
    assert "bob" in world.sessions


async def test_a_session_that_jupyterhub_has_forgotten_is_ended_and_no_other() -> None:
    world = World("alice", "bob")
    alice = world.sessions["alice"]
    world.sessions["alice"] = replace(alice, attended=False)
    await world.look_after(0)
    world.sessions["alice"] = alice
    await world.look_after(UNATTENDED / 60)
    world.sessions["alice"] = replace(alice, attended=False)
    await world.look_after(UNATTENDED / 60)
    assert world.ended == [], "it was there meanwhile"

    await world.look_after(UNATTENDED / 60)
    [(session, reason, message)] = world.ended
    assert (session, reason) == (alice.session_id, "lost")
    assert "nobody could have opened it" in message


async def test_an_end_that_fails_is_tried_again_later() -> None:
    world = World("alice")
    world.resisting = {"alice"}
    for minutes in (0, 56, 5):
        await world.look_after(minutes)
    assert "alice" in world.sessions
    world.resisting.clear()
    await world.look_after(0.1)
    assert "alice" in world.sessions, "not at once"
    await world.look_after(BACKOFF_START / 60)
    assert [reason for _, reason, _ in world.ended] == ["idle"]


async def test_what_is_wanted_back_is_announced_and_ended_though_it_computes() -> None:
    world = World("alice")
    await world.look_after(0)
    lent = Wanted(Back.PREEMPTED, queueing.returned("T4"), returns=True, optional=True)
    alice = world.sessions["alice"]
    world.sessions["alice"] = replace(alice, wanted=lent)
    await world.look_after(1)
    (said,) = world.reaper.notices("alice")
    assert (said.code, said.returns, said.optional) == ("preempted", True, True)
    assert said.at == NOON + timedelta(minutes=6)
    world.sessions["alice"] = alice
    await world.look_after(1)
    assert world.reaper.notices("alice") == [], "it is wanted back no more"
    world.sessions["alice"] = replace(alice, wanted=lent)
    for minutes in (1, 4.5):
        await world.look_after(minutes)
        assert world.ended == []
    await world.look_after(0.5)
    ((session, reason, message),) = world.ended
    assert (session, reason) == (alice.session_id, "preempted")
    assert message.endswith("Your request is back in line.")
    assert world.asked == []


async def test_what_is_known_to_be_wanted_back_later_is_looked_at_just_then() -> None:
    world = World("alice")
    alice = world.sessions["alice"]
    await world.look_after(0)
    assert world.reaper._pause() == 30
    world.sessions["alice"] = replace(alice, foreseen=NOON + timedelta(seconds=10))
    await world.look_after(0)
    assert world.reaper._pause() == 10
    await world.look_after(1)
    assert world.reaper._pause() == 30


async def test_who_is_woken_looks_at_once() -> None:
    world = World("alice")
    reaper = Reaper(world, world, world.end, lambda: world.now, interval=600)
    task = asyncio.create_task(reaper.run())
    await asyncio.sleep(0.05)
    lent = Wanted(Back.DRAINED, queueing.returned("T4"), returns=False)
    world.sessions["alice"] = replace(world.sessions["alice"], wanted=lent)
    assert reaper.notices("alice") == []
    reaper.wake()
    await asyncio.sleep(0.05)
    assert [said.code for said in reaper.notices("alice")] == ["drained"]
    task.cancel()
    await reaper.close()


async def test_run_survives_a_view_that_raises() -> None:
    world = World("alice")
    looks = 0
    looked_again = asyncio.Event()

    def targets() -> list[Target]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("the database is away")
        looked_again.set()
        return []

    world.targets = targets  # type: ignore[method-assign] - one call that fails
    reaper = Reaper(world, world, world.end, lambda: world.now, interval=0.001)
    task = asyncio.create_task(reaper.run())
    await asyncio.wait_for(looked_again.wait(), 10)
    task.cancel()
    await reaper.close()
