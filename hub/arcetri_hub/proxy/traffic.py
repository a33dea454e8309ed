"""Passes requests and web sockets on, piece by piece as they come."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog
from tornado.http1connection import HTTP1Connection
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    WebSocketHandler,
    websocket_connect,
)

from arcetri_hub.proxy.exchange import CHUNKED, UNBOUNDED, Exchange
from arcetri_hub.proxy.headers import has_body, to_browser, to_target
from arcetri_hub.proxy.targets import CONNECT_TIMEOUT, Target, Targets

log = structlog.get_logger(__name__)

HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds in which a target must say whether it takes a web socket."""
MESSAGE_LIMIT: Final = 100 * 1000 * 1000
"""Bytes of one web socket message, which is kept whole while it passes: a cell's output is one.
Just below what tornado's client can keep."""

_UNSENDABLE: Final = frozenset({1004, 1005, 1006, 1015})
"""Close codes that stand for what no frame may say (RFC 6455, section 7.4.1)."""


@stream_request_body
class Traffic(WebSocketHandler):
    """One request of a browser, and the one it becomes behind the proxy."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self, targets: Targets) -> None:
        """Take who knows the targets."""
        self._targets = targets
        self._target: Target | None = None
        self._has_body = False
        self._begun = False
        self._gone = False
        self._exchange: Exchange | None = None
        self._opening: asyncio.Future[None] | None = None
        self._answering: asyncio.Future[None] | None = None
        self._upstream: WebSocketClientConnection | None = None

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - the target judges it
        """Pass it on."""
        return True

    def set_default_headers(self) -> None:
        """Say nothing of our own: the answer's headers are the target's."""
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def check_xsrf_cookie(self) -> None:
        """The target checks its own."""

    def compute_etag(self) -> None:
        """The target's, if it has one."""
        return

    def prepare(self) -> None:
        """Begin to ask the target once the headers are here; a body follows piece by piece.

        Raises:
            HTTPError: There is no route, or a body comes in a form that cannot be passed on.
        """
        try:
            self._has_body = has_body(self.request.headers)
        except ValueError as error:
            raise HTTPError(400, str(error)) from error
        self._target = self._targets.find(self.request.path, self.request.uri or "/")
        if self._target is None:
            raise HTTPError(404)
        if self._is_socket():
            return
        if "Transfer-Encoding" in self.request.headers and self.request.method not in CHUNKED:
            raise HTTPError(411)
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(UNBOUNDED)
        self._opening = asyncio.ensure_future(self._ask(self._target))

    async def get(self, *args: str, **kwargs: str) -> None:
        """Pass a page or a web socket on."""
        if not self._is_socket():
            await self._pass_on()
        elif self._target is not None and await self._reach(self._target):
            await super().get(*args, **kwargs)
            if self.get_status() != 101:
                self._hang_up()

    async def _pass_on(self, *_args: str, **_kwargs: str) -> None:
        """See the answer to its end; the whole body has arrived."""
        if self._opening is not None:
            await self._opening
        if self._exchange is not None and self._answering is not None and not self._gone:
            self._exchange.end()
            await self._answering

    head = post = delete = patch = put = options = _pass_on

    def on_connection_close(self) -> None:
        """The browser went away: what is asked for it ends too."""
        self._gone = True
        if self._exchange is not None:
            self._exchange.abandon()
        super().on_connection_close()
        # What a web socket's handler leaves out: whoever waits for the body must not for ever.
        RequestHandler.on_connection_close(self)

    def _is_socket(self) -> bool:
        upgrade = self.request.headers.get("Upgrade", "").lower()
        return self.request.method == "GET" and upgrade == "websocket"

    def _passed_headers(self) -> HTTPHeaders:
        return to_target(
            self.request.headers,
            remote_ip=self.request.remote_ip or "",
            protocol=self.request.protocol,
            socket=self._is_socket(),
        )

    def _active(self) -> None:
        if self._target is not None:
            self._targets.active(self._target)

    # Requests

    async def _ask(self, target: Target) -> None:
        try:
            stream = await self._targets.connect(target)
        except (OSError, StreamClosedError) as error:
            await self._unreachable(str(error))
            return
        if self._gone:
            stream.close()
            return
        self._exchange = Exchange(stream, self._begin, self._take)
        self._exchange.ask(
            self.request.method or "GET",
            target.path,
            self._passed_headers(),
            body=self._has_body,
        )
        self._answering = asyncio.ensure_future(self._answer(self._exchange))

    async def data_received(self, chunk: bytes) -> None:
        """Pass a piece of the body on, and read the next when the target has taken it."""
        if self._opening is not None:
            await self._opening
        if self._exchange is not None and not self._gone:
            await self._exchange.write(chunk)

    async def _begin(self, start_line: ResponseStartLine, headers: HTTPHeaders) -> None:
        """Send the answer's headers at once: an event stream may have nothing else to say yet."""
        if self._gone:
            return
        self.set_status(start_line.code, start_line.reason or None)
        self._set_all(to_browser(headers))
        self._begun = True
        with contextlib.suppress(StreamClosedError):
            await self.flush()

    async def _take(self, chunk: bytes) -> None:
        """Pass a piece on, and wait until the browser has taken it."""
        if self._gone:
            return
        self.write(chunk)
        with contextlib.suppress(StreamClosedError):
            await self.flush()

    async def _answer(self, exchange: Exchange) -> None:
        complete = await exchange.answered
        if self._gone:
            return
        if not complete:
            await self._unreachable("it broke off")
            return
        # Only what worked is activity: refusals must not keep a session alive.
        if self.get_status() < 300:
            self._active()
        await self._end()

    def _set_all(self, headers: list[tuple[str, str]]) -> None:
        seen: set[str] = set()
        for name, value in headers:
            if name.lower() in seen:
                self.add_header(name, value)
            else:
                self.set_header(name, value)
            seen.add(name.lower())

    async def _end(self) -> None:
        with contextlib.suppress(StreamClosedError):
            if not self._finished:
                await self.finish()

    async def _unreachable(self, why: str) -> None:
        log.warning("nothing answers", method=self.request.method, path=self.request.path, why=why)
        if self._begun:
            # Part of an answer is out: only a broken connection tells that the rest is missing.
            self._gone = True
            if isinstance(self.request.connection, HTTP1Connection):
                self.request.connection.close()
            return
        prefix = self._target.prefix if self._target is not None else ""
        page = await self._targets.page(prefix, self.request.path)
        if self._gone:
            return
        self.clear()
        self.set_status(503)
        for name, value in page.headers.items():
            self.set_header(name, value)
        self.write(page.body)
        await self._end()

    # Web sockets

    async def _reach(self, target: Target) -> bool:
        """Reach the target first: a browser must not be told yes before it is."""
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        wanted = [one.strip() for one in offered if one.strip()]
        request = HTTPRequest(
            target.socket_url,
            headers=self._passed_headers(),
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=HANDSHAKE_TIMEOUT,
        )
        try:
            upstream = await websocket_connect(
                request, subprotocols=wanted or None, max_message_size=MESSAGE_LIMIT
            )
        except HTTPClientError as error:
            await self._refused(error)
            return False
        except (OSError, StreamClosedError, WebSocketError) as error:
            await self._unreachable(str(error))
            return False
        if self._gone:
            upstream.close()
            return False
        self._upstream = upstream
        for cookie in (upstream.headers or HTTPHeaders()).get_list("Set-Cookie"):
            self.add_header("Set-Cookie", cookie)
        return True

    async def _refused(self, error: HTTPClientError) -> None:
        """Pass on what the target said instead of "yes"."""
        if error.code == 599 or error.response is None:  # tornado's number for no answer at all
            await self._unreachable(str(error))
            return
        self.set_status(error.code, error.response.reason or None)
        self._set_all(
            [one for one in to_browser(error.response.headers) if one[0] != "Content-Length"]
        )
        self.write(error.response.body)
        await self._end()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """What the target chose."""
        chosen = self._upstream.selected_subprotocol if self._upstream is not None else None
        return chosen if chosen in subprotocols else None

    def open(self, *_args: str, **_kwargs: str) -> None:
        """Listen to the target, now that the browser does."""
        self._answering = asyncio.ensure_future(self._listen())

    async def on_message(self, message: str | bytes) -> None:
        """From the browser to the target; the next is read when the target has taken it."""
        self._active()
        if self._upstream is not None:
            with contextlib.suppress(WebSocketClosedError):
                await self._upstream.write_message(message, binary=isinstance(message, bytes))

    async def _listen(self) -> None:
        """From the target to the browser; the next is read when the browser has taken it."""
        while (upstream := self._upstream) is not None:
            message = await upstream.read_message()
            if message is None:
                self._upstream = None
                self.close(*_sendable(upstream.close_code, upstream.close_reason))
                upstream.close()
                return
            self._active()
            with contextlib.suppress(WebSocketClosedError):
                await self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        """The browser closed it."""
        self._hang_up(self.close_code, self.close_reason)

    def _hang_up(self, code: int | None = None, reason: str | None = None) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close(*_sendable(code, reason))


def _sendable(code: int | None, reason: str | None) -> tuple[int | None, str | None]:
    """A close code and its reason, as far as a frame may carry them on."""
    if code is None or code in _UNSENDABLE or not 1000 <= code < 5000:
        return None, None
    return code, reason
