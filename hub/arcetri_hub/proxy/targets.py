"""Where requests go: the route table, and connections to what it names."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from configurable_http_proxy.configproxy import PythonProxy
from tornado.iostream import IOStream
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.tcpclient import TCPClient

from arcetri_hub.proxy import away

CONNECT_TIMEOUT: Final = 10.0
"""Seconds: targets are on this machine."""
PAGE_TIMEOUT: Final = 5.0
"""Seconds in which the hub must make a page about an error."""
_NEVER: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes."""

    prefix: str
    """The route it was found under."""
    host: str
    port: int
    path: str
    """Path and query as the target is to see them, exactly as they came."""

    @property
    def socket_url(self) -> str:
        """The address of a web socket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}{self.path}"


class Routes(PythonProxy):
    """The library's route table and API, with moments that JupyterHub reads as they are meant."""

    def add_route(self, path: str, data: dict[str, Any]) -> None:
        """Add a route, which nobody has used by that: a proxy that is back must not say so."""
        super().add_route(path, data)
        self._note(path, _NEVER)

    def update_last_activity(self, prefix: str) -> None:
        """Note that a route was used."""
        # The library notes local time and does not say so, and JupyterHub takes it for UTC.
        self._note(prefix, datetime.now(UTC))

    def _note(self, prefix: str, moment: datetime) -> None:
        prefix = self._routes.clean_path(prefix)
        if self._routes.get(prefix):
            self._routes.update(prefix, {"last_activity": moment})


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser is shown when nothing answers."""

    body: bytes
    headers: dict[str, str]


class Targets:
    """The route table, and who connects to what it names; one serves all requests."""

    def __init__(self, proxy: Routes) -> None:
        self._proxy = proxy
        self._tcp = TCPClient()
        self._pages = SimpleAsyncHTTPClient(force_instance=True, max_clients=1000)

    def find(self, path: str, uri: str) -> Target | None:
        """The target of a path; None when there is no route."""
        found = self._proxy.target_for_req(None, path)
        if found is None:
            return None
        address = urlsplit(str(found["target"]))
        return Target(
            prefix=str(found["prefix"]),
            host=address.hostname or "127.0.0.1",
            port=address.port or 80,
            path=address.path.rstrip("/") + uri,
        )

    async def connect(self, target: Target) -> IOStream:
        """A new connection.

        Raises:
            OSError: Nothing answers.
            StreamClosedError: Nothing answers.
        """
        return await self._tcp.connect(target.host, target.port, timeout=CONNECT_TIMEOUT)

    def active(self, target: Target) -> None:
        """Note that a route was used."""
        self._proxy.update_last_activity(target.prefix)

    async def page(self, prefix: str, path: str) -> Page:
        """The hub's own page for a session that does not answer; ours when the hub is away too."""
        if prefix not in ("", "/") and self._proxy.error_target:
            url = f"{self._proxy.error_target}503?url={quote(path)}"
            # Whatever is wrong with the hub now, there is a page.
            with contextlib.suppress(Exception):
                response = await self._pages.fetch(
                    url, request_timeout=PAGE_TIMEOUT, raise_error=False
                )
                if response.body and response.code != 599:
                    kept = {
                        name: response.headers[name]
                        for name in ("Content-Type", "Content-Security-Policy")
                        if name in response.headers
                    }
                    return Page(bytes(response.body), {**away.HEADERS, **kept})
        return Page(away.AWAY.encode(), dict(away.HEADERS))
