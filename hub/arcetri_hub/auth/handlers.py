"""The pages of a login: to IAM, back from it, and out.

They differ from oauthenticator's in that they send and check a nonce, never pass on what a URL or
IAM said, and end every failure on a page that says what to do.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Protocol
from urllib.parse import urljoin

from jupyterhub.handlers import BaseHandler
from oauthenticator.oauth2 import (
    STATE_COOKIE_NAME,
    OAuthCallbackHandler,
    OAuthLoginHandler,
    OAuthLogoutHandler,
    _serialize_state,
)
from tornado.httputil import url_concat

from arcetri_hub.auth import problems
from arcetri_hub.auth.client import IamSilentError
from arcetri_hub.auth.discovery import Provider, end_session_url, logout_url
from arcetri_hub.auth.problems import LoginProblem, Message
from arcetri_spawner import killpoints
from arcetri_spawner.errors import ArcetriError

TEMPLATE = "login_message.html"
LOGOUT_COOKIE = "arcetri-logout-state"


class _Authenticator(Protocol):
    """What the pages use of ``IamAuthenticator``."""

    issuer: str
    login_service: str
    client_id: str
    scope: list[str]
    iam_logout: str

    async def reachable(self) -> Provider:
        """Return the provider, having made sure that it answers."""
        ...

    async def endpoints(self) -> Provider:
        """Return the provider, asking only where it is not known yet."""
        ...

    def get_callback_url(self, handler: Any) -> str:
        """Where IAM sends the browser back to."""
        ...

    def login_url(self, base_url: str) -> str:
        """Where a login starts."""
        ...

    def logout_url(self, base_url: str) -> str:
        """Where one logs out."""
        ...


class _Page(BaseHandler):  # JupyterHub has no types
    """Failures end on a page of few words; mixed into each of oauthenticator's handlers."""

    authenticator: _Authenticator

    def set_default_headers(self) -> None:
        """Keep this page's URL, which may hold a code, out of the next request's Referer."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def query(self, name: str) -> str:
        """Return a query argument, empty when it is not there."""
        values = self.request.query_arguments.get(name) or [b""]
        return str(values[-1].decode("utf-8", "replace"))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show any failure as a page that says what to do."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, LoginProblem):
            problem = error
        elif isinstance(error, ArcetriError):
            problem = problems.own(error.status, error.code, error.message, error.remedy)
            self.set_status(error.status)
        elif status_code < 500 or not hasattr(self, "_jupyterhub_user"):
            # A wrong method and the like, or so early that no page of ours can be made.
            super().write_error(status_code, **kwargs)
            return
        else:
            problem = problems.internal()
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.write(self.render_template(TEMPLATE, sync=True, **self._namespace(problem.page)))

    def _namespace(self, page: Message, **more: Any) -> dict[str, Any]:
        known: dict[str, Any] = {
            "page": page,
            "action_url": self.authenticator.login_url(self.hub.base_url),
            "no_spawner_check": True,
        }
        if page.about_account and self.authenticator.iam_logout != "none":
            # Trying again would lead to the same account for as long as IAM remembers it.
            known["second_url"] = self.authenticator.logout_url(self.hub.base_url)
            known["second_action"] = "Use another account"
        return known | more

    async def show(self, page: Message, **more: Any) -> None:
        """Finish with a page of few words."""
        self.finish(await self.render_template(TEMPLATE, **self._namespace(page, **more)))


class LoginHandler(_Page, OAuthLoginHandler):
    """Sends the browser to IAM, once IAM has been seen to answer."""

    async def get(self) -> None:
        """Start a login."""
        try:
            provider = await self.authenticator.reachable()
        except IamSilentError:
            raise problems.iam_silent(self.authenticator.login_service) from None
        state_id = self._generate_state_id()
        nonce = secrets.token_urlsafe(32)
        verifier = secrets.token_urlsafe(32)
        self.set_state_cookie(
            _serialize_state(
                {
                    "state_id": state_id,
                    "next_url": self._get_next_url(),
                    "code_verifier": verifier,
                    "nonce": nonce,
                }
            )
        )
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode()
        self.redirect(
            url_concat(
                provider.authorization_endpoint,
                {
                    "response_type": "code",
                    "client_id": self.authenticator.client_id,
                    "redirect_uri": self.authenticator.get_callback_url(self),
                    "scope": " ".join(self.authenticator.scope),
                    "state": _serialize_state({"state_id": state_id}),
                    "nonce": nonce,
                    "code_challenge": challenge.rstrip("="),
                    "code_challenge_method": "S256",
                },
            )
        )


class CallbackHandler(_Page, OAuthCallbackHandler):
    """Takes the browser back from IAM."""

    notice: Message | None = None
    """Set by the authenticator: what a new person must know before they go on."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Forget the query before anything can log it: it may hold a code or IAM's words."""
        super().initialize(*args, **kwargs)
        self.request.uri = self.request.path

    @property
    def login_state(self) -> dict[str, Any]:
        """What this browser's login began with; empty when the cookie is gone."""
        return _read_state(self.get_state_cookie() or "")

    async def get(self) -> None:
        """Finish a login."""
        state = self.login_state
        if error := self.query("error"):
            raise problems.at_callback(error)
        if not self._same_state(state) or not self.query("code"):
            if self.current_user is not None:
                # Logged in already, in another window: nothing is lost.
                self.redirect(self.get_next_url(self.current_user))
                return
            raise problems.state_lost()
        user = await self.login_user()
        if user is None:
            raise problems.internal()
        killpoints.reach("login.written")
        self._jupyterhub_user = user
        next_url = self.get_next_url(user)
        if self.notice is not None:
            await self.show(self.notice, action_url=next_url)
            return
        self.redirect(next_url)

    def _same_state(self, state: dict[str, Any]) -> bool:
        expected = state.get("state_id")
        given = _read_state(self.query("state")).get("state_id")
        if not isinstance(expected, str) or not isinstance(given, str):
            return False
        return hmac.compare_digest(expected.encode(), given.encode())


