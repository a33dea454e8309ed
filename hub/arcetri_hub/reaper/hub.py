"""What the reaper needs of JupyterHub: the running servers, and a token to ask each with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join

from arcetri_hub.reaper.decide import Limits, Moment
from arcetri_spawner.backends.base import Session
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.waiting import Wanted

SERVICE: Final = "arcetri-reaper"
"""The JupyterHub service that owns the tokens; it has no process and no token of its own."""

SERVICES: Final[tuple[dict[str, Any], ...]] = ({"name": SERVICE},)
"""For ``c.JupyterHub.services``."""

ROLES: Final[tuple[dict[str, Any], ...]] = (
    {
        "name": SERVICE,
        "description": "Ask sessions whether they are idle",
        "scopes": ["access:servers"],
        "services": [SERVICE],
    },
)
"""For ``c.JupyterHub.load_roles``."""

_TOKEN_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class Target:
    """A running session as the reaper sees it."""

    session_id: UUID
    username: str
    server_name: str
    url: str
    """Where its single-user server answers, with a slash at the end."""
    started: datetime
    limits: Limits
    hub_stamp: datetime | None
    """JupyterHub's own last_activity: what its proxy and the server itself reported."""
    wanted: Wanted | None = None
    """Why what it holds is wanted back now; None where it is not."""
    foreseen: datetime | None = None
    """When it is known that it will be; None where it is not known."""
    attended: bool = True
    """Whether JupyterHub has a server for it, or it ends: without one nobody can come to it, and
    JupyterHub has taken away the token that it would show."""


Running = Callable[[], Mapping[UUID, tuple[Grant, Session]]]
WantedBack = Callable[[Grant], Wanted | None]
Foreseen = Callable[[Grant], datetime | None]


class JupyterHubView:
    """Reads the running application; to be used on its event loop only."""

    def __init__(
        self,
        app: Any,
        running: Running,
        ends: Callable[[UUID], bool],
        wanted: WantedBack,
        foreseen: Foreseen,
        clock: Callable[[], Moment],
    ) -> None:
        self._app = app
        self._running = running
        self._ends = ends
        self._wanted = wanted
        self._foreseen = foreseen
        self._clock = clock
        self._tokens: dict[UUID, tuple[str, float]] = {}

    def targets(self) -> list[Target]:
        """Every started session."""
        running = self._running()
        self._tokens = {key: value for key, value in self._tokens.items() if key in running}
        servers = self._servers() if running else {}
        return [
            Target(
                session_id=session_id,
                username=grant.username,
                server_name=grant.server_name,
                url=self._url(grant, session),
                started=session.started,
                limits=Limits(grant.idle, grant.lifetime, grant.grace),
                hub_stamp=servers.get((grant.username, grant.server_name)),
                wanted=self._wanted(grant),
                foreseen=self._foreseen(grant),
                attended=(grant.username, grant.server_name) in servers or self._ends(session_id),
            )
            for session_id, (grant, session) in running.items()
        ]

    def token(self, target: Target) -> str:
        """A token that opens this one session and nothing else.

        A session's user can read whatever the session is sent. A token for all sessions would give
        every user the others' notebooks; this one gives them what they have.
        """
        kept = self._tokens.get(target.session_id)
        now = self._clock().steady
        if kept is not None and kept[1] > now:
            return kept[0]
        service = orm.Service.find(self._app.db, SERVICE)
        if service is None:
            raise RuntimeError(f"JupyterHub.services lacks {SERVICE}")
        token: str = service.new_api_token(
            scopes=[f"access:servers!server={target.username}/{target.server_name}"],
            expires_in=_TOKEN_SECONDS,
            note=f"asks {target.username}/{target.server_name} whether it is idle",
        )
        self._tokens[target.session_id] = (token, now + _TOKEN_SECONDS / 2)
        return token

    def refused(self, target: Target) -> None:
        """Forget a token that did not work."""
        self._tokens.pop(target.session_id, None)

    def _servers(self) -> dict[tuple[str, str], datetime | None]:
        """The servers that start, run or stop, and when there was activity last."""
        rows: Iterable[tuple[str, str, datetime | None]] = (
            self._app.db.query(orm.User.name, orm.Spawner.name, orm.Spawner.last_activity)
            .join(orm.Spawner, orm.Spawner.user_id == orm.User.id)
            .filter(orm.Spawner.server_id.is_not(None))
        )
        return {
            (user, server): stamp.replace(tzinfo=UTC) if stamp is not None else None
            for user, server, stamp in rows
        }

    def _url(self, grant: Grant, session: Session) -> str:
        path: str = url_path_join(
            self._app.base_url,
            "user",
            url_escape_path(grant.username),
            url_escape_path(grant.server_name),
            "/",
        )
        origin = urlsplit(session.url)
        return urlunsplit((origin.scheme, origin.netloc, path, "", ""))
