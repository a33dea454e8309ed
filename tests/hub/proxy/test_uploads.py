"""Bodies stream to the target: no limit, nothing kept, and whoever goes ends it."""

from __future__ import annotations

import asyncio
import hashlib

import psutil
import pytest

from tests.hub.proxy.wire import PATIENCE, Proxy, Wire, browser, head, target, until_still

pytestmark = pytest.mark.component

SIZE = 256 * 2**20
PIECE = bytes(range(256)) * 256


def put(path: str, *headers: str, method: str = "PUT") -> str:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: hub.example", *headers, "", ""])


async def test_a_big_upload_is_never_kept(proxy: Proxy) -> None:
    may_read, sent, memory = asyncio.Event(), 0, psutil.Process(proxy.process.pid)
    expected = hashlib.sha256(PIECE * (SIZE // len(PIECE))).hexdigest()

    async def handle(wire: Wire) -> None:
        assert wire.one("Content-Length") == str(SIZE)
        await may_read.wait()
        digest, left = hashlib.sha256(), SIZE
        while left:
            piece = await wire.reader.read(2**20)
            assert piece
            digest.update(piece)
            left -= len(piece)
        await wire.answer(digest.hexdigest().encode())

    async def send(wire: Wire) -> None:
        nonlocal sent
        while sent < SIZE:
            await wire.say(PIECE)
            sent += len(PIECE)

    async with asyncio.timeout(2 * PATIENCE), target(handle) as port:
        proxy.route("/upload", port)
        before = memory.memory_info().rss
        request = put("/upload/", f"Content-Length: {SIZE}")
        async with browser(proxy.port, request) as wire:
            sending = asyncio.create_task(send(wire))
            # While the target does not read, the browser cannot send either.
            assert await until_still(lambda: sent) < SIZE / 4
            may_read.set()
            await sending
            answer = await head(wire)
            assert await answer.body() == expected.encode()
        assert memory.memory_info().rss - before < SIZE / 4


async def test_pieces_arrive_before_the_body_is_complete(proxy: Proxy) -> None:
    arrived = asyncio.Queue[bytes]()

    async def handle(wire: Wire) -> None:
        assert wire.one("Transfer-Encoding") == "chunked"
        while piece := await wire.chunk():
            arrived.put_nowait(piece)
        await wire.answer(b"all of it")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/chunks", port)
        request = put("/chunks/", "Transfer-Encoding: chunked", method="POST")
        async with browser(proxy.port, request) as wire:
            for piece in (b"one", b"two", b"three"):
                await wire.say(b"%x\r\n%s\r\n" % (len(piece), piece))
                assert await arrived.get() == piece
            await wire.say(b"0\r\n\r\n")
            assert await (await head(wire)).body() == b"all of it"


async def test_a_target_may_refuse_before_it_has_read_all(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        await wire.answer(b"too big for me", status="413 Too Large")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/early", port)
        # The browser waits before it sends any of it.
        async with browser(proxy.port, put("/early/", "Content-Length: 5000000")) as wire:
            answer = await head(wire)
            assert answer.start == "HTTP/1.1 413 Too Large"
            assert await answer.body() == b"too big for me"


async def test_expect_is_answered_by_the_proxy(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        assert "expect" not in wire.names()
        await wire.answer(await wire.body())

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/expect", port)
        request = put("/expect/", "Content-Length: 4", "Expect: 100-continue")
        async with browser(proxy.port, request) as wire:
            assert (await head(wire)).start.startswith("HTTP/1.1 100")
            await wire.say("body")
            assert await (await head(wire)).body() == b"body"


async def test_a_browser_that_goes_amid_its_upload_ends_it(proxy: Proxy) -> None:
    begun, cut = asyncio.Event(), asyncio.Event()

    async def handle(wire: Wire) -> None:
        assert await wire.reader.readexactly(5) == b"begin"
        begun.set()
        assert await wire.reader.read() == b""
        cut.set()

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/cut", port)
        async with browser(proxy.port, put("/cut/", "Content-Length: 1000") + "begin"):
            await begun.wait()
        await cut.wait()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET"])
async def test_every_method_is_passed_on_with_its_body_or_without(
    proxy: Proxy, method: str
) -> None:
    async def handle(wire: Wire) -> None:
        body = await wire.body() if wire.all("Content-Length") else b"none"
        assert "transfer-encoding" not in wire.names()
        await wire.answer(wire.start.split()[0].encode() + b" " + body)

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/methods", port)
        for headers, body, expected in (
            (["Content-Length: 4"], "body", "body"),
            ([], "", "" if method in ("POST", "PUT", "PATCH") else "none"),
        ):
            async with browser(proxy.port, put("/methods/", *headers, method=method)) as wire:
                await wire.say(body)
                answer = await (await head(wire)).body()
            assert answer.decode() == f"{method} {expected}"


async def test_a_body_of_unknown_length_needs_a_method_that_has_one(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        raise AssertionError(f"not to be asked: {wire.start}")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/length", port)
        request = put("/length/", "Transfer-Encoding: chunked", method="DELETE")
        async with browser(proxy.port, request + "0\r\n\r\n") as wire:
            assert (await head(wire)).start == "HTTP/1.1 411 Length Required"
