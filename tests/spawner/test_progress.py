"""The steps of starts, as a backend keeps them for whoever watches."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from arcetri_spawner.backends import progress as module
from arcetri_spawner.backends.progress import ProgressRegistry


async def told(registry: ProgressRegistry, session: UUID) -> list[str]:
    return [event.message async for event in registry.watch(session)]


async def test_who_watches_goes_on_when_another_takes_the_start_up() -> None:
    registry, session = ProgressRegistry(), uuid4()
    registry.begin(session).tell(5, "one")
    watching = asyncio.create_task(told(registry, session))
    await asyncio.sleep(0)

    registry.begin(session).tell(10, "two")
    registry.over(session)

    assert await asyncio.wait_for(watching, 5) == ["one", "two"]


async def test_another_start_of_the_same_session_begins_anew() -> None:
    registry, session = ProgressRegistry(), uuid4()
    registry.begin(session).tell(5, "one")
    registry.over(session)

    registry.begin(session).tell(5, "again")
    registry.over(session)

    assert await told(registry, session) == ["again"]


async def test_the_steps_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 0.05)
    registry, session = ProgressRegistry(), uuid4()
    registry.begin(session).tell(5, "one")
    registry.over(session)
    assert await told(registry, session) == ["one"]

    await asyncio.sleep(0.2)

    assert await told(registry, session) == []
    assert await told(registry, uuid4()) == []


async def test_a_step_that_lasts_is_told_once() -> None:
    registry, session = ProgressRegistry(), uuid4()
    steps = registry.begin(session)
    for message in ("away", "away", "back", "away", "over"):
        steps.tell(5, message)
    steps.tell(100, "over", last=True)

    assert await told(registry, session) == ["away", "back", "away", "over", "over"]
    assert steps.done
