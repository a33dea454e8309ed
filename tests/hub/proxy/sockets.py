"""Web sockets of the tests' own: a target that does as it is told, and a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from tests.hub.proxy.wire import Proxy

LIMIT = 200_000_000
"""Bytes of a message; more than the proxy's."""


class Target:
    """What the sockets of a target saw; its one socket so far."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[Handler] = asyncio.Queue()
        self.closed: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.offered: list[str] = []
        self.chosen: str | None = None
        self.greeting: list[str | bytes] = []
        self.cookie = ""
        self.refusal = 0


class Handler(WebSocketHandler):
    """A socket of a target."""

    def initialize(self, target: Target) -> None:
        self.target = target

    def prepare(self) -> None:
        if self.target.refusal:
            self.set_status(self.target.refusal)
            self.set_header("X-Why", "because")
            self.finish("not for you")
        if self.target.cookie:
            self.add_header("Set-Cookie", self.target.cookie)

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        self.target.offered = subprotocols
        return self.target.chosen

    def open(self, *_args: str, **_kwargs: str) -> None:
        for message in self.target.greeting:
            self.write_message(message, binary=isinstance(message, bytes))
        self.target.opened.put_nowait(self)

    def on_message(self, message: str | bytes) -> None:
        self.target.messages.put_nowait(message)

    def on_close(self) -> None:
        self.target.closed.put_nowait((self.close_code, self.close_reason))


@asynccontextmanager
async def target(proxy: Proxy, route: str) -> AsyncIterator[Target]:
    """A target behind a route of the proxy."""
    made = Target()
    server = HTTPServer(
        Application([(r"/.*", Handler, {"target": made})], websocket_max_message_size=LIMIT),
        max_buffer_size=LIMIT,
    )
    sock, port = bind_unused_port()
    server.add_sockets([sock])
    proxy.route(route, port)
    try:
        yield made
    finally:
        server.stop()
        await server.close_all_connections()


@asynccontextmanager
async def browser(
    proxy: Proxy, path: str, *, subprotocols: list[str] | None = None, **headers: str
) -> AsyncIterator[WebSocketClientConnection]:
    """A socket through the proxy."""
    request = HTTPRequest(f"ws://127.0.0.1:{proxy.port}{path}", headers=headers)
    socket = await websocket_connect(request, subprotocols=subprotocols, max_message_size=LIMIT)
    try:
        yield socket
    finally:
        socket.close()


async def closing(socket: WebSocketClientConnection) -> tuple[Any, Any]:
    """The code and reason a browser's socket is closed with."""
    assert await socket.read_message() is None
    return socket.close_code, socket.close_reason
