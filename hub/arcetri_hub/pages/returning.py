"""Whether a request goes back in line when its session is ended: a form of plain HTML."""

from __future__ import annotations

from jupyterhub.scopes import needs_scope
from tornado.web import authenticated

from arcetri_hub.pages.base import PlatformHandler
from arcetri_hub.pages.body import LimitedBody
from arcetri_hub.pages.refusals import Refused
from arcetri_spawner.backends.base import Session
from arcetri_spawner.errors import ArcetriError


class GoBack(LimitedBody, PlatformHandler):
    """``/hub/arcetri/return/:user[/:server]``: the field ``returns`` is ``yes`` or ``no``."""

    @authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Keep what is wished, and show the home page."""
        await self._keep(user_name, server_name)

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _keep(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        service = self.platform.service
        try:
            self.receive_body()
            returns = self.get_body_argument("returns", "yes") != "no"
            session = await service.find(user.name, server_name)
            if isinstance(session, Session):
                await service.wish(session.id, returns=returns)
        except ArcetriError as error:
            raise Refused(error) from error
        self.redirect(self.hub_url("home"))
