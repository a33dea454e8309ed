"""Passes requests and web sockets on, byte by byte as they come."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final
from urllib.parse import quote, urlsplit

import structlog
from configurable_http_proxy.configproxy import PythonProxy
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, parse_response_start_line
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import HTTPError
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketHandler,
    websocket_connect,
)

from arcetri_hub.proxy import away

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT: Final = 10.0
MESSAGE_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of one web socket message: a cell's output is one."""
BODY_LIMIT: Final = 1024 * 1024 * 1024
"""Bytes of one request; JupyterLab uploads in pieces of one MiB."""

_HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_SOCKET_ONLY: Final = frozenset(
    {
        "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)  # fmt: skip


def new_client() -> SimpleAsyncHTTPClient:
    """The client that asks the targets; one serves all requests."""
    return SimpleAsyncHTTPClient(
        force_instance=True, max_clients=10_000, max_body_size=2**63 - 1, max_buffer_size=2**20 * 16
    )


class Traffic(WebSocketHandler):
    """One request of a browser, and the one it becomes behind the proxy."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self, proxy: PythonProxy, client: SimpleAsyncHTTPClient) -> None:
        """Take the route table, and who asks the targets."""
        self._proxy = proxy
        self._client = client
        self._prefix = ""
        self._begun = False
        self._gone = False
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

    async def get(self, *args: str, **kwargs: str) -> None:
        """Pass a page or a web socket on."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            await self._pass_on()
            return
        if await self._connect():
            await super().get(*args, **kwargs)
            if self.get_status() != 101:
                self._hang_up()

    async def _other(self, *_args: str, **_kwargs: str) -> None:
        await self._pass_on()

    head = post = delete = patch = put = options = _other

    def _target(self) -> str:
        """The address behind the proxy, with path and query exactly as they came."""
        found = self._proxy.target_for_req(None, self.request.path)
        if found is None:
            raise HTTPError(404)
        self._prefix = found["prefix"]
        target = str(found["target"]).rstrip("/")
        return target + self.request.uri

    def _to_pass_on(self, *, without: frozenset[str] = _HOP_BY_HOP) -> HTTPHeaders:
        named = {
            one.strip().lower() for one in self.request.headers.get("Connection", "").split(",")
        }
        headers = HTTPHeaders()
        for name, value in self.request.headers.get_all():
            if name.lower() not in without and name.lower() not in named:
                headers.add(name, value)
        host = self.request.headers.get("Host", "")
        # Whatever a browser claims here is not believed: the proxy is the first to see it.
        headers["X-Forwarded-For"] = self.request.remote_ip or ""
        headers["X-Forwarded-Host"] = host
        headers["X-Forwarded-Proto"] = self.request.protocol
        port = urlsplit(f"//{host}").port if _has_port(host) else None
        headers["X-Forwarded-Port"] = str(port or (443 if self.request.protocol == "https" else 80))
        return headers

    async def _pass_on(self) -> None:
        url = self._target()
        request = HTTPRequest(
            url,
            method=self.request.method or "GET",
            headers=self._to_pass_on(),
            body=self.request.body or None,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            decompress_response=False,
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=0,
            header_callback=self._take_header,
            streaming_callback=self._take_chunk,
        )
        try:
            response: HTTPResponse = await self._client.fetch(request, raise_error=False)
        except (OSError, StreamClosedError) as error:
            await self._unreachable(error)
            return
        if self._gone:
            return
        if response.code == 599:
            await self._unreachable(response.error)
            return
        self._count(response.code)
        await self._end()

    def _take_header(self, line: str) -> None:
        """Begin the answer; called for its first line, each header, and the empty line."""
        line = line.rstrip("\r\n")
        if line.startswith("HTTP/"):
            start = parse_response_start_line(line)
            self._headers_out = HTTPHeaders()
            self.set_status(start.code, start.reason)
        elif line:
            self._headers_out.parse_line(line + "\r\n")
        else:
            self._begin(self._headers_out)

    def _begin(self, headers: HTTPHeaders) -> None:
        seen: set[str] = set()
        for name, value in headers.get_all():
            if name.lower() in _HOP_BY_HOP:
                continue
            if name.lower() in seen:
                self.add_header(name, value)
            else:
                self.set_header(name, value)
            seen.add(name.lower())
        self._begun = True

    async def _take_chunk(self, chunk: bytes) -> None:
        """Pass a piece on, and wait until the browser has taken it."""
        if self._gone:
            raise StreamClosedError
        self.write(chunk)
        try:
            await self.flush()
        except StreamClosedError:
            self._gone = True
            # Ends the request behind the proxy too: nobody reads it any more.
            raise

    def compute_etag(self) -> None:
        """The target's, if it has one."""
        return

    async def _end(self) -> None:
        with contextlib.suppress(StreamClosedError):
            if not self._finished:
                await self.finish()

    def on_connection_close(self) -> None:
        """The browser went away."""
        self._gone = True
        super().on_connection_close()

    def _count(self, status: int) -> None:
        """Only what worked is activity: refusals must not keep a session alive."""
        if status < 300 and self._prefix:
            self._proxy.update_last_activity(self._prefix)

    async def _unreachable(self, error: object) -> None:
        log.warning(
            "nothing answers", method=self.request.method, path=self.request.path, why=str(error)
        )
        if self._begun:
            # Part of an answer is out: only a broken connection tells that the rest is missing.
            if (connection := self.request.connection) is not None:
                connection.finish()
            return
        page = await self._error_page()
        self.clear()
        self.set_status(503)
        for name, value in away.HEADERS.items():
            self.set_header(name, value)
        self.write(page if self.request.method != "HEAD" else b"")
        await self._end()

    async def _error_page(self) -> bytes:
        """The hub's own page for a session that does not answer; ours when the hub is away too."""
        if self._prefix not in ("", "/") and self._proxy.error_target:
            url = f"{self._proxy.error_target}503?url={quote(self.request.path)}"
            with contextlib.suppress(Exception):
                response = await self._client.fetch(url, request_timeout=5, raise_error=False)
                if response.body and response.code != 599:
                    return bytes(response.body)
        return away.AWAY.encode()

    # Web sockets

    async def _connect(self) -> bool:
        """Reach the target first: a browser must not be told yes before it is."""
        url = self._target()
        wanted = [
            one.strip()
            for one in self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            if one.strip()
        ]
        request = HTTPRequest(
            "ws" + url.removeprefix("http"),
            headers=self._to_pass_on(without=_HOP_BY_HOP | _SOCKET_ONLY),
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=60,
        )
        try:
            self._upstream = await websocket_connect(
                request,
                subprotocols=wanted or None,
                on_message_callback=self._from_target,
                max_message_size=MESSAGE_LIMIT,
            )
        except HTTPClientError as error:
            self.set_status(error.code)
            await self._end()
            return False
        except (OSError, StreamClosedError, TimeoutError) as error:
            await self._unreachable(error)
            return False
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:  # noqa: ARG002
        """What the target chose."""
        return self._upstream.selected_subprotocol if self._upstream else None

    def on_message(self, message: str | bytes) -> Any:
        """From the browser to the target."""
        self._count(200)
        if self._upstream is None:
            return None
        return self._upstream.write_message(message, binary=isinstance(message, bytes))

    def _from_target(self, message: str | bytes | None) -> None:
        if message is None:
            code = self._upstream.close_code if self._upstream else None
            reason = self._upstream.close_reason if self._upstream else None
            self._upstream = None
            self.close(code, reason)
            return
        self._count(200)
        with contextlib.suppress(WebSocketClosedError, StreamClosedError):
            writing = self.write_message(message, binary=isinstance(message, bytes))
            writing.add_done_callback(_look)

    def on_close(self) -> None:
        """The browser closed it."""
        self._hang_up(self.close_code, self.close_reason)

    def _hang_up(self, code: int | None = None, reason: str | None = None) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            # 1005 and 1006 stand for "none given" and may not be sent.
            upstream.close(code if code not in (1005, 1006) else None, reason)


def _look(writing: asyncio.Future[Any]) -> None:
    """Take note of a write that came too late, so that nobody calls it unobserved."""
    if not writing.cancelled():
        writing.exception()


def _has_port(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").port is not None
    except ValueError:
        return False
