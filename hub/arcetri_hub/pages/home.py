"""The home page: what runs, what it has cost so far, and the way to start and stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyterhub.handlers.pages import HomeHandler
from jupyterhub.slugs import is_valid_safe_slug, safe_slug
from tornado.web import authenticated

from arcetri_hub.pages import amounts
from arcetri_hub.pages.base import LooksAgain, PlatformHandler
from arcetri_hub.pages.choices import mounts_of
from arcetri_hub.pages.folders import folder_rows
from arcetri_hub.pages.refusals import Refused
from arcetri_hub.pages.servers import is_active, is_ready
from arcetri_hub.pages.sessions import session_cards
from arcetri_hub.pages.wording import newest_end
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.groups import EVERYONE

if TYPE_CHECKING:
    from jupyterhub.user import User


class HomePage(LooksAgain, PlatformHandler, HomeHandler):
    """``/hub/home``."""

    @authenticated
    async def get(self) -> None:
        """Show the user's sessions."""
        user = self.current_user
        if user.running:
            # A server that died is noticed now rather than at the next poll.
            await user.spawner.poll_and_notify()
        await self.show()

    async def show(self, *, name_error: str = "", wanted: str = "") -> None:
        """Render the page, perhaps with what was wrong with a name for a new session."""
        user, platform = self.current_user, self.platform
        catalog = platform.catalogs.current.catalog
        now = amounts.utc_now()
        try:
            identity = await platform.identities.known(user.name)
            rows = await platform.service.live()
            ends = await platform.store.recent_ends(identity.account_id)
        except ArcetriError as error:
            raise Refused(error) from error
        # Where nothing tells of room, nothing is full.
        mounts = mounts_of(catalog, identity, EVERYONE)
        folders = folder_rows(await platform.backend.folders(user.name, mounts))
        cards = session_cards(rows, user.name, catalog, now)
        self.finish(
            await self.render_template(
                "home.html",
                user=user,
                identity=identity,
                sessions=cards,
                full=[row for row in folders if row.full],
                away=platform.backend.current_inventory().stale,
                stopped=self._stopped(user, {card.server_name for card in cards}),
                notices=platform.notices(user.name),
                last_ended=newest_end(ends, catalog.site.timezone, now, raw=True),
                limits=catalog.limits,
                catalog_findings=platform.catalogs.findings if user.admin else (),
                wanted=wanted,
                name_error=name_error,
                is_ready=lambda server: is_ready(user, server),
                is_active=lambda server: is_active(user, server),
                server_url=user.server_url,
                spawn_url=lambda server: self.hub_url("spawn", user.name, server),
                running=sum(not card.waits for card in cards),
                waiting_url=lambda server: self.hub_url("waiting", user.name, server),
                pending_url=lambda server: self.hub_url("spawn-pending", user.name, server),
                return_url=lambda server: self.form_url("arcetri", "return", user.name, server),
                stop_url=lambda server: self.form_url("arcetri", "stop", user.name, server),
                remove_url=lambda server: self.form_url("arcetri", "remove", user.name, server),
            )
        )

    @staticmethod
    def _stopped(user: User, live: set[str]) -> list[str]:
        """Named servers that exist but do not run, so that they can be started or removed."""
        return sorted(
            name
            for name in user.orm_spawners
            if name and name not in live and not is_active(user, name)
        )


class NewSession(HomePage):
    """``/hub/arcetri/new?name=``: from a name to the spawn page of a server with that name."""

    @authenticated
    async def get(self) -> None:
        """Go to the spawn page; nothing is made before something is started there."""
        wanted = self.get_query_argument("name", "")
        name = wanted if is_valid_safe_slug(wanted) else safe_slug(wanted) if wanted else ""
        if not name:
            self.set_status(400)
            await self.show(name_error="Give the session a name, such as training.", wanted=wanted)
            return
        self.redirect(self.hub_url("spawn", self.current_user.name, name))
