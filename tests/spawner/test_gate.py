"""How often it is decided, and what is read for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from arcetri_spawner.errors import Denied
from arcetri_spawner.gate import Gate
from arcetri_spawner.policy.model import Identity, LiveSession, QueueBound, Standing
from arcetri_spawner.policy.queueing import closed
from tests.spawner.local.test_service import People, use_fake_servers
from tests.spawner.local.world import World

T4 = {"flavor": "t4"}


class Counting:
    """The store, and how often it was asked what lives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reads = 0

    async def live_sessions(self) -> list[LiveSession]:
        self.reads += 1
        return await self._world.store.live_sessions()


class Provider(People):
    """What it says when it is asked anew, instead of what is known."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.changes: dict[str, Any] = {}

    async def known(self, username: str) -> Identity:
        return await super().fresh(username)

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:
        known = await super().fresh(username, reuse=reuse)
        return replace(known, checked_at=datetime.now(UTC), **self.changes)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    use_fake_servers(made)
    await made.backend.recover()
    yield made
    await made.close()


def a_gate(world: World, people: Provider) -> tuple[Gate, Counting]:
    store = Counting(world)
    clock = lambda: datetime.now(UTC)  # noqa: E731
    return Gate(world.catalogs, store, world.backend, world.queue, people, clock), store  # type: ignore[arg-type]  # reads only


async def test_what_iam_says_again_is_not_decided_again(world: World) -> None:
    gate, store = a_gate(world, Provider(world))
    grant, unsure = await gate.decide_soon("alice", "", T4)
    assert unsure is None
    assert (grant.username, grant.flavor, store.reads) == ("alice", "t4", 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"groups": frozenset()}, "not_allowed"),
        ({"standing": Standing.NOT_ADMITTED}, "not_admitted"),
    ],
)
async def test_nobody_is_granted_what_they_had_before(
    world: World, changes: dict[str, Any], code: str
) -> None:
    people = Provider(world)
    people.changes = changes
    gate, _ = a_gate(world, people)
    with pytest.raises(Denied) as caught:
        await gate.decide_soon("alice", "", T4)
    assert caught.value.code == code


async def test_nobody_is_refused_for_what_they_were(world: World) -> None:
    people = Provider(world)
    gate, _ = a_gate(world, people)
    first = await people.known("alice")

    async def nobody(_: str) -> Identity:
        return replace(first, groups=frozenset())

    people.known = nobody  # type: ignore[method-assign]  # what was known before
    assert (await gate.decide_soon("alice", "", T4)).grant.flavor == "t4"


async def test_of_what_the_queue_does_not_admit_nothing_is_offered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, _ = a_gate(world, Provider(world))
    person = await Provider(world).known("alice")
    (before,) = [one for one in (await gate.offers(person, "")).offers if one.flavor == "t4"]
    assert before.startable > 0
    bounds = {(g.group, "t4"): QueueBound(0, closed(g.group)) for g in before.groups}
    monkeypatch.setattr(world.queue, "bounds", lambda: bounds)
    (after,) = [one for one in (await gate.offers(person, "")).offers if one.flavor == "t4"]
    assert (after.startable, after.ahead) == (0, 0)
    assert after.reasons[0].code == "queue_closed"
