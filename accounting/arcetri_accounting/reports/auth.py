"""Readers are people and services that JupyterHub knows: its tokens, its login, its scopes.

A browser is sent to the hub to log in, and comes back with a code that is exchanged for a token,
kept in a cookie of the service's own path. A program sends its hub token as a bearer. Each request
asks the hub who that is (the answer is kept for a few seconds), so a logout or a group that is
taken away counts at once.

What a browser sends by itself is believed only where a person goes to a page: a script in a
notebook of the same host cannot fetch another person's numbers with their cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import make_ssl_context
from tornado.web import HTTPError

from arcetri_accounting.ledger.errors import Forbidden, LedgerError, Unauthorized
from arcetri_accounting.reports.access import Reader

READ: Final = "custom:arcetri-usage:read"
"""Own usage, and that of the groups one leads; for every user."""
READ_ALL: Final = "custom:arcetri-usage:read-all"
"""Everybody's; for administrators."""
_NAMES: Final = frozenset({"read:users:name", "read:users", "list:users", "admin:users"})
"""Any of these lets a service see people's names beside their opaque ids."""
ACCOUNT: Final = "/arcetri/account"
"""Where, below its API, Arcetri's hub says whose account a token is."""
CACHE_SECONDS: Final = 10
_PATIENCE: Final = 10
STATE_SECONDS: Final = 600


class HubAway(LedgerError):
    """The hub cannot be asked who somebody is."""

    default_code = "hub_unavailable"
    status = 503


class NeedsLogin(Exception):
    """A page is asked for by somebody who has not logged in; goes to the login."""


class Readers(Protocol):
    """Says who asks."""

    async def for_api(self, request: Request) -> Reader:
        """Who sent a request to the API.

        Raises:
            Unauthorized: Nobody that the hub knows.
            Forbidden: Somebody without a scope to read usage.
            HubAway: The hub does not say.
        """

    async def for_page(self, request: Request) -> Reader:
        """Who asks for a page.

        Raises:
            NeedsLogin: Nobody is logged in.
            Forbidden: Somebody without a scope to read usage.
            HubAway: The hub does not say.
        """

    def login(self, request: Request) -> Response:
        """Send a browser to where it logs in."""

    def routes(self) -> APIRouter:
        """The pages of login and logout."""


def reader_of(model: dict[str, Any]) -> Reader:
    """Who JupyterHub's model of a user or service is to us.

    Raises:
        Forbidden: Nobody who may read anything.
    """
    name = str(model.get("name") or "")
    scopes = {str(scope) for scope in model.get("scopes") or ()}
    is_user = model.get("kind") == "user"
    own = is_user and bool(scopes & {READ, f"{READ}!user={name}", READ_ALL})
    everything = READ_ALL in scopes
    if not (own or everything):
        raise Forbidden(
            "This login may not read usage.",
            code="scope_missing",
            remedy=f"Use a token with the scope {READ}.",
        )
    return Reader(
        name=name if is_user else "",
        groups=frozenset(str(group) for group in model.get("groups") or ()),
        own=own,
        everything=everything,
        names=is_user or bool(scopes & _NAMES),
    )


@dataclass(frozen=True, slots=True)
class _State:
    """Where a login that has begun goes on."""

    next_path: str
    verifier: str
    until: float


