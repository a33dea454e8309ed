"""The JupyterHub spawner: a thin adapter over ``SessionService``.

It holds no state of its own: after a restart of the hub it finds its session through the service,
by user and server name, also when the hub died before JupyterHub had written the spawner's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from jupyterhub import orm
from jupyterhub.spawner import Spawner, SpawnException
from jupyterhub.utils import url_escape_path, url_path_join
from traitlets import Callable as CallableTrait

from arcetri_spawner import killpoints
from arcetri_spawner.backends.answering import answers
from arcetri_spawner.backends.base import Exited, Launch, Session, Unknown
from arcetri_spawner.errors import ArcetriError, StartFailed
from arcetri_spawner.service import SessionService

_PAUSE: Final = 0.1
"""Seconds between two looks whether a stop is over."""
_OURS: Final = 0.98
"""Share of JupyterHub's time for a start after which we give it up ourselves."""

_AGAIN: Final = "Start again. If it ends the same way, choose another environment."
_LATE: Final = StartFailed(
    "The session did not start in time.", code="start_timeout", remedy=_AGAIN
)
_GONE: Final = StartFailed("Your session ended just after it had started.", remedy=_AGAIN)
_SILENT: Final = StartFailed("Your session started, and then answered no more.", remedy=_AGAIN)

_service: Callable[[], SessionService] | None = None


def use_service(getter: Callable[[], SessionService]) -> None:
    """Name the service that every spawner of this process adapts; the hub's factory calls it."""
    global _service
    _service = getter


class PolicyRefusal(SpawnException):
    """A start that was refused or failed for a reason a person can act on."""

    def __init__(self, error: ArcetriError) -> None:
        text = html.escape(error.message)
        if error.remedy:
            text = f"{text}<br>{html.escape(error.remedy)}"
        super().__init__(str(error), reason=error.code, message_html=text, status_code=error.status)
        self.error = error
        # What JupyterHub tells people instead of the exception's own text.
        self.jupyterhub_message = str(error)


def _accept(_spawner: Spawner, _options: object) -> None:
    """The options are judged in ``start``, where nothing can pass by."""


