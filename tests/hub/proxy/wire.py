"""The proxy in a process of its own, targets of the tests' own making, and browsers at the wire."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from arcetri_hub.up import ports

TOKEN = "the secret of the routes"
PATIENCE = 30.0
"""Seconds; a bound for a busy machine."""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    port: int
    api_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self) -> httpx.Client:
        """A client of the routes' API; use it in a ``with``."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.api_port}/api/routes",
            headers={"Authorization": f"token {TOKEN}"},
            trust_env=False,
        )

    def route(self, prefix: str, port: int) -> None:
        """Lead what begins with ``prefix`` to a port of this machine."""
        with self.api() as api:
            answer = api.post(prefix, json={"target": f"http://127.0.0.1:{port}"})
            assert answer.status_code == 201, answer.text

    def last_activity(self, prefix: str) -> str:
        """When a route was last used."""
        with self.api() as api:
            return str(api.get("").json()[prefix]["last_activity"])

    def said(self) -> str:
        """Its log."""
        return self.log.read_text()


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Proxy]:
    """Start a proxy and wait until it answers."""
    port = ports.choose()
    api_port = ports.choose(taken=[port])
    log = folder / "proxy.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "arcetri_hub.proxy"),
                *("--port", str(port), "--api-port", str(api_port), *options),
            ],
            env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN, "TZ": "Europe/Rome"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )
    proxy = Proxy(port, api_port, process, log)
    try:
        deadline = time.monotonic() + PATIENCE
        with proxy.api() as api:
            while True:
                assert process.poll() is None, proxy.said()
                assert time.monotonic() < deadline, proxy.said()
                try:
                    assert api.get("").status_code == 200
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
        yield proxy
    finally:
        process.terminate()
        process.wait(10)


@dataclass(slots=True)
class Wire:
    """One connection: what has been read of its message's head, and the streams for the rest."""

    start: str
    """The request's or the answer's first line."""
    headers: list[tuple[str, str]]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The one value of a header."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def names(self) -> set[str]:
        """The headers' names in lower case."""
        return {key.lower() for key, _value in self.headers}

    async def say(self, text: str | bytes) -> None:
        """Send something, as it is."""
        self.writer.write(text.encode("latin-1") if isinstance(text, str) else text)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", *headers: str, status: str = "200 OK") -> None:
        """Send a whole answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.say("\r\n".join(lines).encode("latin-1") + body)

    async def body(self) -> bytes:
        """The message's body, whichever way it comes."""
        if self.all("Content-Length"):
            return await self.reader.readexactly(int(self.one("Content-Length")))
        body = b""
        while piece := await self.chunk():
            body += piece
        return body

    async def chunk(self) -> bytes:
        """The next chunk of a body that comes in chunks; empty for the last."""
        size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
        piece = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return piece


async def read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
    """Read up to the empty line."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = head[:-4].split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (one.partition(":") for one in lines)]
    return Wire(start, headers, reader, writer)


Handler = Callable[[Wire], Awaitable[None]]


@asynccontextmanager
async def target(handle: Handler) -> AsyncIterator[int]:
    """A server that calls ``handle`` with each request; its port. What ``handle`` raises, raises.

    Each connection has one request.
    """
    failures: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(await read_head(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the proxy left
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
    if failures:
        raise failures[0]


@asynccontextmanager
async def browser(port: int, request: str | bytes) -> AsyncIterator[Wire]:
    """Send a request as it is; read the answer's head with ``read_head``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    wire = Wire("", [], reader, writer)
    try:
        await wire.say(request)
        yield wire
    finally:
        writer.close()


async def head(wire: Wire) -> Wire:
    """The answer to what a browser asked."""
    return await read_head(wire.reader, wire.writer)


def get(path: str, *headers: str) -> str:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: hub.example", *headers, "", ""])


async def until_still(count: Callable[[], int]) -> int:
    """A count, once it has not changed for half a second."""
    before = -1
    while before != (now := count()):
        before = now
        await asyncio.sleep(0.5)
    return before
