"""Stopping a session, cancelling a start, and removing a named server: forms of plain HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyterhub.scopes import needs_scope
from tornado.httputil import url_concat
from tornado.web import authenticated

from arcetri_hub.pages.base import PlatformHandler
from arcetri_hub.pages.body import LimitedBody
from arcetri_hub.pages.refusals import Refused
from arcetri_hub.pages.servers import (
    cancel_start,
    choice_of,
    leave,
    spawner_of,
    stop_unattended,
)
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from jupyterhub.user import User


class StopSession(LimitedBody, PlatformHandler):
    """``/hub/arcetri/stop/:user[/:server]``."""

    @authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Stop what runs, cancel what starts, or leave the queue; then show the home page."""
        await self._stop(user_name, server_name)

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _stop(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        if await self.leave_queue(user, server_name):
            self.redirect(self.hub_url("home"))
            return
        starting = spawner_of(user, server_name)
        cancelled = await self.stop(user, server_name)
        if cancelled and user is self.current_user:
            # One cancels to choose otherwise: nothing has to be chosen again but that.
            page = self.hub_url("spawn", user.name, server_name)
            self.redirect(url_concat(page, choice_of(starting)))
        else:
            self.redirect(self.hub_url("home"))

    async def leave_queue(self, user: User, server_name: str) -> bool:
        """Take a server's request out of the queue, if it has one that has not started."""
        service = self.platform.service
        waits = service.waiting.find(user.name, server_name)
        if waits is None:
            return False
        try:
            await leave(service, waits, self.current_user)
        except ArcetriError as error:
            raise Refused(error) from error
        return True

    async def stop(self, user: User, server_name: str) -> bool:
        """Return when the server has stopped, or JupyterHub has waited long enough for it.

        Returns:
            Whether it still started.
        """
        if await stop_unattended(self.platform.service, user, server_name) is not None:
            return False
        spawner = spawner_of(user, server_name)
        if spawner is None:
            return False
        cancelled = await cancel_start(self.platform.service, user, server_name, self.current_user)
        if spawner.ready:
            await self.stop_single_user(user, server_name)
        return cancelled


class RemoveServer(StopSession):
    """``/hub/arcetri/remove/:user/:server``: a named server that is not wanted any more."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _stop(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        await self.leave_queue(user, server_name)
        await self.stop(user, server_name)
        orm_spawner = user.orm_spawners.get(server_name) if server_name else None
        spawner = spawner_of(user, server_name)
        if orm_spawner is not None and not (spawner and spawner.active):
            user.spawners.pop(server_name, None)
            self.db.delete(orm_spawner)
            self.db.commit()
        self.redirect(self.hub_url("home"))
