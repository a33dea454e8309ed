"""While a session starts, and when it did not or does not run: what happens, why, what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jupyterhub.handlers.base import UserUrlHandler
from jupyterhub.handlers.pages import SpawnPendingHandler
from jupyterhub.scopes import needs_scope
from tornado.web import authenticated

from arcetri_hub.pages import amounts
from arcetri_hub.pages.base import PlatformHandler
from arcetri_hub.pages.raw import may_read_details
from arcetri_hub.pages.refusals import refusal_of
from arcetri_hub.pages.servers import choice_of, is_active, spawner_of
from arcetri_hub.pages.wording import CANCELLED, ended


class _Explains(PlatformHandler):
    """Adds to JupyterHub's pages what it does not know of a session."""

    def render_template(self, name: str, sync: bool = False, **known: Any) -> Any:
        """Render a template, with more for the pages that are ours."""
        if sync or name not in ("spawn_pending.html", "not_running.html", "stop_pending.html"):
            return super().render_template(name, sync=sync, **known)
        return self._explained(name, known)

    async def _explained(self, name: str, known: dict[str, Any]) -> Any:
        user = known["user"]
        spawner = known.get("spawner")
        server_name = known.get("server_name") or (spawner.name if spawner else "")
        catalog = self.platform.catalogs.current.catalog
        choice = choice_of(spawner or spawner_of(user, server_name))
        chosen = choice.get("flavor", "")
        flavor = catalog.flavors.get(chosen)
        have = self.platform.backend.current_inventory().flavors.get(chosen)
        more: dict[str, Any] = {
            "for_user": user,
            "server_name": server_name,
            "choice": choice,
            "title": flavor.title if flavor else "",
            "simulated": bool(have and have.simulated),
            "ask_url": self.form_url("spawn", user.name, server_name),
            "stop_url": self.form_url("arcetri", "stop", user.name, server_name),
            "choose_url": self.hub_url("spawn", user.name, server_name),
        }
        if name == "spawn_pending.html":
            more["request_id"] = self.platform.service.request_of(user.name, server_name)
        if name == "stop_pending.html":
            more["doubt"] = self.platform.service.in_doubt(user.name, server_name)
        if waits := self.platform.service.waiting.find(user.name, server_name):
            more["kept"] = waits.is_kept
            more["waits_url"] = self.hub_url("waiting", user.name, server_name)
        raw = await may_read_details(self, user.name)
        if known.get("failed"):
            refusal = refusal_of(known.get("exception"))
            more["refusal"] = refusal if raw else replace(refusal, details="")
        elif name == "not_running.html":
            identity = await self.platform.identities.known(user.name)
            last = await self.platform.store.last_ended(identity.account_id, server_name)
            told = ended(last, catalog.site.timezone, amounts.utc_now(), raw=raw)
            more["last_ended"] = told
            more["cancelled"] = told is not None and told.code == CANCELLED
        return await super().render_template(name, **{**known, **more})


class SpawnPending(_Explains, SpawnPendingHandler):
    """``/hub/spawn-pending/:user[/:server]``."""

    @authenticated
    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show the start, or lead to the page of what is kept because it could not be decided."""
        user = self.the_user(user_name)
        waits = self.platform.service.waiting.find(user.name, server_name)
        if waits is not None and waits.is_kept and not is_active(user, server_name):
            self.redirect(self.onward_url("waiting", user, server_name))
        else:
            await super().get(user_name, server_name)


class NotRunning(_Explains, UserUrlHandler):
    """``/hub/user/...``: a link into a session that does not run."""