class HubReaders:
    """Readers as a real JupyterHub knows them."""

    def __init__(self, hub: HubOAuth, prefix: str) -> None:
        """Make it from a HubOAuth, which reads its own settings from the environment.

        Args:
            hub: Configured with the service's token and client id.
            prefix: The service's path, with a slash at both ends.
        """
        hub.cache_max_age = CACHE_SECONDS
        self._hub = hub
        self._accounts: dict[str, tuple[float, str | None]] = {}
        """By token: until when it is believed, and whose account it is."""
        self._prefix = prefix
        self._key = hashlib.sha256(f"arcetri-usage-login:{hub.api_token}".encode()).digest()

    # Who

    async def for_api(self, request: Request) -> Reader:
        """Who sent a request to the API, by a bearer token or a person's cookie."""
        token = _bearer(request)
        if token is None and _navigates(request):
            token = self._cookie(request)
        model = await self._ask(token, request) if token else None
        if model is None:
            raise Unauthorized(
                "The API needs a token of JupyterHub that is still valid.",
                remedy=f"Send one with the scope {READ} as Authorization: Bearer TOKEN.",
            )
        return await self._reader(model, str(token))

    async def for_page(self, request: Request) -> Reader:
        """Who asks for a page, by their cookie, or a bearer token for programs."""
        token = _bearer(request)
        if token is None and (_navigates(request) or _shows_picture(request)):
            token = self._cookie(request)
        model = await self._ask(token, request) if token else None
        if model is None:
            raise NeedsLogin
        return await self._reader(model, str(token))

    async def _ask(self, token: str, request: Request) -> dict[str, Any] | None:
        session_id = request.cookies.get("jupyterhub-session-id", "")
        try:
            model = await self._hub.user_for_token(token, session_id=session_id, sync=False)
        except HTTPError:
            raise HubAway(
                "JupyterHub does not say who you are.",
                remedy="Try again in a moment; usage is recorded meanwhile.",
            ) from None
        return dict(model) if model else None

    async def _reader(self, model: dict[str, Any], token: str) -> Reader:
        reader = reader_of(model)
        return replace(reader, account=await self._account(token)) if reader.name else reader

    async def _account(self, token: str) -> str | None:
        """Whose account a token is, as Arcetri's hub says; None where the hub is another one."""
        now = time.monotonic()
        until, account = self._accounts.get(token, (0.0, None))
        if now < until:
            return account
        hub = self._hub
        try:
            async with httpx.AsyncClient(
                trust_env=False,
                timeout=_PATIENCE,
                verify=make_ssl_context(hub.keyfile, hub.certfile, cafile=hub.client_ca)
                if hub.certfile or hub.keyfile
                else True,
            ) as http:
                answer = await http.get(
                    f"{hub.api_url}{ACCOUNT}", headers={"Authorization": f"token {token}"}
                )
            if answer.status_code != httpx.codes.NOT_FOUND:
                account = str(answer.raise_for_status().json()["account"])
        except (httpx.HTTPError, ValueError, KeyError):
            # Never by the name instead: that may have been somebody else's.
            raise HubAway(
                "JupyterHub does not say which account you are.",
                remedy="Try again in a moment; usage is recorded meanwhile.",
            ) from None
        self._accounts = {one: known for one, known in self._accounts.items() if now < known[0]}
        self._accounts[token] = now + CACHE_SECONDS, account
        return account

    # Login

    def login(self, request: Request) -> Response:
        """Send a browser to the hub, and remember where it wanted to go."""
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        verifier, challenge, method = self._hub.generate_pkce_code_challenge()
        name = secrets.token_hex(8)
        state = _State(path, verifier, time.time() + STATE_SECONDS)
        answer = RedirectResponse(
            f"{self._hub.login_url}&"
            + urlencode(
                {"state": name, "code_challenge": challenge, "code_challenge_method": method}
            ),
            status_code=302,
            headers={"Cache-Control": "no-store"},
        )
        content = json.dumps([state.next_path, state.verifier, state.until])
        self._set(answer, request, self._state_cookie(name), content, max_age=STATE_SECONDS)
        return answer

    async def callback(self, request: Request) -> Response:
        """Take the hub's code for a token, and go on to where the browser wanted to go."""
        name = request.query_params.get("state", "")
        state = self._state(request, name)
        code = request.query_params.get("code", "")
        if state is None or not code:
            # Too late, or not begun here: begin again.
            return RedirectResponse(self._prefix, status_code=302)
        try:
            token = await self._hub.token_for_code(code, code_verifier=state.verifier, sync=False)
        except HTTPError:
            raise HubAway(
                "JupyterHub did not complete the login.", remedy="Try again in a moment."
            ) from None
        answer = RedirectResponse(self._safe(state.next_path), status_code=302)
        answer.headers["Cache-Control"] = "no-store"
        self._clear(answer, self._state_cookie(name))
        self._set(answer, request, self._hub.cookie_name, str(token))
        return answer

    def logout(self) -> Response:
        """Forget the login here, and go to the hub's logout, which ends the token too."""
        answer = RedirectResponse(
            f"{self._hub.hub_host}{self._hub.hub_prefix}logout", status_code=302
        )
        self._clear(answer, self._hub.cookie_name)
        return answer

    def routes(self) -> APIRouter:
        """The pages of login and logout."""
        router = APIRouter(prefix=self._prefix.rstrip("/"), include_in_schema=False)

        @router.get("/oauth_callback")
        async def callback(request: Request) -> Response:
            return await self.callback(request)

        @router.get("/logout")
        async def logout() -> Response:
            return self.logout()

        return router

    # Cookies

    def _state_cookie(self, name: str) -> str:
        return f"{self._hub.state_cookie_name}-{name}"

    def _safe(self, path: str) -> str:
        parts = urlsplit(path)
        inside = not parts.scheme and not parts.netloc and parts.path.startswith(self._prefix)
        return path if inside and "\\" not in path else self._prefix

    def _state(self, request: Request, name: str) -> _State | None:
        if not name.isalnum():
            return None
        content = self._read(request, self._state_cookie(name))
        if content is None:
            return None
        state = _State(*json.loads(content))
        return state if time.time() < state.until else None

    def _cookie(self, request: Request) -> str | None:
        return self._read(request, self._hub.cookie_name)

    def _sign(self, name: str, content: str) -> str:
        return hmac.new(self._key, f"{name}={content}".encode(), hashlib.sha256).hexdigest()

    def _read(self, request: Request, name: str) -> str | None:
        signature, _, content = request.cookies.get(name, "").partition(".")
        try:
            content = bytes.fromhex(content).decode()
        except ValueError:
            return None
        right = self._sign(name, content)
        return content if content and hmac.compare_digest(signature, right) else None

    def _set(
        self,
        answer: Response,
        request: Request,
        name: str,
        content: str,
        max_age: int | None = None,
    ) -> None:
        value = f"{self._sign(name, content)}.{content.encode().hex()}"
        scheme = request.headers.get("X-Forwarded-Proto", request.url.scheme)
        options: dict[str, Any] = {
            "path": self._hub.cookie_path,
            "httponly": True,
            "samesite": "lax",
            "secure": scheme.split(",")[0].strip() == "https"
            or self._hub.cookie_host_prefix_enabled,
        }
        answer.set_cookie(name, value, max_age=max_age, **options)

    def _clear(self, answer: Response, name: str) -> None:
        secure = self._hub.cookie_host_prefix_enabled
        answer.delete_cookie(name, path=self._hub.cookie_path, httponly=True, secure=secure)


def _bearer(request: Request) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if kind.lower() in ("bearer", "token") else None


def _navigates(request: Request) -> bool:
    """Whether a person goes to an address; programs and old browsers do not say."""
    goes = request.headers.get("Sec-Fetch-Mode") in (None, "navigate")
    return goes and request.headers.get("Sec-Fetch-Dest") in (None, "document")


def _shows_picture(request: Request) -> bool:
    """Whether a page shows one of our pictures."""
    return request.headers.get("Sec-Fetch-Dest") == "image"
