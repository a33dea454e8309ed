"""What every request passes first: whose host it names, how much it sends, what is to go wrong.

Loopback alone does not keep a hostile web page out: a browser on this machine can be pointed at
this port under the page's own name (DNS rebinding). So the ``Host`` must be a loopback name.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arcetri_hub.devidp.faults import WIRE_PATHS, Fault, Faults, Traffic

MAX_BODY = 256 * 1024
_SERVER_ERROR = "<!doctype html><title>Error</title><h1>Internal server error</h1>\n"


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address (no port) means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _names_this_machine(host_header: str | None) -> bool:
    if not host_header:
        return False
    try:
        host = urlsplit(f"//{host_header}").hostname
    except ValueError:
        return False
    return host is not None and is_loopback_host(host)


class Guard:
    """ASGI middleware: host check, size limit, security headers, faults, traffic counters."""

    def __init__(
        self, app: ASGIApp, *, faults: Faults, traffic: Traffic, policy: Callable[[], str]
    ) -> None:
        self.app = app
        self._faults = faults
        self._traffic = traffic
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not _names_this_machine(headers.get("host")):
            sentence = "The development IAM answers only as 127.0.0.1, [::1] or localhost.\n"
            await PlainTextResponse(sentence, 421)(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY or "transfer-encoding" in headers:
            await PlainTextResponse("The request is too large.\n", 413)(scope, receive, send)
            return
        path = scope["path"]
        if path not in WIRE_PATHS:
            await self.app(scope, receive, self._with_headers(send))
            return
        self._traffic.begin(path)
        try:
            faults = self._faults.take(path)
            await self._misbehave(faults, scope, receive, self._with_headers(send))
        finally:
            self._traffic.end(path)

    async def _misbehave(
        self, faults: list[Fault], scope: Scope, receive: Receive, send: Send
    ) -> None:
        for fault in faults:
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
        for fault in faults:
            if fault.kind == "error":
                await HTMLResponse(_SERVER_ERROR, fault.status)(scope, receive, send)
                return
        late = sum(fault.seconds for fault in faults if fault.kind == "late")
        if not late:
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await self.app(scope, receive, hold)
        await asyncio.sleep(late)
        for message in held:
            await send(message)

    def _with_headers(self, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", self._policy())
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("X-Frame-Options", "DENY")
                headers.setdefault("Referrer-Policy", "same-origin")
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return wrapped
