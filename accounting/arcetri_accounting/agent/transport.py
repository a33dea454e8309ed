"""One kept connection to the ledger.

Answers are read by httptools, which is llhttp: the standard library's client reads headers as those
of an e-mail, and took a fifth of the time that the agent takes in all. What it adds beside that, a
request that is always the same needs nothing of.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httptools

MAX_ANSWER: Final = 1024 * 1024
_CHUNK: Final = 16_384


class Unreachable(Exception):
    """No whole answer came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Transport:
    """Posts batches to ``URL/api/v1/batches``; one thread uses it."""

    def __init__(self, url: str, token: Callable[[], str], timeout: float = 10.0) -> None:
        """Talk to the ledger at ``url``; ``token`` is asked at every request.

        Raises:
            ValueError: The URL is none of http or https, or has parts that it must not have.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is no http:// or https:// URL of a ledger")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("the ledger's URL may have a host, a port and a path, nothing else")
        if not _plain(url) or " " in url:
            raise ValueError("the ledger's URL may have no spaces and no letters beyond ASCII")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._place = parts.hostname, parts.port or (443 if self._tls else 80)
        self._head = (
            f"POST {parts.path.rstrip('/')}/api/v1/batches HTTP/1.1\r\n"
            f"Host: {parts.netloc}\r\nUser-Agent: arcetri-agent\r\nAccept-Encoding: identity\r\n"
            "Content-Type: application/json\r\n"
        )
        self._token = token
        self._timeout = timeout
        self._connection: socket.socket | None = None

    def post(self, body: bytes, timeout: float | None = None) -> Answer:
        """Send a batch and read the whole answer.

        Raises:
            Unreachable: It cannot be sent, or no whole answer came in time.
            OSError: The token's file cannot be read.
        """
        token = self._token()
        if not _plain(token):
            raise Unreachable("the token has letters that no token has: check --token-file")
        head = f"{self._head}Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        request = head.encode("ascii") + body
        limit = self._timeout if timeout is None else timeout
        kept = self._connection is not None
        try:
            return self._once(request, limit)
        except Unreachable:
            # A connection that was kept may have been closed by the other side meanwhile. A batch
            # that arrives twice is stored once.
            if not kept:
                raise
        return self._once(request, limit)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None

    def _once(self, request: bytes, limit: float) -> Answer:
        deadline = time.monotonic() + limit
        try:
            if self._connection is None:
                self._connection = self._connect(limit)
            self._connection.settimeout(limit)
            self._connection.sendall(request)
            reader = _Reader()
            while not reader.whole:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the answer takes too long")
                self._connection.settimeout(left)
                reader.take(self._connection.recv(_CHUNK))
        except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if not reader.keeps_open:
            self.close()
        return Answer(reader.status, reader.body)

    def _connect(self, limit: float) -> socket.socket:
        plain = socket.create_connection(self._place, limit)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return plain
            return self._tls.wrap_socket(plain, server_hostname=self._place[0])
        except BaseException:
            plain.close()
            raise


class _Reader:
    """Reads one answer; the parser calls the methods that begin with ``on``."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.whole = False
        self.keeps_open = False
        """Another request may follow on this connection."""
        self._taken = 0
        self._measured = False
        """It says how long it is; one that does not ends with the connection."""
        self._parser = httptools.HttpResponseParser(self)

    def take(self, data: bytes) -> None:
        """Take what came; nothing where the other side has closed the connection.

        Raises:
            OSError: The answer was cut off, or is too long.
            HttpParserError: It is none.
        """
        if not data:
            if not self.status or self._measured:
                raise ConnectionError("the connection was closed before the answer was whole")
            self.whole = True
            return
        self._taken += len(data)
        self._parser.feed_data(data)
        if self._taken > MAX_ANSWER:
            raise ConnectionError("the answer is too long")

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002 - they are two
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._measured = True

    def on_headers_complete(self) -> None:
        # One that only says that the real one is yet to come does not count.
        status = self._parser.get_status_code()
        self.status = status if status >= 200 else 0
        self.keeps_open = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.whole = self.status > 0


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
