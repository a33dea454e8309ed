"""Stopping a session, cancelling a start, and removing a named server: forms of plain HTML."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jupyterhub.scopes import needs_scope
from tornado.web import authenticated

from arcetri_hub.pages.base import PlatformHandler
from arcetri_hub.pages.body import LimitedBody
from arcetri_hub.pages.servers import spawner_of

if TYPE_CHECKING:
    from jupyterhub.user import User

_CANCEL_SECONDS = 15


class StopSession(LimitedBody, PlatformHandler):
    """``/hub/arcetri/stop/:user[/:server]``."""

    @authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Stop what runs, or cancel what starts; then show the home page."""
        await self._stop(user_name, server_name)

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _stop(self, user_name: str, server_name: str) -> None:
        await self.stop(self.the_user(user_name), server_name)
        self.redirect(self.hub_url("home"))

    async def stop(self, user: User, server_name: str) -> None:
        """Return when the server has stopped, or JupyterHub has waited long enough for it."""
        spawner = spawner_of(user, server_name)
        if spawner is None:
            return
        if spawner.pending == "spawn" and spawner._spawn_future:
            spawner._spawn_future.cancel()
            await asyncio.wait({spawner._spawn_future}, timeout=_CANCEL_SECONDS)
        if spawner.ready:
            await self.stop_single_user(user, server_name)


class RemoveServer(StopSession):
    """``/hub/arcetri/remove/:user/:server``: a named server that is not wanted any more."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _stop(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        await self.stop(user, server_name)
        orm_spawner = user.orm_spawners.get(server_name) if server_name else None
        spawner = spawner_of(user, server_name)
        if orm_spawner is not None and not (spawner and spawner.active):
            user.spawners.pop(server_name, None)
            self.db.delete(orm_spawner)
            self.db.commit()
        self.redirect(self.hub_url("home"))
