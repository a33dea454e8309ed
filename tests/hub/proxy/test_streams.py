"""Answers arrive piece by piece, however long they take, and end when either side goes."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from tests.hub.proxy.wire import PATIENCE, Proxy, Wire, browser, get, head, target, until_still

pytestmark = pytest.mark.component

CHUNKED = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SILENCE = 22.0
"""Seconds: the released handler gave up after 20."""


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


async def test_headers_and_each_piece_arrive_before_the_next_is_made(proxy: Proxy) -> None:
    seen = asyncio.Queue[str]()

    async def handle(wire: Wire) -> None:
        await wire.say(CHUNKED)
        assert await seen.get() == "headers"
        for number in range(5):
            piece = b"data: %d\n\n" % number
            await wire.say(chunk(piece))
            assert await seen.get() == piece.decode()
        await wire.say(b"0\r\n\r\n")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/pieces", port)
        async with browser(proxy.port, get("/pieces/")) as wire:
            answer = await head(wire)
            assert answer.start == "HTTP/1.1 200 OK"
            assert answer.one("Content-Type") == "text/event-stream"
            seen.put_nowait("headers")
            while piece := await answer.chunk():
                seen.put_nowait(piece.decode())
    assert seen.empty()


async def test_long_silence_is_no_reason_to_give_up(proxy: Proxy) -> None:
    async def before_the_answer(wire: Wire) -> None:
        await asyncio.sleep(SILENCE)
        await wire.answer(b"thought it over")

    async def within_the_answer(wire: Wire) -> None:
        await wire.say(CHUNKED + "3\r\none\r\n")
        await asyncio.sleep(SILENCE)
        await wire.say(b"3\r\ntwo\r\n0\r\n\r\n")

    async def body(path: str) -> bytes:
        async with browser(proxy.port, get(path)) as wire:
            return await (await head(wire)).body()

    async with (
        asyncio.timeout(SILENCE + PATIENCE),
        target(before_the_answer) as first,
        target(within_the_answer) as second,
    ):
        proxy.route("/before", first)
        proxy.route("/within", second)
        assert await asyncio.gather(body("/before/"), body("/within/")) == [
            b"thought it over",
            b"onetwo",
        ]


async def test_many_are_served_at_a_time(proxy: Proxy) -> None:
    together = asyncio.Barrier(40)

    async def handle(wire: Wire) -> None:
        # None is answered before all have come.
        await together.wait()
        await wire.answer(wire.start.encode())

    async def ask(number: int) -> bytes:
        async with browser(proxy.port, get(f"/many/{number}")) as wire:
            return await (await head(wire)).body()

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/many", port)
        answers = await asyncio.gather(*(ask(number) for number in range(40)))
    assert answers == [b"GET /many/%d HTTP/1.1" % number for number in range(40)]


@pytest.mark.parametrize("begun", [False, True], ids=["before", "within"])
async def test_a_browser_that_goes_ends_the_silent_request_behind(
    proxy: Proxy, begun: bool
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def handle(wire: Wire) -> None:
        if begun:
            await wire.say(CHUNKED)
        asked.set()
        # The target says nothing more: only the proxy can end this.
        assert await wire.reader.read(1) == b""
        left.set()

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/leaving", port)
        async with browser(proxy.port, get("/leaving/")) as wire:
            await asked.wait()
            if begun:
                await head(wire)
        await left.wait()


async def test_a_browser_that_goes_ends_a_request_that_talks(proxy: Proxy) -> None:
    left = asyncio.Event()

    async def handle(wire: Wire) -> None:
        await wire.say(CHUNKED)
        with contextlib.suppress(ConnectionError):
            while True:
                await wire.say(chunk(b"x" * 1000))
                await asyncio.sleep(0.01)
        left.set()

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/talking", port)
        async with browser(proxy.port, get("/talking/")) as wire:
            await (await head(wire)).chunk()
        await left.wait()


BEGUN = {
    "by length": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
    "in chunks": f"{CHUNKED}4\r\nhalf\r\n",
    "in a chunk": f"{CHUNKED}ff\r\nhalf",
}


@pytest.mark.parametrize("said", BEGUN.values(), ids=BEGUN)
async def test_half_an_answer_is_never_taken_for_a_whole_one(proxy: Proxy, said: str) -> None:
    async def handle(wire: Wire) -> None:
        await wire.say(said)

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/half", port)
        async with browser(proxy.port, get("/half/")) as wire:
            answer = await head(wire)
            with pytest.raises(asyncio.IncompleteReadError):
                await answer.body()


async def test_a_slow_browser_slows_the_target(proxy: Proxy) -> None:
    size, piece = 256 * 2**20, bytes(2**16)
    sent = 0

    async def handle(wire: Wire) -> None:
        nonlocal sent
        await wire.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
        while sent < size:
            await wire.say(piece)
            sent += len(piece)

    async with asyncio.timeout(2 * PATIENCE), target(handle) as port:
        proxy.route("/slow", port)
        async with browser(proxy.port, get("/slow/")) as wire:
            answer = await head(wire)
            assert await until_still(lambda: sent) < size / 4
            got = 0
            while got < size:
                got += len(await answer.reader.read(2**20))
    assert got == sent == size


async def test_a_connection_serves_one_request_after_the_other(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        await wire.answer(wire.start.split()[1].encode())

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/kept", port)
        async with browser(proxy.port, get("/kept/1")) as wire:
            assert await (await head(wire)).body() == b"/kept/1"
            await wire.say(get("/kept/2"))
            assert await (await head(wire)).body() == b"/kept/2"


async def test_answers_without_a_body_stay_without(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        if wire.start.startswith("HEAD"):
            await wire.say('HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nEtag: "a"\r\n\r\n')
        elif "If-None-Match" in dict(wire.headers):
            await wire.say('HTTP/1.1 304 Not Modified\r\nEtag: "a"\r\n\r\n')
        else:
            await wire.say("HTTP/1.1 204 No Content\r\n\r\n")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/bare", port)
        async with browser(proxy.port, get("/bare/").replace("GET", "HEAD")) as wire:
            answer = await head(wire)
            assert (answer.start, answer.one("Content-Length")) == ("HTTP/1.1 200 OK", "12345")
            await wire.say(get("/bare/", 'If-None-Match: "a"'))
            answer = await head(wire)
            assert (answer.start, answer.one("Etag")) == ("HTTP/1.1 304 Not Modified", '"a"')
            await wire.say(get("/bare/"))
            assert (await head(wire)).start == "HTTP/1.1 204 No Content"


async def test_what_a_target_says_before_its_answer_is_not_the_answer(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        await wire.say("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await wire.answer(b"the answer")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/hints", port)
        async with browser(proxy.port, get("/hints/")) as wire:
            answer = await head(wire)
            assert answer.start == "HTTP/1.1 200 OK"
            assert await answer.body() == b"the answer"


async def test_an_answer_that_ends_with_its_connection_is_passed_on(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        await wire.say("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold style")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/old", port)
        async with browser(proxy.port, get("/old/")) as wire:
            assert await (await head(wire)).body() == b"old style"


async def test_only_what_worked_counts_as_activity(proxy: Proxy) -> None:
    async def handle(wire: Wire) -> None:
        fails = "fail" in wire.start
        await wire.answer(b"", status="403 Forbidden" if fails else "200 OK")

    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/active", port)
        stamps = [proxy.last_activity("/active")]
        for path in ("/active/fail", "/active/work"):
            async with browser(proxy.port, get(path)) as wire:
                await head(wire)
            stamps.append(proxy.last_activity("/active"))
    assert stamps[0] == stamps[1] < stamps[2]
    # A new route, as after a restart, is no activity; and a moment is one, wherever this runs.
    assert datetime.fromisoformat(stamps[0]).year == 1970
    age = datetime.now(UTC) - datetime.fromisoformat(stamps[2])
    assert abs(age.total_seconds()) < PATIENCE
