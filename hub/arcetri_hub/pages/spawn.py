"""The spawn page: GET shows what can be chosen, POST asks for it. No GET starts anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from tornado.httputil import url_concat
from tornado.web import HTTPError, authenticated

from arcetri_hub.pages import amounts
from arcetri_hub.pages.base import PlatformHandler
from arcetri_hub.pages.body import LimitedBody, options_from_form, refuse_choice_in_address
from arcetri_hub.pages.choices import Choice, spawn_page, unmet
from arcetri_hub.pages.folders import folder_rows
from arcetri_hub.pages.live import offers_json
from arcetri_hub.pages.raw import may_read_details
from arcetri_hub.pages.refusals import Refusal, refusal_of
from arcetri_hub.pages.servers import (
    begun_by_asker,
    forget_failed,
    free_name,
    is_active,
    is_ready,
)
from arcetri_hub.pages.wording import newest_end
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy import OPTION_KEYS
from arcetri_spawner.policy.model import Identity

if TYPE_CHECKING:
    from jupyterhub.user import User


_PATIENCE = 2.0
"""Seconds to wait for IAM before the page is shown with what was known."""
_REUSE = 1.0
"""Seconds for which IAM's answer does for the page again."""


class SpawnPage(LimitedBody, PlatformHandler, SpawnHandler):
    """``/hub/spawn[/user[/server]]``."""

    @authenticated
    async def get(self, user_name: str | None = None, server_name: str = "") -> None:
        """Show the page; whatever the query says, it only preselects."""
        mine = self.current_user
        waits = self.platform.service.waiting
        taken = is_active(mine, "") or waits.find(mine.name, "")
        if user_name is None and taken and not self.get_query_argument("next", ""):
            # A link for a new session, which the running one is not: a browser keeps what follows
            # the address's hash.
            page = self.hub_url("spawn", mine.name, free_name(mine, waits))
            linked = {key: value for key, value in asdict(self._linked()).items() if value}
            self.redirect(url_concat(page, linked))
            return
        await self._show(user_name or mine.name, server_name or "")

    @authenticated
    async def post(self, user_name: str | None = None, server_name: str = "") -> None:
        """Ask for a session with the form's choice."""
        await self._ask(user_name or self.current_user.name, server_name or "")

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _show(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        if is_ready(user, server_name):
            self.redirect(self.get_next_url(user, default=user.server_url(server_name)))
        elif is_active(user, server_name):
            self.redirect(self._pending(user, server_name))
        elif self.platform.service.waiting.find(user.name, server_name):
            self.redirect(self._waits(user, server_name))
        else:
            identity, certain = await self._who(user)
            await self._render(
                user, server_name, identity, certain=certain, wishes=[self._linked()]
            )

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _ask(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        if is_active(user, server_name):
            self.redirect(self._pending(user, server_name))
            return
        if self.platform.service.waiting.find(user.name, server_name):
            self.redirect(self._waits(user, server_name))
            return
        raw: dict[str, Any] = {}
        new = server_name not in user.orm_spawners
        try:
            self.receive_body()
            refuse_choice_in_address(self.request.query_arguments)
            raw = options_from_form(self.request.body_arguments)
            raw.update(self.request.files)
            if server_name:
                await self._check_named_server_request(user, server_name, server_name)
            asked, starts = await self.platform.service.ask(user.name, server_name, raw)
            if not starts:
                self.redirect(self._waits(user, server_name))
                return
            async with begun_by_asker(self.platform.service, asked):
                spawner = user.get_or_create_spawner(server_name, server_name, replace_failed=True)
                await self._wrap_spawn_single_user(
                    user, server_name, server_name, spawner, self._pending(user, server_name), raw
                )
        except (ArcetriError, HTTPError) as error:
            refusal = refusal_of(error)
            self.log.info("Not started for %s: %s", user.name, refusal.code)
            if new:
                await forget_failed(self.db, user, server_name)
            if self.platform.service.waiting.find(user.name, server_name):
                # It is kept, and the platform starts it.
                self.redirect(self._waits(user, server_name))
                return
            self.set_status(refusal.status)
            for name, value in (getattr(error, "headers", None) or {}).items():
                self.set_header(name, str(value))
            identity = await self.platform.identities.known(user.name)
            await self._render(user, server_name, identity, refusal=refusal, wishes=[_posted(raw)])

    async def _who(self, user: User) -> tuple[Identity, bool]:
        """Who the person is now, so that a group given or taken a moment ago shows.

        Returns:
            False with what was known when IAM does not answer soon; the question goes on.
        """
        asking = self.platform.identities.fresh(user.name, reuse=_REUSE)
        try:
            return await asyncio.wait_for(asking, _PATIENCE), True
        except TimeoutError:
            return await self.platform.identities.known(user.name), False

    async def _render(
        self,
        user: User,
        server_name: str,
        identity: Identity,
        *,
        wishes: list[Choice],
        certain: bool = True,
        refusal: Refusal | None = None,
    ) -> None:
        platform = self.platform
        offers = await platform.service.offers(identity, server_name)
        chosen = await platform.store.last_choice(identity.account_id)
        ends = await platform.store.recent_ends(identity.account_id)
        raw = await may_read_details(self, user.name)
        catalog = platform.catalogs.current.catalog
        now = amounts.utc_now()
        page = spawn_page(catalog, identity, offers, [*wishes, _posted(chosen or {})], now)
        folders = await platform.backend.folders(user.name, page.mounts)
        query = {"_xsrf": self.xsrf_token.decode("ascii")}
        if target := self.get_query_argument("next", ""):
            query["next"] = target
        self.finish(
            await self.render_template(
                "spawn.html",
                for_user=user,
                server_name=server_name,
                page=page,
                now=offers_json(offers, catalog),
                unmet=() if refusal else unmet(page, self._linked()),
                folders=folder_rows(folders),
                refusal=refusal,
                last_ended=newest_end(ends, catalog.site.timezone, now, raw=raw),
                known_since=""
                if identity.checked_at is None or (certain and identity.as_before() is identity)
                else amounts.moment(identity.checked_at, catalog.site.timezone, now),
                hold=amounts.span(catalog.defaults.hold),
                look_again=self.request.path,
                identity=identity,
                site=catalog.site,
                url=url_concat(self.request.path, query),
                offers_url=url_concat(
                    self.hub_url("arcetri", "offers"), {"user": user.name, "server": server_name}
                ),
            )
        )

    def _linked(self) -> Choice:
        return Choice(**{key: self.get_query_argument(key, "") for key in OPTION_KEYS})

    def _pending(self, user: User, server_name: str) -> str:
        return self.onward_url("spawn-pending", user, server_name)

    def _waits(self, user: User, server_name: str) -> str:
        return self.onward_url("waiting", user, server_name)


def _posted(raw: Mapping[str, Any]) -> Choice:
    """What was chosen, as far as it can be shown again."""
    return Choice(**{k: v for k in OPTION_KEYS if isinstance(v := raw.get(k), str)})
