"""Requests that show no credential, or none that is known: so many of one address.

A writer is limited by its credential and a reader by their name; what neither is, is limited here,
by the address it comes from: a health check, a page before the login, a token that nobody has. Who
is known is not held up by a stranger at the same address, such as that of an institute's gateway:
a request with a writer's token, or with what a reader was known by a moment ago, counts by that.

Behind the hub's proxy every address is the proxy's. What it says of where a request came from is
believed only of a proxy on this machine, and of what it says the last address alone: it writes that
itself, and what stands before it was only claimed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import time
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arcetri_accounting.ledger.errors import TooMany
from arcetri_accounting.ledger.http import problem, wants_page
from arcetri_accounting.ledger.limits import Limits

_KNOWN: Final = "arcetri_known"
_REMEMBERED_S: Final = 60.0
_MOST: Final = 10_000
_DRAINED_BYTES: Final = 1_048_576
_DRAINED_S: Final = 5.0
_MONITORING: Final = ("health", "metrics")


def recognize(request: HTTPConnection) -> None:
    """Say that a request's credential is known, and that its requests are limited by that."""
    request.scope.setdefault("state", {})[_KNOWN] = True


class Strangers:
    """Counts requests by address until it is known whose they are.

    An answer that is given before the request's body was read waits for it, where it is small:
    connections that end with something unread are reset, and the answer with them. ``page`` makes
    the answer to a browser.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        is_writer: Callable[[str], bool],
        page: Callable[[TooMany], Response] = problem,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._limits = limits
        self._is_writer = is_writer
        self._page = page
        self._clock = clock
        self._known: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        body = _Body(receive)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
            await send(message)

        credential = _credential(scope)
        who = self._counted_as(credential, scope)
        wait = self._limits.admit(who, self._clock())
        if wait:
            shown = self._page if wants_page(HTTPConnection(scope)) else problem
            await shown(_late(wait))(scope, body.receive, answer)
            return
        try:
            await self._app(scope, body.receive, answer)
        finally:
            if state.get(_KNOWN):
                self._limits.give_back(who)
                if credential:
                    self._remember(credential)

    def _counted_as(self, credential: str | None, scope: Scope) -> str:
        if credential:
            recent = self._known.get(credential, 0.0) > self._clock()
            token = Headers(scope=scope).get("authorization", "").partition(" ")[2].strip()
            if recent or (token and self._is_writer(token)):
                return f"known:{credential}"
        last = scope["path"].rpartition("/")[2]
        # Nobody's guesses at tokens may keep a monitor out.
        return f"{last if last in _MONITORING else ''}:{address(scope)}"

    def _remember(self, credential: str) -> None:
        now = self._clock()
        if len(self._known) >= _MOST:
            self._known = {one: until for one, until in self._known.items() if until > now}
        if len(self._known) < _MOST:
            self._known[credential] = now + _REMEMBERED_S


class _Body:
    """A request's body, and whether there is more of it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def receive(self) -> Message:
        """As ASGI's ``receive``."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._more = False
        return message

    async def drain(self) -> None:
        """Read what nobody has read, and forget it; not more of it than is cheap."""
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_S):
                while self._more and size <= _DRAINED_BYTES:
                    size += len((await self.receive()).get("body", b""))


def address(scope: Scope) -> str:
    """Where a request comes from; of IPv6 the network, of which one machine may have it all."""
    client = scope.get("client")
    peer = _parsed(client[0]) if client else None
    if peer is None:
        return "here"
    if peer.is_loopback:
        forwarded = Headers(scope=scope).getlist("x-forwarded-for")
        if forwarded:
            peer = _parsed(forwarded[-1].rpartition(",")[2].strip()) or peer
    if peer.version == 6:
        return str(ipaddress.ip_network((peer, 64), strict=False))
    return str(peer)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _credential(scope: Scope) -> str | None:
    """A digest of what a request shows of who sent it; None where it shows nothing."""
    headers = Headers(scope=scope)
    shown = [*headers.getlist("authorization"), *headers.getlist("cookie")]
    return hashlib.sha256("\n".join(shown).encode()).hexdigest() if shown else None


def _late(wait: int) -> TooMany:
    error = TooMany(
        "From this address comes more than the ledger answers without a token that it knows.",
        remedy=f"Log in, use a valid token, or ask again in {wait} s.",
    )
    error.wait = wait
    return error
