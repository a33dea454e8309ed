from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from arcetri_hub.pages.admin.ending import Outcome, end_session
from arcetri_spawner.errors import BackendError

ID = uuid4()


class Service:
    """Ends at once, late, or not at all."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.may_finish = asyncio.Event()
        self.ended: list[tuple[UUID, str, str]] = []

    def holds(self, session_id: UUID) -> bool:
        return session_id == ID

    async def end(self, session_id: UUID, reason: str, message: str = "") -> None:
        await self.may_finish.wait()
        if self.error:
            raise self.error
        self.ended.append((session_id, reason, message))


async def test_it_ends_with_its_message_and_the_admins_reason() -> None:
    service = Service()
    service.may_finish.set()
    assert await end_session(service, ID, "why", by="carla") is Outcome.ENDED
    assert service.ended == [(ID, "admin", "why")]


async def test_one_that_is_gone_is_left_alone() -> None:
    service = Service()
    assert await end_session(service, uuid4(), "why", by="carla") is Outcome.GONE
    assert service.ended == []


async def test_a_slow_end_goes_on_after_the_answer() -> None:
    service = Service()
    assert await end_session(service, ID, "why", by="carla", patience=0.01) is Outcome.ENDING
    service.may_finish.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert service.ended


async def test_an_end_that_fails_in_time_says_so() -> None:
    service = Service(BackendError("It would not go."))
    service.may_finish.set()
    with pytest.raises(BackendError):
        await end_session(service, ID, "why", by="carla")
