"""``/hub/api/arcetri/sessions``: the admins' page as JSON, for people's and services' tokens."""

from __future__ import annotations

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope

from arcetri_hub.pages import amounts
from arcetri_hub.pages.admin.ending import Outcome, end_session
from arcetri_hub.pages.admin.message import clean_message, told_to_user
from arcetri_hub.pages.admin.page import AdminHandler
from arcetri_hub.pages.base import JsonErrors, route_id
from arcetri_hub.pages.body import LimitedBody, invalid, json_object
from arcetri_hub.pages.refusals import Refusal, Refused
from arcetri_spawner.errors import ArcetriError

_STATUS = {Outcome.ENDED: 204, Outcome.ENDING: 202}


class _Api(JsonErrors, AdminHandler, APIHandler):
    async def check(self) -> str:
        """Refuse people who are no admins; a service needs its scopes only. Return who asks."""
        if self.current_user.kind != "user":
            return f"The service {self.current_user.name}"
        admin = await self.the_admin()
        return admin.display_name or admin.name


class SessionsApi(_Api):
    """All sessions."""

    @needs_scope("read:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def get(self) -> None:
        """Answer with every session and flavour."""
        await self.check()
        sessions, flavors = await self.lines()
        self.finish(
            {
                "as_of": amounts.utc_now().isoformat(),
                "sessions": [line.as_json() for line in sessions],
                "flavors": [line.as_json() for line in flavors],
            }
        )


class SessionApi(LimitedBody, _Api):
    """One session."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # JupyterHub's
    async def delete(self, session_id: str) -> None:
        """End it; the body may hold ``{"message": "..."}`` for its user."""
        by = await self.check()
        try:
            body = json_object(self.receive_body())
            if extra := body.keys() - {"message"}:
                raise invalid(f"Nothing is called {min(extra)} here.")
            message = clean_message(body.get("message"))
            outcome = await end_session(
                self.platform.service,
                route_id(session_id, "session"),
                told_to_user(message, by),
                by=self.current_user.name,
            )
        except ArcetriError as error:
            raise Refused(error) from error
        if outcome is Outcome.GONE:
            self.answer(Refusal(404, "no_such_session", "That session had ended already."))
            return
        self.set_status(_STATUS[outcome])
        self.finish()
