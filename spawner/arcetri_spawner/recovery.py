"""What a hub that was restarted makes of the requests that were live: each is found again or ended.

A session that runs is taken up; a start that was under way goes on, and ends as any start does:
the session runs, or the request has ended with its reason and message. What was promised an end
before is ended: the session is stopped again, the start is undone. Nothing is concluded while
the backend cannot be asked: it is asked again, and who wants such a session ended is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from arcetri_spawner.backends.base import (
    Backend,
    Event,
    Exited,
    Queue,
    Session,
    Starting,
    Ticket,
    TicketState,
    Unknown,
)
from arcetri_spawner.chores import Chores
from arcetri_spawner.ending import Ends
from arcetri_spawner.errors import ArcetriError, BackendError, InDoubt
from arcetri_spawner.live import choice_of
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.running import PromisedEnd
from arcetri_spawner.waiting.unopened import Unopened

if TYPE_CHECKING:
    from arcetri_spawner.store import RequestRow, Store

log = structlog.get_logger(__name__)

DOUBT: Final = 5.0
"""Seconds between two questions about a session that could not be asked for."""


@dataclass(slots=True)
class _Case:
    """A request of which it is not known yet what becomes of it."""

    row: RequestRow
    why: str = ""
    """Why it could not be told when it was asked last."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its start goes on, or the case is over."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    start: asyncio.Task[Session] | None = None
    """Its start, while that goes on."""
    wish: tuple[str, str] | None = None
    """Reason and message with which somebody ends it."""
    error: ArcetriError | None = None
    """Why its start failed."""

    @property
    def server(self) -> tuple[str, str]:
        """Whose, and which server."""
        return self.row.grant.username, self.row.grant.server_name