class LogoutHandler(_Page, OAuthLogoutHandler):
    """Ends the login here, and helps to end it at IAM."""

    async def handle_logout(self) -> None:
        """Forget a login that is under way."""
        self.clear_cookie(STATE_COOKIE_NAME)

    async def render_logout_page(self) -> None:
        """Say that the login at IAM is another one, or end that too."""
        if self._is_back():
            await self.show(problems.logged_out_of_both(self.authenticator.login_service))
            return
        how = self.authenticator.iam_logout
        if how == "none":
            await super().render_logout_page()
            return
        try:
            known = self.authenticator
            provider = await (known.reachable() if how == "redirect" else known.endpoints())
        except IamSilentError:
            provider, how = None, "link"
        url = self._at_iam(provider)
        if how == "redirect":
            self.redirect(url)
            return
        service = self.authenticator.login_service
        await self.show(
            problems.logged_out_here(service),
            second_url=url,
            second_action=f"Log out of {service}",
        )

    def _at_iam(self, provider: Provider | None) -> str:
        """Where the session with IAM ends."""
        if provider is None or not provider.end_session_endpoint:
            return logout_url(self.authenticator.issuer)
        state = secrets.token_urlsafe(16)
        self._set_cookie(LOGOUT_COOKIE, state, encrypted=False, path=self.hub.base_url)
        back = urljoin(self.authenticator.get_callback_url(self), "logout")
        return end_session_url(provider, self.authenticator.client_id, back, state)

    def _is_back(self) -> bool:
        """Whether IAM has sent this browser back, and nobody else has."""
        expected = self.get_cookie(LOGOUT_COOKIE) or ""
        if not expected or not hmac.compare_digest(
            expected.encode(), self.query("state").encode("utf-8", "replace")
        ):
            return False
        self.clear_cookie(LOGOUT_COOKIE, path=self.hub.base_url)
        return True


def _read_state(text: str) -> dict[str, Any]:
    try:
        state = json.loads(urlsafe_b64decode(text.encode()))
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}
