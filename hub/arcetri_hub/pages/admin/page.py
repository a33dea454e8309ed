"""``/hub/arcetri/sessions``: who holds what, and a way to stop it, for the platform's admins."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tornado.httputil import url_concat
from tornado.web import authenticated

from arcetri_hub.pages import amounts
from arcetri_hub.pages.admin.access import check_admin
from arcetri_hub.pages.admin.ending import Outcome, end_session
from arcetri_hub.pages.admin.message import MAX_MESSAGE, clean_message, told_to_user
from arcetri_hub.pages.admin.platform import AdminPlatform
from arcetri_hub.pages.admin.rows import FlavorLine, SessionLine, flavor_lines, session_lines
from arcetri_hub.pages.base import LooksAgain, PlatformHandler, route_id
from arcetri_hub.pages.body import LimitedBody
from arcetri_hub.pages.refusals import Refusal, Refused, refusal_of
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.policy.model import Identity

_OUTCOMES = {
    Outcome.ENDED: "The session was ended. Its user reads your message on their next page.",
    Outcome.ENDING: "The session was told to end and will be gone in a moment.",
    Outcome.GONE: "That session had ended already.",
}


class AdminHandler(PlatformHandler):
    """A handler for the platform's admins only."""

    platform: AdminPlatform

    async def the_admin(self) -> Identity:
        """The admin who asks.

        Raises:
            Refused: It is none.
        """
        identity = await self.platform.identities.known(self.current_user.name)
        try:
            check_admin(self.platform.catalogs.current.catalog, identity)
        except ArcetriError as error:
            raise Refused(error) from error
        return identity

    async def lines(self) -> tuple[tuple[SessionLine, ...], tuple[FlavorLine, ...]]:
        """Everything that is held, and what is left.

        Raises:
            Refused: The database cannot be read.
        """
        platform = self.platform
        catalog = platform.catalogs.current.catalog
        try:
            rows = await platform.service.live()
        except ArcetriError as error:
            raise Refused(error) from error
        reaper = platform.reaper
        idle = {
            row.grant.request_id: reaper.idle_for(row.grant.request_id) if reaper else None
            for row in rows
        }
        return (
            session_lines(rows, catalog, idle),
            flavor_lines(catalog, platform.backend.current_inventory()),
        )


class SessionsPage(LooksAgain, AdminHandler):
    """The page itself."""

    @authenticated
    async def get(self) -> None:
        """Show it."""
        await self.the_admin()
        outcome = self.get_query_argument("outcome", "")
        done = _OUTCOMES[Outcome(outcome)] if outcome in set(Outcome) else ""
        await self.show(done=done)

    async def show(
        self, *, done: str = "", refusal: Refusal | None = None, refused_id: UUID | None = None
    ) -> None:
        """Render the page, with what came of the last request."""
        sessions, flavors = await self.lines()
        site = self.platform.catalogs.current.catalog.site
        now = amounts.utc_now()

        def moment(at: Any) -> str:
            return amounts.moment(at, site.timezone, now)

        def end_url(line: SessionLine) -> str:
            return self.form_url("arcetri", "sessions", str(line.id), "end")

        self.finish(
            await self.render_template(
                "arcetri_sessions.html",
                sessions=sessions,
                flavors=flavors,
                simulated=any(flavor.simulated for flavor in flavors),
                as_of=moment(now),
                timezone=site.timezone,
                moment=moment,
                span=amounts.span,
                end_url=end_url,
                max_message=MAX_MESSAGE,
                done=done,
                refusal=refusal,
                refused_id=refused_id,
                findings=self.platform.catalogs.findings,
            )
        )


class EndSession(LimitedBody, SessionsPage):
    """``/hub/arcetri/sessions/:id/end``."""

    @authenticated
    async def get(self, session_id: str) -> None:  # noqa: ARG002 - from the route
        """Nothing happens by looking: back to the page."""
        self.redirect(self.hub_url("arcetri", "sessions"))

    @authenticated
    async def post(self, session_id: str) -> None:
        """End the session, and go back to the page."""
        admin = await self.the_admin()
        wanted = route_id(session_id, "session")
        try:
            self.receive_body()
            message = clean_message(self.get_body_argument("message", "", strip=False))
            outcome = await end_session(
                self.platform.service,
                wanted,
                told_to_user(message, admin.display_name or admin.name),
                by=admin.name,
            )
        except ArcetriError as error:
            refusal = refusal_of(error)
            self.set_status(refusal.status)
            await self.show(refusal=refusal, refused_id=wanted)
            return
        self.redirect(
            url_concat(self.hub_url("arcetri", "sessions"), {"outcome": outcome.value}), status=303
        )
