"""The waiting page: one's place, what the wait is for, what would start now, and the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub.scopes import needs_scope
from tornado.web import HTTPError, authenticated

from arcetri_hub.pages import amounts
from arcetri_hub.pages.base import JsonErrors, LooksAgain, PlatformHandler, route_id
from arcetri_hub.pages.body import LimitedBody, options_from_form, refuse_choice_in_address
from arcetri_hub.pages.raw import may_read_details
from arcetri_hub.pages.refusals import Refusal, Refused, refusal_of
from arcetri_hub.pages.servers import begun_by_asker, is_active, is_ready, spawner_of
from arcetri_hub.pages.waits import wait_json, wait_page
from arcetri_hub.pages.wording import ENDS, away_json, by_its_user, ended
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from jupyterhub.user import User

    from arcetri_spawner.waiting import Entry


class WaitingPage(LooksAgain, LimitedBody, PlatformHandler):
    """``/hub/waiting/:user[/:server]``: GET shows the request, POST moves it to another flavour."""

    @authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Show the page; when it is the request's turn, lead to the start, and to the session."""
        await self._look(user_name, server_name or "")

    @authenticated
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Exchange the request for one that starts now; refused, it keeps its place."""
        await self._move(user_name, server_name or "")

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _look(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        waits = self.platform.service.waiting.find(user.name, server_name)
        if waits is not None:
            await self._render(user, waits)
        elif is_ready(user, server_name):
            self.redirect(self.get_next_url(user, default=user.server_url(server_name)))
        elif is_active(user, server_name) or self._failed(user, server_name):
            self.redirect(self.onward_url("spawn-pending", user, server_name))
        else:
            self.redirect(self.hub_url("home"))

    @staticmethod
    def _failed(user: User, server_name: str) -> bool:
        """Whether a start of this server failed, of which the next page tells."""
        spawner = spawner_of(user, server_name)
        future = spawner._spawn_future if spawner is not None else None
        return bool(future and future.done() and not future.cancelled() and future.exception())

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _move(self, user_name: str, server_name: str) -> None:
        user = self.the_user(user_name)
        service = self.platform.service
        waits = service.waiting.find(user.name, server_name)
        if waits is None:
            self.redirect(self.hub_url("waiting", user.name, server_name))
            return
        try:
            self.receive_body()
            refuse_choice_in_address(self.request.query_arguments)
            raw = options_from_form(self.request.body_arguments)
            asked = await service.waiting.move(waits, raw)
            async with begun_by_asker(service, asked):
                user.get_or_create_spawner(server_name, server_name, replace_failed=True)
                await self.spawn_single_user(user, server_name, server_name, options=raw)
        except (ArcetriError, HTTPError) as error:
            refusal = refusal_of(error)
            still = service.waiting.find(user.name, server_name)
            if still is not waits:
                # It was exchanged, and did not start: the next page says why.
                self.redirect(self.hub_url("waiting", user.name, server_name))
                return
            self.set_status(refusal.status)
            await self._render(user, still, refusal)
            return
        self.redirect(self.onward_url("spawn-pending", user, server_name))

    async def _render(self, user: User, waits: Entry, refusal: Refusal | None = None) -> None:
        platform = self.platform
        server_name = waits.grant.server_name
        try:
            identity = await platform.identities.known(user.name)
            wait = await platform.service.waiting.tell(waits, identity)
            last = None
            if waits.grant.earlier:
                # Its session was ended, and it is back in line.
                last = await platform.store.last_ended(identity.account_id, server_name)
        except ArcetriError as error:
            raise Refused(error) from error
        catalog, now = platform.catalogs.current.catalog, amounts.utc_now()
        self.set_header("Cache-Control", "no-store")
        self.finish(
            await self.render_template(
                "waiting.html",
                last_ended=ended(last, catalog.site.timezone, now),
                for_user=user,
                server_name=server_name,
                request_id=waits.id,
                wait=wait_page(wait, catalog, now),
                refusal=refusal,
                state_url=self.hub_url("api", "arcetri", "requests", str(waits.id)),
                here_url=self.hub_url("waiting", user.name, server_name),
                move_url=self.form_url("waiting", user.name, server_name),
                choose_url=self.hub_url("spawn", user.name, server_name),
                leave_url=self.form_url("arcetri", "stop", user.name, server_name),
            )
        )


class RequestNow(JsonErrors, PlatformHandler):
    """``/hub/api/arcetri/requests/:id``: where a request is, from being asked to its end."""

    _accept_token_auth = True

    def _record_activity(self, obj: object, timestamp: object = None) -> bool:  # noqa: ARG002
        """Looking whether it is one's turn is no activity."""
        return False

    async def get(self, request_id: str) -> None:
        """Answer for one request of somebody whose servers the asker may see."""
        if self.current_user is None:
            raise HTTPError(401, "You are logged out.")
        service = self.platform.service
        try:
            found = await service.standing(route_id(request_id, "request"))
        except ArcetriError as error:
            raise Refused(error) from error
        if found is None:
            raise HTTPError(404, "There is no such request.")
        self._told_of = found
        await self._answer(found.username, found.server_name)

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def _answer(self, user_name: str, server_name: str) -> None:
        found = self._told_of
        service = self.platform.service
        self.set_header("Cache-Control", "no-store")
        waits = service.waiting.find(user_name, server_name)
        if waits is not None and waits.id == found.id:
            identity = await self.platform.identities.known(user_name)
            wait = await service.waiting.tell(waits, identity)
            self.finish(wait_json(wait, self.platform.catalogs.current.catalog, self.hub_url))
            return
        session = ""
        if found.state == "running":
            # Not before the proxy leads there.
            user = self.find_user(user_name)
            if user is not None and is_ready(user, server_name):
                session = user.server_url(server_name)
        answer: dict[str, Any] = {
            "state": "ended" if found.state == "ended" else "running" if session else "starting",
            "request": str(found.id),
            "url": self.hub_url("api", "arcetri", "requests", str(found.id)),
            "user": user_name,
            "server": server_name,
            "flavor": found.flavor,
            "group": found.group,
        }
        if session:
            answer |= {"session": session, "away": away_json(service.away_of(found.id))}
        if found.state == "ended":
            message = found.message or ENDS.get(found.reason, "")
            answer |= {
                "code": found.reason,
                "message": message,
                "by_its_user": by_its_user(found.reason, found.message),
            }
            if await may_read_details(self, user_name):
                answer["details"] = found.details
            again = service.follower(found.id)
            if again is not None:
                answer["again"] = self.hub_url("api", "arcetri", "requests", str(again))
        self.finish(answer)
