"""The two ways to an API server: the official client's own connections, blocking and awaiting.

Only here and in ``client`` is the ``kubernetes`` package imported, and only when it is used. How a
cluster is found, who asks, and certificates are that package's business.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from kueue_client.errors import Unreachable, from_answer
from kueue_client.lines import Lines
from kueue_client.steps import Answer, Pause, Request

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient as AsyncApiClient
    from kubernetes.client import ApiClient, Configuration

ANSWER_SECONDS: Final = 15.0
"""For one answer; a list of thousands of objects takes a second or two."""
KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Socket options by which the kernel finds within 15 seconds that the other end is gone without a
word, as where a machine died or a network was cut."""
_AUTHENTICATION: Final = ["BearerToken"]


def _asked(request: Request) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    if request.body is not None:
        headers["Content-Type"] = request.content
    return {
        "method": request.method,
        "resource_path": request.path,
        "query_params": list(request.query),
        "header_params": headers,
        "body": request.body,
        "auth_settings": _AUTHENTICATION,
    }


def keep_alive(configuration: Configuration) -> None:
    """Have the kernel look after a blocking client's connections, unless somebody has chosen."""
    if configuration.socket_options is None:
        from urllib3.connection import HTTPConnection

        # They take the place of the package's own.
        configuration.socket_options = [*HTTPConnection.default_socket_options, *KEEPALIVE]


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Transport:
    """Asks over a client that blocks."""

    def __init__(self, client: ApiClient, seconds: float = ANSWER_SECONDS) -> None:
        """Ask over ``client``, giving each answer so many seconds."""
        self._client = client
        self._seconds = seconds

    def do(self, action: Request | Pause) -> Answer | None:
        """Ask, or wait.

        Raises:
            Unreachable: No answer came.
        """
        if isinstance(action, Pause):
            time.sleep(action.seconds)
            return None
        with self._away():
            answer = self._send(action, self._seconds)
            return Answer(answer.status, answer.read() or b"")

    @contextmanager
    def stream(self, request: Request, seconds: float) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that goes on, as they come.

        Args:
            request: What is asked.
            seconds: How long there may be silence.

        Raises:
            KueueError: The server says no, or went away.
        """
        with self._away():
            answer = self._send(request, seconds)
            try:
                if answer.status >= 400:
                    raise from_answer(answer.status, answer.read() or b"", request.path)
                yield self._lines(answer.response)
            finally:
                answer.response.close()
                answer.response.release_conn()

    def _lines(self, response: Any) -> Iterator[bytes]:
        lines = Lines()
        with self._away():
            for piece in response.stream(amt=None, decode_content=True):
                yield from lines.take(piece)

    def _send(self, request: Request, seconds: float) -> Any:
        method, url, headers, body, post = self._client.param_serialize(**_asked(request))
        limits = (self._seconds, seconds)
        return self._client.call_api(method, url, headers, body, post, _request_timeout=limits)

    @contextmanager
    def _away(self) -> Iterator[None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, OSError, ApiException) as error:
            raise Unreachable(f"The API server cannot be reached: {_words(error)}.") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _transport(response: Any) -> asyncio.Transport | None:
    """What an answer comes over; None once it has come to its end."""
    found: asyncio.Transport | None = response.connection and response.connection.transport
    return found


class AsyncTransport:
    """Asks over a client that is awaited."""

    def __init__(self, client: AsyncApiClient, seconds: float = ANSWER_SECONDS) -> None:
        """Ask over ``client``, giving each answer so many seconds."""
        self._client = client
        self._seconds = seconds

    async def do(self, action: Request | Pause) -> Answer | None:
        """Ask, or wait.

        Raises:
            Unreachable: No answer came.
        """
        if isinstance(action, Pause):
            await asyncio.sleep(action.seconds)
            return None
        async with self._away(), asyncio.timeout(self._seconds):
            answer = await self._send(action, self._seconds)
            try:
                return Answer(answer.status, await answer.read())
            finally:
                answer.response.release()

    @asynccontextmanager
    async def stream(self, request: Request, seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, as they come; as that of ``Transport``."""
        async with self._away():
            answer = await self._send(request, seconds)
            try:
                if answer.status >= 400:
                    raise from_answer(answer.status, await answer.read(), request.path)
                if (transport := _transport(answer.response)) is not None:
                    found = transport.get_extra_info("socket")
                    for option in KEEPALIVE if found is not None else ():
                        found.setsockopt(*option)
                yield self._lines(answer.response)
            finally:
                # TLS's own farewell would be waited for by nobody.
                if (transport := _transport(answer.response)) is not None:
                    transport.abort()
                answer.response.close()

    async def _lines(self, response: Any) -> AsyncIterator[bytes]:
        lines = Lines()
        async with self._away():
            async for piece in response.content.iter_any():
                for line in lines.take(piece):
                    yield line

    async def _send(self, request: Request, seconds: float) -> Any:
        import aiohttp

        asked = await self._client.param_serialize(**_asked(request))
        method, url, headers, body, post = asked
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._seconds, sock_read=seconds)
        return await self._client.call_api(
            method, url, headers, body, post, _request_timeout=limits
        )

    @asynccontextmanager
    async def _away(self) -> AsyncIterator[None]:
        import aiohttp
        from kubernetes.aio.client.exceptions import ApiException

        try:
            yield
        except (aiohttp.ClientError, OSError, ApiException) as error:  # TimeoutError is an OSError
            raise Unreachable(f"The API server cannot be reached: {_words(error)}.") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