class Recovery:
    """Finds again what lived before the hub was restarted.

    Args:
        store: The requests.
        queue: Holds their places.
        backend: Has made its own records agree already.
        keep: Takes a session that runs up again, and ends it where that was wanted before.
        unopened: Keeps what started by itself, and nobody has opened yet.
        ends: Records the end of a request.
        changed: Told when something is known that was not.
    """

    def __init__(
        self,
        store: Store,
        queue: Queue,
        backend: Backend,
        *,
        keep: Callable[[Grant, Ticket, Session, PromisedEnd], None],
        unopened: Unopened,
        ends: Ends,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._queue = queue
        self._backend = backend
        self._keep = keep
        self._unopened = unopened
        self._ends = ends
        self._changed = changed
        self._cases: dict[UUID, _Case] = {}
        self._by_server: dict[tuple[str, str], _Case] = {}
        self._chores = Chores()

    async def run(self, begun: Iterable[RequestRow]) -> None:
        """Look at requests that the backend may have something of: they start, or run.

        What is not clear at once is seen through in the background.

        Args:
            begun: Those that nobody watches yet.

        Raises:
            StoreError: The database is away; a second call goes on.
        """
        for row in begun:
            if not self.holds(row.id):
                await self._look_at(row)

    async def _look_at(self, row: RequestRow) -> None:
        found = await self._ask(row)
        if isinstance(found, Session | Exited):
            await self._settle(row, found)
            return
        # Noted at once: whoever waits for the recovery must not take it for gone.
        case = _Case(row)
        self._cases[row.id] = self._by_server[case.server] = case
        self._chores.start(self._see_through(case, found))

    async def _ask(self, row: RequestRow) -> Session | Starting | Exited | Unknown:
        try:
            return await self._backend.restore(
                row.id, answered=row.state == "running", reason=row.reason
            )
        except BackendError as error:
            return Unknown(str(error))

    async def _settle(self, row: RequestRow, found: Session | Exited) -> None:
        """Take a session up again, or record its end."""
        if isinstance(found, Exited):
            await self._end(row, found)
            return
        grant, ticket = row.grant, Ticket(row.id, TicketState.ADMITTED)
        hold: datetime | None = None
        if row.state != "running":
            # Nobody could open it while its start was nobody's.
            hold = self._unopened.hold() if row.by_itself else None
            await self._store.started(row.id, grant.account_id, choice_of(grant), hold)
            await self._queue.ready(ticket)
        self._keep(grant, ticket, found, PromisedEnd(row.reason, row.message, row.returns is True))
        if hold is not None:
            self._unopened.keep(grant, hold)

    async def _end(self, row: RequestRow, exited: Exited) -> None:
        if row.returns and row.reason:
            # It was about to be ended for others, and to go back in line.
            ticket = Ticket(row.id, TicketState.ADMITTED)
            await self._ends.record(ticket, row.reason, row.message, back=row.grant)
            return
        cut = BackendError("The platform was restarted while it started.", code=exited.reason)
        if row.state != "running" and not row.reason and self._ends.returns(row.grant, cut):
            why = cut.code, cut.message, exited.details
            await self._ends.failed(Ticket(row.id, TicketState.ADMITTED), row.grant, why, cut)
            return
        await self._queue.finish(Ticket(row.id, TicketState.ADMITTED))
        # What was announced before the end holds.
        details = "" if row.reason else exited.details
        reason = row.reason or exited.reason
        message = "" if row.reason else exited.message
        await self._store.mark(row.id, "ended", reason=reason, message=message, details=details)

    async def _see_through(self, case: _Case, found: Session | Starting | Exited | Unknown) -> None:
        """Ask again until it is known what becomes of a request."""
        while True:
            try:
                if await self._is_clear(case, found):
                    break
            except ArcetriError as error:
                case.why = str(error)
                log.warning("session not recovered yet", session=str(case.row.id), why=error.code)
            except Exception:
                # A fault of ours must not leave a request that nobody can end.
                log.exception("session not recovered yet", session=str(case.row.id))
            await asyncio.sleep(DOUBT)
            found = await self._ask(case.row)
        del self._cases[case.row.id], self._by_server[case.server]
        case.over.set()
        case.begun.set()
        self._changed()

    async def _is_clear(self, case: _Case, found: Session | Starting | Exited | Unknown) -> bool:
        if isinstance(found, Unknown):
            if found.why != case.why:
                session = str(case.row.id)
                log.warning("session could not be asked for", session=session, why=found.why)
            case.why = found.why
            return False
        if isinstance(found, Starting):
            await self._go_on(case)
        else:
            await self._settle(case.row, found)
        return True

    async def _go_on(self, case: _Case) -> None:
        """See a start through: afterwards the session runs, or its request has ended."""
        row, ticket = case.row, Ticket(case.row.id, TicketState.ADMITTED)
        log.info("a start goes on", session=str(row.id))
        start = asyncio.create_task(self._backend.resume(row.id), name=f"start of {row.id}")
        # One that is cancelled before its first step undoes nothing.
        await asyncio.sleep(0)
        case.start = start
        case.begun.set()
        self._changed()
        if row.reason:
            # Somebody wanted it undone, and the hub before this one came no further.
            case.wish = case.wish or (row.reason, row.message)
            start.cancel()
        try:
            session = await start
        except asyncio.CancelledError:
            if case.wish is None or self._backend.closing:
                raise  # The hub ends. The next one goes on.
            await self._ends.record(ticket, *case.wish)
        except BackendError as error:
            case.error = error
            log.info("a start that went on has failed", session=str(row.id), why=error.code)
            why = error.code, str(error), error.details
            await self._ends.failed(ticket, row.grant, why, error)
        else:
            case.start = None
            await self._settle(row, session)
        finally:
            case.start = None

    def holds(self, session_id: UUID) -> bool:
        """Whether it is not known yet what becomes of a request."""
        return session_id in self._cases

    def promise(self, session_id: UUID, reason: str, message: str) -> None:
        """Have a request ended as soon as it is known what there is of it."""
        if case := self._cases.get(session_id):
            case.row = replace(case.row, reason=reason, message=message)

    def ends(self, session_id: UUID) -> bool:
        """Whether a request of which that is not known was promised an end."""
        case = self._cases.get(session_id)
        return case is not None and bool(case.row.reason)

    def holding(self) -> Mapping[UUID, Grant]:
        """Those whose start goes on, on what they were given."""
        return {
            key: case.row.grant
            for key, case in self._cases.items()
            if case.start is not None and not case.start.done()
        }

    def of(self, username: str, server_name: str) -> UUID | None:
        """The request of a server of which it is not known yet what becomes."""
        case = self._by_server.get((username, server_name))
        return case.row.id if case else None

    def doubt(self, username: str, server_name: str) -> Unknown | None:
        """Why it is not known whether a server's session runs; None where it is."""
        case = self._by_server.get((username, server_name))
        if case is None:
            return None
        return Unknown(case.why or "its start goes on")

    async def outcome(self, username: str, server_name: str) -> None:
        """Return when it is known what became of a server's session.

        Raises:
            BackendError: Its start went on, and failed.
        """
        case = self._by_server.get((username, server_name))
        if case is not None:
            await case.over.wait()
            if case.error is not None:
                raise case.error

    async def progress(self, username: str, server_name: str) -> AsyncIterator[Event]:
        """The steps of a start that goes on; first, what keeps it from being asked for."""
        case = self._by_server.get((username, server_name))
        if case is None:
            return
        if not case.begun.is_set():
            yield Event(
                datetime.now(UTC),
                5,
                "The platform was restarted, and cannot tell yet how far your start is. It asks"
                " again every few seconds.",
                case.why,
            )
            await case.begun.wait()
        async for event in self._backend.progress(case.row.id):
            yield event

    async def end(self, session_id: UUID, reason: str, message: str) -> None:
        """Undo a start that goes on; return when it is known what came of it.

        Where it had just succeeded, the session runs: it is ended as any other.

        Raises:
            InDoubt: It is not known whether there is anything to undo.
            StoreError: The wish could not be written; the start goes on.
        """
        case = self._cases.get(session_id)
        if case is None:
            return
        if case.start is None:
            raise InDoubt(
                "The platform cannot tell just now whether this session runs, so it was not ended.",
                remedy="Try again in a minute: what does not answer now is asked again and again.",
            )
        # Written before the end, so that the next hub sees it through, and tells the user.
        await self._store.announce(session_id, reason, message)
        case.wish = reason, message
        if case.start is not None:
            case.start.cancel()
        await case.over.wait()

    def tasks(self) -> list[asyncio.Task[None]]:
        """What goes on in the background, for who ends it."""
        return self._chores.running()