class ArcetriSpawner(Spawner):
    """Starts what policy grants, through the platform's service."""

    apply_user_options = CallableTrait(default_value=_accept)

    _session_id: UUID | None = None
    _watcher: asyncio.Task[None] | None = None
    _spawn_future: asyncio.Future[Any] | None
    """JupyterHub's: the start that is under way."""
    _resumed: asyncio.Task[None] | None = None
    """Sees a start through that the hub's restart came between."""
    _checked: asyncio.Event | None = None
    """Set when JupyterHub has seen for itself that the session of such a start answers."""

    @property
    def service(self) -> SessionService:
        """The service that decides and starts."""
        if _service is None:
            raise RuntimeError("arcetri_spawner.jupyterhub.use_service was not called")
        return _service()

    def options_from_form(self, form_data: dict[str, list[str]]) -> dict[str, Any]:
        """Unwrap the single values of the form; everything else goes on to be refused."""
        options: dict[str, Any] = {}
        for key, values in form_data.items():
            if key == "_xsrf" or values in ([], [""]):
                continue
            options[key] = values[0] if len(values) == 1 else values
        return options

    async def start(self) -> str:
        """Start the session; the one gate that nothing passes by.

        JupyterHub counts every error but a ``SpawnException``, its own timeouts among them, as a
        failure of the hub, and ends the hub after some of them (``consecutive_failure_limit``).
        So what a user's start comes to must be one: refused, failed, too late, or silent.
        """
        killpoints.reach("spawner.called")
        limit = asyncio.timeout(self.start_timeout * _OURS)
        try:
            async with limit:
                session = await self.service.start(
                    self.user.name, self.name, self.user_options, self._launch()
                )
        except ArcetriError as error:
            raise PolicyRefusal(error) from error
        except (TimeoutError, asyncio.CancelledError):
            # To undo it may take until JupyterHub's own time is over, which cancels this once more.
            if not limit.expired():
                raise
            raise PolicyRefusal(_LATE) from None
        self._follow(session)
        self._answers_or_ends(session.id)
        killpoints.reach("spawner.started")
        return session.url

    def _answers_or_ends(self, session_id: UUID) -> None:
        """Have JupyterHub's own wait for an answer, which comes next, end with the session.

        It also ends when its time is over: JupyterHub looks at the clock only between two
        questions, and one that is not answered takes five minutes.
        """
        server, wait = self.server, self.server.wait_up

        async def wait_up(**options: Any) -> Any:
            answer = asyncio.ensure_future(wait(**options))
            end = asyncio.ensure_future(self.service.ended(session_id))
            try:
                async with asyncio.timeout(self.http_timeout):
                    await asyncio.wait({answer, end}, return_when=asyncio.FIRST_COMPLETED)
                    if answer.done():
                        return await answer
            except TimeoutError:
                # JupyterHub stops it next, and would not say why.
                with contextlib.suppress(ArcetriError):
                    await self.service.end(session_id, _SILENT.code, str(_SILENT))
                raise PolicyRefusal(_SILENT) from None
            finally:
                answer.cancel()
                end.cancel()
            raise PolicyRefusal(_GONE)

        server.wait_up = wait_up

    def _launch(self) -> Launch:
        """What JupyterHub wants the server to be started with."""
        return Launch(
            args=tuple(self.get_args()),
            env=self.get_env(),
            base_url=self.server.base_url,
        )

    def _follow(self, session: Session) -> None:
        if self._session_id == session.id:
            return
        self._session_id = session.id
        self._watcher = asyncio.create_task(self._notify(session.id))

    async def _notify(self, session_id: UUID) -> None:
        """Tell JupyterHub of the end at once, rather than at its next poll."""
        await self.service.ended(session_id)
        # JupyterHub adds its callback only after the proxy's route: an earlier end is told again.
        while self._session_id == session_id and not self._stop_pending:
            await self.poll_and_notify()
            await asyncio.sleep(1)

    async def poll(self) -> int | None:
        """None while it runs, or cannot be asked; its exit status when it is gone."""
        if self._session_id is None:
            found: Session | Unknown | None
            if not self._check_pending:
                found = await self.service.find(self.user.name, self.name)
            elif self._is_told_of:
                found = await self._checked_for()
            else:
                found = await self._go_on()
            if isinstance(found, Unknown):
                return None
            if found is None:
                return 0
            self._follow(found)
        assert self._session_id is not None  # noqa: S101 - narrowed just above, for mypy
        state = await self.service.poll(self._session_id)
        return state.code if isinstance(state, Exited) else None

    async def _checked_for(self) -> Session | Unknown | None:
        """What there is of a session after a restart, once it answers or has ended.

        JupyterHub waits for an answer of what it is told runs, and for nothing else: of one that
        ends meanwhile it would wait in vain, and refuse every start until then.
        """
        await self.service.recovered()
        if self.service.stops(self.user.name, self.name):
            self._check_pending, self._stop_pending = False, True
            while self.service.stops(self.user.name, self.name):  # noqa: ASYNC110 - rare, and short
                await asyncio.sleep(_PAUSE)
            # JupyterHub clears up after one that has ended, in one go with this.
            found = await self.service.find(self.user.name, self.name)
            self._check_pending, self._stop_pending = found is not None, found is None
        deadline = time.monotonic() + self.http_timeout
        while True:
            found = await self.service.find(self.user.name, self.name)
            if found is None or await self._is_answered(found) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_PAUSE)

    async def _is_answered(self, found: Session | Unknown) -> bool:
        url = urlsplit(found.url if isinstance(found, Session) else self.server.url)
        return await answers(url.hostname or "", url.port or 80, self.server.base_url)

    @property
    def _is_told_of(self) -> bool:
        """Whether JupyterHub has an address of ours: it has one from when the start had ended."""
        return self.server is not None and bool(self.server.ip)

    async def _go_on(self) -> Session | None:
        """Wait for the end of a start that the hub's restart came between.

        JupyterHub asks at its own start what runs, and would wait for an answer at an address that
        nobody knows yet. To it this is a start like any other meanwhile: its page shows the steps,
        and whoever may can cancel it.
        """
        self._check_pending = False
        self._spawn_pending = True
        self._checked = asyncio.Event()
        self._resumed = asyncio.create_task(self._see_through(self._checked))
        self._spawn_future = self._resumed
        self._resumed.add_done_callback(self._seen_through)
        found = await self.service.find_surely(self.user.name, self.name)
        while self._stop_pending:  # noqa: ASYNC110 - JupyterHub tells nobody when it is over
            # Who stops it clears up, too.
            await asyncio.sleep(_PAUSE)
        return found

    async def _see_through(self, checked: asyncio.Event) -> None:
        """Return when the session is served, as JupyterHub's own way of a start does."""
        try:
            await self.service.outcome(self.user.name, self.name)
        except ArcetriError as error:
            raise PolicyRefusal(error) from error
        await checked.wait()
        try:
            # Its own look after routes comes when it has asked after every session.
            await self.user.settings["proxy"].add_user(self.user, self.name)
        except Exception:
            self.log.exception("The route of %s comes with the next look", self._log_name)

    def _seen_through(self, start: asyncio.Task[None]) -> None:
        """Keep the error of a failed start for the pages; a start that was cancelled is over."""
        self._spawn_pending = False
        if start.cancelled() or start.exception() is None:
            self._forget_start(start)

    def _forget_start(self, start: asyncio.Task[None]) -> None:
        if self._spawn_future is start:
            self._spawn_future = None

    def start_polling(self) -> None:
        """Ask again and again from now on: JupyterHub has seen that it answers."""
        super().start_polling()
        if self._checked is not None:
            self._checked.set()

    async def get_url(self) -> str:
        """Where the session answers, known also when the hub died while it started."""
        found = await self.service.find(self.user.name, self.name)
        if isinstance(found, Unknown) and not self._is_told_of:
            found = await self.service.find_surely(self.user.name, self.name)
        if not isinstance(found, Session):
            return str(self.server.url)
        return f"{found.url}{self.server.base_url}"

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002 - the catalog's time holds
        """End the session, or the start that a restart came between, and free what it holds."""
        await self.service.end_server(self.user.name, self.name, "stopped")
        killpoints.reach("spawner.stopped")

    def run_post_stop_hook(self) -> Any:
        """Let no token outlive its session, also where the hub died and forgot which it was."""
        note = f"Server at {url_path_join(self.user.base_url, url_escape_path(self.name), '/')}"
        db = self.user.db
        for token in db.query(orm.APIToken).filter_by(user_id=self.user.id, note=note):
            db.delete(token)
        db.commit()
        return super().run_post_stop_hook()

    def get_state(self) -> dict[str, Any]:
        """What JupyterHub keeps: the session's id, for the record only."""
        state: dict[str, Any] = super().get_state()
        if self._session_id is not None:
            state["session"] = str(self._session_id)
        return state

    def clear_state(self) -> None:
        """Forget the session that has ended."""
        super().clear_state()
        self._session_id = None
        if self._resumed is not None and not self._resumed.done():
            self._resumed.remove_done_callback(self._seen_through)
            self._resumed.cancel()
            self._forget_start(self._resumed)
        self._resumed = self._checked = None
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            self._watcher.cancel()
        self._watcher = None

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of the start, in plain words."""
        async for event in self.service.progress(self.user.name, self.name):
            item: dict[str, Any] = {"progress": event.percent, "message": event.message}
            if event.details:
                item["html_message"] = (
                    f"{html.escape(event.message)}<details><summary>Details</summary>"
                    f"<pre>{html.escape(event.details)}</pre></details>"
                )
            yield item
