"""Starts servers whose turn has come, with nobody's request at hand, the way JupyterHub does.

All that JupyterHub does around a spawn (its own counts, the proxy's route, the poll that notices an
end) is a method of its handlers. So one is made that answers nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from jupyterhub.handlers import BaseHandler
from tornado.httputil import HTTPConnection, HTTPServerRequest

_LOOK: Final = 0.1
"""Seconds between two looks whether the hub listens."""


class _NoConnection(HTTPConnection):
    """Stands where a handler has its connection; nobody closes it."""

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Nobody is there to go away."""


class _Nobody(BaseHandler):
    """A handler that answers no request."""


class HubStarter:
    """Starts servers of the running application; to be used on its event loop only."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def ready(self) -> None:
        """Return when the hub listens: what starts before could not reach it."""
        while self._app.http_server is None:  # noqa: ASYNC110 - JupyterHub has no event for it
            await asyncio.sleep(_LOOK)

    async def start(self, username: str, server_name: str, choice: Mapping[str, str]) -> None:
        """Have a server started, unless it starts, runs or stops already.

        Raises:
            LookupError: JupyterHub has no such user any more.
            Exception: The start failed at once; its request says why.
        """
        user = self._app.users.get(username)
        if user is None:
            raise LookupError("JupyterHub has no such user any more")
        if server_name in user.spawners and user.spawners[server_name].active:
            return
        # One with a name that has only waited is not in JupyterHub's tables yet.
        user.get_or_create_spawner(server_name, server_name, replace_failed=True)
        request = HTTPServerRequest(
            method="POST", uri=self._app.hub.base_url, connection=_NoConnection()
        )
        handler = _Nobody(self._app.tornado_application, request)
        await handler.spawn_single_user(user, server_name, server_name, options=dict(choice))
