"""What every backend promises, told as tests that each backend's own tests inherit."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol
from uuid import uuid4

import pytest

from arcetri_spawner.backends.base import (
    Backend,
    Exited,
    Launch,
    Queue,
    Running,
    Session,
    Starting,
    TicketState,
    Unknown,
)
from arcetri_spawner.errors import BackendError
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store import Store

GRACE = timedelta(seconds=5)
AT_ONCE = timedelta(seconds=0)


class Site(Protocol):
    """A backend with what it works on."""

    @property
    def backend(self) -> Backend: ...

    @property
    def queue(self) -> Queue: ...

    @property
    def store(self) -> Store: ...

    async def grant(self, name: str = ..., flavor: str = ...) -> Grant:
        """A grant whose request is open."""
        ...

    def launch(self, **env: str) -> Launch:
        """How a fake server is started; what it does is told by FAKE_* variables."""
        ...

    def again(self) -> AbstractAsyncContextManager[Site]:
        """The next hub over the same, which has recovered; this one is closed first."""
        ...

    async def remains(self) -> list[str]:
        """What there still is of any session."""
        ...


class BackendContract:
    """Inherited with a fixture ``site``."""

    async def _start(self, site: Site, grant: Grant, **env: str) -> Session:
        ticket = await site.queue.submit(grant)
        assert ticket.state is TicketState.ADMITTED
        await site.store.mark(grant.request_id, "starting")
        session = await site.backend.start(grant, ticket, site.launch(**env))
        await site.store.mark(grant.request_id, "running")
        return session

    async def test_a_session_starts_runs_and_stops_when_asked(self, site: Site) -> None:
        grant = await site.grant(flavor="cpu")

        session = await self._start(site, grant)

        assert (session.id, session.username) == (grant.request_id, "alice")
        assert await site.backend.poll(session) == Running()
        steps = [event async for event in site.backend.progress(grant.request_id)]
        percents = [event.percent for event in steps]
        assert percents == sorted(percents)
        assert percents[-1] == 100
        ended = asyncio.create_task(site.backend.wait(session))
        await site.backend.stop(session, GRACE, reason="idle")
        assert await asyncio.wait_for(ended, 10) == Exited(0, "idle")
        assert await site.backend.poll(session) == Exited(0, "idle")
        # A second stop finds nothing to do.
        await site.backend.stop(session, GRACE, reason="admin")
        assert await site.backend.wait(session) == Exited(0, "idle")
        assert await site.remains() == []

    async def test_a_server_that_does_not_heed_is_killed_after_its_grace(self, site: Site) -> None:
        session = await self._start(site, await site.grant(flavor="cpu"), FAKE_STUBBORN="1")

        await site.backend.stop(session, timedelta(seconds=1))

        exited = await site.backend.wait(session)
        assert exited.code < 0
        assert exited.reason == "stopped"
        assert await site.remains() == []

    async def test_a_start_that_fails_leaves_nothing(self, site: Site) -> None:
        grant = await site.grant(flavor="cpu")

        with pytest.raises(BackendError) as caught:
            await self._start(site, grant, FAKE_EXIT="3")

        assert "exit status 3" in caught.value.message
        assert await site.remains() == []
        steps = [event async for event in site.backend.progress(grant.request_id)]
        assert steps[-1].message == str(caught.value)

    async def test_a_start_that_is_cancelled_leaves_nothing(self, site: Site) -> None:
        grant = await site.grant(flavor="cpu")
        start = asyncio.create_task(self._start(site, grant, FAKE_SILENT="1", FAKE_STUBBORN="1"))
        async with asyncio.timeout(30):
            while not await site.remains():
                await asyncio.sleep(0.1)

        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

        assert await site.remains() == []

    async def test_the_next_hub_finds_what_runs_and_what_has_ended(self, site: Site) -> None:
        runs = await self._start(site, await site.grant(flavor="cpu"))
        over = await self._start(site, await site.grant("bob", flavor="cpu"))
        await site.backend.stop(over, AT_ONCE)

        async with site.again() as after:
            found = await after.backend.restore(runs.id)
            assert isinstance(found, Session)
            assert (found.id, found.url, found.username) == (runs.id, runs.url, "alice")
            assert await after.backend.poll(found) == Running()
            assert isinstance(await after.backend.restore(over.id), Exited)
            assert isinstance(await after.backend.restore(uuid4()), Exited)
            assert isinstance(await after.backend.restore(uuid4(), answered=False), Exited)
            await after.backend.stop(found, GRACE)
            assert (await after.backend.wait(found)).reason == "stopped"
            assert await after.remains() == []

    async def test_the_next_hub_goes_on_with_what_it_finds_starting(self, site: Site) -> None:
        session = await self._start(site, await site.grant(flavor="cpu"))

        async with site.again() as after:
            found = await after.backend.restore(session.id, answered=False)
            assert isinstance(found, Session | Starting)
            resumed = await after.backend.resume(session.id)
            assert (resumed.id, resumed.url) == (session.id, session.url)
            assert await after.backend.restore(session.id) == resumed
            await after.backend.stop(resumed, GRACE)
            assert await after.remains() == []

    async def test_a_start_that_nobody_has_cannot_be_gone_on_with(self, site: Site) -> None:
        with pytest.raises(BackendError):
            await site.backend.resume(uuid4())
        assert await site.remains() == []

    async def test_a_session_that_it_has_never_seen_is_no_news(self, site: Site) -> None:
        session = await self._start(site, await site.grant(flavor="cpu"))

        async with site.again() as after:
            # Local sessions are taken up by ``recover``, pods when they are asked for.
            assert isinstance(await after.backend.poll(session), Running | Unknown)
            found = await after.backend.restore(session.id)
            assert isinstance(found, Session)
            await after.backend.stop(found, AT_ONCE)
