"""What all our pages share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from jupyterhub.handlers import BaseHandler
from jupyterhub.utils import url_escape_path, url_path_join
from tornado.httputil import url_concat
from tornado.web import HTTPError

from arcetri_hub.pages.platform import PagesPlatform
from arcetri_hub.pages.refusals import Refusal, refusal_of

if TYPE_CHECKING:
    from jupyterhub.user import User


class PlatformHandler(BaseHandler):
    """A handler that knows the platform."""

    platform: PagesPlatform

    def initialize(self, platform: PagesPlatform) -> None:
        """Tornado's constructor; ``platform`` comes from the route."""
        super().initialize()
        self.platform = platform

    def the_user(self, name: str) -> User:
        """The user a page is about, who need not be the one who looks.

        Raises:
            HTTPError: There is none (404).
        """
        if name == self.current_user.name:
            return self.current_user
        user = self.find_user(name)
        if user is None:
            raise HTTPError(404, "There is no such user here.")
        return user

    def hub_url(self, *parts: str) -> str:
        """The path of a page of the hub; the parts are escaped, empty ones left out."""
        return str(url_path_join(self.hub.base_url, *(url_escape_path(p) for p in parts if p)))

    def form_url(self, *parts: str) -> str:
        """The same for a form to post to, with the token that shows that it was ours."""
        return str(url_concat(self.hub_url(*parts), {"_xsrf": self.xsrf_token.decode("ascii")}))

    def onward_url(self, page: str, user: User, server_name: str) -> str:
        """A page about a server, which goes on to where this one was asked to lead."""
        url = self.hub_url(page, user.name, server_name)
        target = self.get_query_argument("next", "")
        return str(url_concat(url, {"next": target})) if target else url


def route_id(text: str, what: str) -> UUID:
    """Read an id from a route.

    Args:
        text: As it stands there.
        what: What it is the id of, in words.

    Raises:
        HTTPError: It is none (404).
    """
    try:
        return UUID(text)
    except ValueError:
        raise HTTPError(404, f"There is no such {what}.") from None


LOOKS_AGAIN = "X-Arcetri-Looks-Again"
"""The header of a request that an open page makes by itself."""


class LooksAgain(BaseHandler):
    """A page that its own script asks for again, to show what has changed."""

    def _record_activity(self, obj: object, timestamp: datetime | None = None) -> bool:
        """A page that looks by itself is no activity of its user."""
        if LOOKS_AGAIN in self.request.headers:
            return False
        return bool(super()._record_activity(obj, timestamp))

    async def prepare(self) -> None:
        """Tell a page that looks by itself that its user is logged out, and lead it nowhere."""
        await super().prepare()
        if LOOKS_AGAIN in self.request.headers and self.current_user is None:
            raise HTTPError(401, "You are logged out.")


class JsonErrors(BaseHandler):
    """Answers errors as ``{status, code, message, remedy}``."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the error that ended the request."""
        exception = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        self.answer(refusal_of(exception, status_code))

    def answer(self, refusal: Refusal) -> None:
        """Finish with a refusal."""
        self.set_status(refusal.status)
        self.set_header("Content-Type", "application/json")
        self.finish(refusal.as_json())


class ServerNow(JsonErrors, PlatformHandler):
    """What open pages ask again and again about one user's server: ``?user=&server=``.

    A subclass answers in ``_answer``, which carries the scope that it needs.
    """

    _accept_token_auth = True

    def _record_activity(self, obj: object, timestamp: object = None) -> bool:  # noqa: ARG002
        """A page that looks by itself is no activity of its user."""
        return False

    async def get(self) -> None:
        """Answer for one user's server."""
        if self.current_user is None:
            raise HTTPError(401, "You are logged out.")
        name = self.get_query_argument("user", "") or self.current_user.name
        await self._answer(name, self.get_query_argument("server", ""))

    async def _answer(self, user_name: str, server_name: str) -> None:
        raise NotImplementedError
