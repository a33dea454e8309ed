"""The reaper at work: looks at every running session now and then, warns, and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from arcetri_hub.reaper.ask import Unasked
from arcetri_hub.reaper.decide import (
    Activity,
    End,
    EndReason,
    Limits,
    Memory,
    Moment,
    Warn,
    decide,
    meet,
    next_change,
    note_answer,
    note_hub,
    worth_asking,
)
from arcetri_hub.reaper.hub import Target
from arcetri_hub.reaper.words import UNREACHABLE, Notice, farewell, notice

log = structlog.get_logger(__name__)

BACKOFF_START: Final = 30.0
BACKOFF_MOST: Final = 600.0
ENDS_AT_ONCE: Final = 8
SHORTEST_PAUSE: Final = 0.5
UNATTENDED: Final = 20.0
"""Seconds for which JupyterHub must have no server for a session that is ended for that."""


class View(Protocol):
    """Where the running sessions are."""

    def targets(self) -> Sequence[Target]:
        """Every started session."""
        ...

    def token(self, target: Target) -> str:
        """A token that opens this one session."""
        ...

    def refused(self, target: Target) -> None:
        """Told that the token did not work."""
        ...


class Asker(Protocol):
    """What asks a session for its activity."""

    async def ask(self, url: str, token: str) -> Activity:
        """Return what it does, or raise ``Unasked``."""
        ...


class Ender(Protocol):
    """What ends a session, and records why; ``SessionService.end`` does."""

    def __call__(self, session_id: UUID, reason: str, message: str = "") -> Awaitable[None]:
        """End it, with a message for its user; nothing happens when it has ended already."""
        ...


@dataclass(slots=True)
class _Known:
    """What is kept of one session between looks."""

    limits: Limits
    memory: Memory
    notices: tuple[Notice, ...] = ()
    foreseen: datetime | None = None
    """When what it holds will be wanted back, where that is known."""
    failures: int = 0
    """Asks in a row that were not answered."""
    ask_after: float = 0.0
    ending: asyncio.Task[None] | None = None
    end_after: float = 0.0
    unattended: float | None = None
    """Since when JupyterHub is known to have no server for it."""


class Reaper:
    """Ends sessions that are idle, over-long or wanted back, after warning; see ``decide``.

    And those that JupyterHub has forgotten, without: nobody can come to them any more.
    """

    def __init__(
        self,
        view: View,
        asker: Asker,
        end: Ender,
        clock: Callable[[], Moment],
        *,
        zone: Callable[[], ZoneInfo] = lambda: ZoneInfo("UTC"),
        interval: float = 30.0,
    ) -> None:
        """Look at the sessions of ``view`` once ``run`` runs.

        Args:
            view: Where the sessions are.
            asker: Asks one.
            end: Ends one.
            clock: Tells the time.
            zone: The site's time zone, for what users read.
            interval: Seconds between two looks; fewer when a warning or an end is due sooner.
        """
        self._view = view
        self._asker = asker
        self._end = end
        self._clock = clock
        self._zone = zone
        self._interval = interval
        self._known: dict[UUID, _Known] = {}
        self._usernames: dict[UUID, str] = {}
        self._ends = asyncio.Semaphore(ENDS_AT_ONCE)
        self._woken = asyncio.Event()

    def notices(self, username: str) -> list[Notice]:
        """The announced ends of a user's sessions, the earliest first."""
        found = [
            one
            for session_id, known in self._known.items()
            if self._usernames.get(session_id) == username
            for one in known.notices
        ]
        return sorted(found, key=lambda one: one.at or datetime.max.replace(tzinfo=UTC))

    def idle_for(self, session_id: UUID) -> timedelta | None:
        """How long nothing is known to have happened in a session; None for one not seen yet.

        An upper bound: a session is asked itself only when it may be idle long enough to be warned.
        """
        known = self._known.get(session_id)
        if known is None:
            return None
        return timedelta(seconds=max(self._clock().steady - known.memory.active, 0.0))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.look()
            except Exception:
                log.exception("could not look for idle sessions")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._pause())

    def wake(self) -> None:
        """Have the next look taken now: what some session holds is wanted back, or is no more."""
        self._woken.set()

    def _pause(self) -> float:
        now = self._clock()
        coming = [
            seconds
            for known in self._known.values()
            if (seconds := next_change(known.memory, now, known.limits)) is not None
        ]
        foreseen = (known.foreseen for known in self._known.values() if known.foreseen)
        coming += [(at - now.wall).total_seconds() for at in foreseen if at > now.wall]
        return max(min([self._interval, *coming]), min(SHORTEST_PAUSE, self._interval))

    async def close(self) -> None:
        """Give up ends that are under way; the service finishes or undoes its own part."""
        ends = [known.ending for known in self._known.values() if known.ending is not None]
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)

    async def look(self) -> None:
        """Look at every session once; the ends it decides on run on their own."""
        targets = self._view.targets()
        self._forget_all_but(targets)
        now = self._clock()
        for target in targets:
            known = self._known.get(target.session_id)
            if known is None:
                known = self._known[target.session_id] = _Known(
                    target.limits, meet(now, target.started)
                )
                self._usernames[target.session_id] = target.username
            known.memory = note_hub(known.memory, now, target.hub_stamp)
            known.foreseen = target.foreseen
        # The asker bounds how many are asked at the same time.
        await asyncio.gather(*(self._look_at(target) for target in targets))

    async def _look_at(self, target: Target) -> None:
        known = self._known[target.session_id]
        if known.ending is not None:
            return
        asked = False
        now = self._clock()
        if self._is_left_alone(target, known, now):
            self._begin_end(target, known, "lost", UNREACHABLE)
            return
        if worth_asking(known.memory, now, target.limits) and now.steady >= known.ask_after:
            asked = await self._ask(target, known)
            now = self._clock()
        wanted = target.wanted
        verdict, known.memory = decide(
            known.memory,
            now,
            target.limits,
            asked=asked,
            wanted=EndReason(wanted.back.value) if wanted else None,
        )
        known.notices = ()
        if isinstance(verdict, Warn):
            zone = self._zone()
            known.notices = tuple(
                notice(target.server_name, end, target.limits, zone, wanted) for end in verdict.ends
            )
        elif isinstance(verdict, End) and now.steady >= known.end_after:
            message = farewell(verdict.reason, target.limits, target.wanted)
            self._begin_end(target, known, verdict.reason.value, message)

    @staticmethod
    def _is_left_alone(target: Target, known: _Known, now: Moment) -> bool:
        """Whether a session has gone on for long without a server of JupyterHub's."""
        if target.attended:
            known.unattended = None
            return False
        if known.unattended is None:
            known.unattended = now.steady
        return now.steady >= max(known.unattended + UNATTENDED, known.end_after)

    def _begin_end(self, target: Target, known: _Known, reason: str, message: str) -> None:
        known.ending = asyncio.create_task(
            self._finish(target, known, reason, message),
            name=f"end of session {target.session_id}",
        )

    async def _ask(self, target: Target, known: _Known) -> bool:
        try:
            activity = await self._asker.ask(target.url, self._view.token(target))
        except Unasked as error:
            self._view.refused(target)
            known.failures += 1
            pause = min(BACKOFF_START * 2 ** (known.failures - 1), BACKOFF_MOST)
            known.ask_after = self._clock().steady + pause
            log.info("session cannot be asked", session=str(target.session_id), why=str(error))
            return False
        known.failures = 0
        known.memory = note_answer(known.memory, self._clock(), activity)
        return True

    async def _finish(self, target: Target, known: _Known, reason: str, message: str) -> None:
        log.info("ending session", session=str(target.session_id), reason=reason)
        try:
            async with self._ends:
                await self._end(target.session_id, reason, message)
        except Exception:
            log.exception("session could not be ended", session=str(target.session_id))
            known.end_after = self._clock().steady + BACKOFF_START
        finally:
            known.ending = None

    def _forget_all_but(self, targets: Sequence[Target]) -> None:
        here = {target.session_id for target in targets}
        for session_id in [key for key in self._known if key not in here]:
            known = self._known.pop(session_id)
            self._usernames.pop(session_id, None)
            if known.ending is not None:
                # Its end is still being recorded; the task needs no entry to finish.
                log.debug("session gone while ending", session=str(session_id))
