"""One request to a target and its answer, both in pieces as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError

from arcetri_hub.proxy.headers import has_body

UNBOUNDED: Final = 2**63 - 1
"""Bytes of a body: nothing is kept here, and how much is too much is for the target to say."""
CHUNKED: Final = ("POST", "PUT", "PATCH")
"""The methods whose body tornado sends in chunks when its length is not known."""

Begin = Callable[[ResponseStartLine, HTTPHeaders], Awaitable[None]]
Take = Callable[[bytes], Awaitable[None]]


class Exchange(HTTPMessageDelegate):
    """A request on a connection of its own; whoever holds it writes, and is called with the answer.

    The answer is read from the start, so that a target may refuse a body it has not seen the end
    of. The next piece is read when ``take`` has returned: a slow browser slows the target.
    """

    def __init__(self, stream: IOStream, begin: Begin, take: Take) -> None:
        self._stream = stream
        self._begin = begin
        self._take = take
        stream.set_nodelay(True)
        self._connection = HTTP1Connection(
            stream,
            is_client=True,
            params=HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=UNBOUNDED),
        )
        self.answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether the answer came to its end; False when the target broke off."""
        self._reading: asyncio.Future[None] | None = None

    # Asking

    def ask(self, method: str, path: str, headers: HTTPHeaders, *, body: bool) -> None:
        """Send the request line and the headers, and begin to read.

        Args:
            method: Of the request.
            path: Path and query, exactly as the target is to see them.
            headers: Without those of a connection.
            body: Whether pieces of a body follow: in chunks, unless its length is among the
                headers.
        """
        headers["Connection"] = "close"
        if not body and method in CHUNKED:
            headers["Content-Length"] = "0"
        self._connection.write_headers(RequestStartLine(method, path, "HTTP/1.1"), headers)
        self._reading = asyncio.ensure_future(self._read())

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body, and wait until the target has taken it."""
        # A target that is gone is noticed where its answer is read.
        with contextlib.suppress(StreamClosedError):
            await self._connection.write(chunk)

    def end(self) -> None:
        """Say that the body is complete."""
        self._connection.finish()

    def abandon(self) -> None:
        """End it at once: nobody waits for the answer any more."""
        self._stream.close()

    async def _read(self) -> None:
        try:
            with contextlib.suppress(StreamClosedError):
                await self._connection.read_response(self)
        finally:
            self._settle(complete=False)
            self._stream.close()

    def _settle(self, *, complete: bool) -> None:
        if not self.answered.done():
            self.answered.set_result(complete)

    # What tornado tells of the answer

    async def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Pass the headers on; "100 Continue" and its like are for the proxy.

        Raises:
            HTTPInputError: The browser might see another end of the answer than the proxy.
        """
        if isinstance(start_line, ResponseStartLine) and start_line.code >= 200:
            try:
                has_body(headers)
            except ValueError as error:
                raise HTTPInputError(str(error)) from error
            await self._begin(start_line, headers)

    async def data_received(self, chunk: bytes) -> None:
        """Pass a piece on."""
        await self._take(chunk)

    def finish(self) -> None:
        """Take note that the answer is complete."""
        self._settle(complete=True)

    def on_connection_close(self) -> None:
        """Take note that the target broke off."""
        self._settle(complete=False)
