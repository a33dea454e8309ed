"""Requests and answers that try to be read differently by the next one."""

from __future__ import annotations

import asyncio

import pytest

from tests.hub.proxy.wire import PATIENCE, Proxy, Wire, browser, get, head, target

pytestmark = pytest.mark.component

REFUSED = {
    "both lengths": "POST /hostile/ HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST /hostile/ HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
    "Content-Length: 5\r\n\r\nabcde",
    "an odd length": "POST /hostile/ HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd",
    "an odd encoding": "POST /hostile/ HTTP/1.1\r\nHost: h\r\n"
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a header of two lines": "GET /hostile/ HTTP/1.1\r\nHost: h\r\nX-A: 1\rX-B: 2\r\n\r\n",
    "a nul": "GET /hostile/ HTTP/1.1\r\nHost: h\r\nX-A: \0\r\n\r\n",
    "a space before the colon": "GET /hostile/ HTTP/1.1\r\nHost: h\r\nX-A : 1\r\n\r\n",
    "two hosts": "GET /hostile/ HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
    "no host": "GET /hostile/ HTTP/1.1\r\n\r\n",
    "a path with a space": "GET /hostile/a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "another's address": "GET http://elsewhere.example/hostile/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "a tunnel": "CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    "a trace": "TRACE /hostile/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "headers without end": "GET /hostile/ HTTP/1.1\r\nHost: h\r\nX-A: " + "a" * 200_000,
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
async def test_what_could_be_read_in_two_ways_reaches_no_target(
    proxy: Proxy, request_: str
) -> None:
    seen: list[str] = []

    async def handle(wire: Wire) -> None:
        seen.append(wire.start)
        await wire.answer(b"good")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/hostile", port)
        try:
            async with browser(proxy.port, request_) as wire:
                said = await wire.reader.read(2**16)
        except ConnectionError:
            said = b""
        assert not said or said.startswith(b"HTTP/1.1 4"), said
        async with browser(proxy.port, get("/hostile/good")) as wire:
            assert await (await head(wire)).body() == b"good"
    assert seen == ["GET /hostile/good HTTP/1.1"]


PATHS = [
    "/hostile/%0d%0aX-Injected:%201",
    "/hostile/?a=%0d%0aX-Injected:%201",
    "//elsewhere.example/",
    "/@elsewhere.example/",
    "/hostile/../../etc/passwd",
]


@pytest.mark.parametrize("path", PATHS)
async def test_paths_go_to_the_target_as_they_are_and_nowhere_else(proxy: Proxy, path: str) -> None:
    async def handle(wire: Wire) -> None:
        assert "x-injected" not in wire.names()
        await wire.answer(wire.start.encode())

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/", port)
        proxy.route("/hostile", port)
        async with browser(proxy.port, get(path)) as wire:
            answer = await head(wire)
            assert await answer.body() == f"GET {path} HTTP/1.1".encode()
            assert "x-injected" not in answer.names()


BROKEN = {
    "no HTTP": "SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "a header of two lines": "HTTP/1.1 200 OK\r\nX-A: 1\rX-Injected: 2\r\n\r\n",
    "both lengths": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an odd length": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "headers without end": "HTTP/1.1 200 OK\r\nX-A: " + "a" * 200_000,
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
async def test_a_target_that_speaks_nonsense_is_as_good_as_away(proxy: Proxy, said: str) -> None:
    async def handle(wire: Wire) -> None:
        await wire.say(said)

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/nonsense", port)
        async with browser(proxy.port, get("/nonsense/")) as wire:
            answer = await head(wire)
            assert answer.start == "HTTP/1.1 503 Service Unavailable"
            assert b"restarted" in await answer.body()
    assert "x-injected" not in answer.names()


async def test_a_reason_cannot_carry_markup(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        await wire.answer(b"", status="200 <script>")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/reason", port)
        async with browser(proxy.port, get("/reason/")) as wire:
            assert (await head(wire)).start == "HTTP/1.1 200 Unknown"
