"""Whose account a token is, for services that keep records by it: names are given out again."""

from __future__ import annotations

from tornado.web import HTTPError

from arcetri_hub.pages.base import JsonErrors, PlatformHandler
from arcetri_hub.pages.refusals import Refused
from arcetri_spawner.errors import ArcetriError


class OwnAccount(JsonErrors, PlatformHandler):
    """``/hub/api/arcetri/account``: the opaque id of the person whose token asks."""

    _accept_token_auth = True

    async def get(self) -> None:
        """Answer for whoever asks; any token may, as it may ask JupyterHub for their name."""
        if self.current_user is None:
            raise HTTPError(403, "A token of a person is needed.")
        account = None
        if self.current_user.kind == "user":
            try:
                account = await self.platform.store.account_by_name(self.current_user.name)
            except ArcetriError as error:
                raise Refused(error) from error
        self.set_header("Cache-Control", "no-store")
        self.finish({"name": self.current_user.name, "account": account.id if account else ""})
