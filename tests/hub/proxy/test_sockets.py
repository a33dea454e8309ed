"""Web sockets: what each side says reaches the other, as it was said."""

from __future__ import annotations

import asyncio
import base64

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

from arcetri_hub.up import ports
from tests.hub.proxy import wire
from tests.hub.proxy.sockets import browser, closing, target
from tests.hub.proxy.wire import PATIENCE, Proxy, until_still

pytestmark = pytest.mark.component

LARGE = 20 * 10**6
"""Bytes; twice what tornado takes unless told otherwise."""


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["v2.kernel", "v1.kernel"], "v1.kernel"), (["v1.kernel"], None), (None, None)],
)
async def test_the_target_chooses_the_subprotocol(
    proxy: Proxy, offered: list[str] | None, chosen: str | None
) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/sub") as behind:
        behind.chosen = chosen
        async with browser(proxy, "/sub/", subprotocols=offered) as socket:
            assert socket.selected_subprotocol == chosen
    assert behind.offered == (offered or [])


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("", id="empty"),
        pytest.param("text ÄΩ😀", id="text"),
        pytest.param(b"", id="no bytes"),
        pytest.param(b"\x00\xff", id="bytes"),
        pytest.param("x" * LARGE, id="much text"),
        pytest.param(bytes(LARGE), id="many bytes"),
    ],
)
async def test_messages_of_either_kind_pass_both_ways(proxy: Proxy, message: str | bytes) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/echo") as behind:
        behind.greeting = [message]
        async with browser(proxy, "/echo/") as socket:
            got = await socket.read_message()
            assert type(got) is type(message)
            assert got == message
            await socket.write_message(message, binary=isinstance(message, bytes))
            got = await behind.messages.get()
            assert type(got) is type(message)
            assert got == message


async def test_messages_keep_their_order(proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/order") as behind:
        behind.greeting = [str(number) for number in range(200)]
        async with browser(proxy, "/order/") as socket:
            for number in range(200):
                socket.write_message(str(number))
            assert [await socket.read_message() for _ in range(200)] == behind.greeting
            assert [await behind.messages.get() for _ in range(200)] == behind.greeting


CODES = [(1000, "done"), (1001, None), (1011, "ÄΩ"), (3000, "x" * 123), (4999, ""), (None, None)]


@pytest.mark.parametrize(("code", "reason"), CODES)
async def test_close_codes_pass_from_target_to_browser(
    proxy: Proxy, code: int | None, reason: str | None
) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        target(proxy, "/bye") as behind,
        browser(proxy, "/bye/") as socket,
    ):
        (await behind.opened.get()).close(code, reason)
        assert await closing(socket) == (code, reason or None)


@pytest.mark.parametrize(("code", "reason"), CODES)
async def test_close_codes_pass_from_browser_to_target(
    proxy: Proxy, code: int | None, reason: str | None
) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        target(proxy, "/ciao") as behind,
        browser(proxy, "/ciao/") as socket,
    ):
        socket.close(code, reason)
        assert await behind.closed.get() == (code, reason or None)


HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)


async def test_a_browser_that_goes_without_a_word_ends_the_socket_behind(proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/gone") as behind:
        request = wire.get("/gone/", *HANDSHAKE)
        async with wire.browser(proxy.port, request) as raw:
            assert (await wire.head(raw)).start == "HTTP/1.1 101 Switching Protocols"
            await behind.opened.get()
        await behind.closed.get()


async def test_a_browser_that_goes_during_the_handshake_leaves_nothing_behind(
    proxy: Proxy,
) -> None:
    asked, may_answer, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(socket: wire.Wire) -> None:
        asked.set()
        await may_answer.wait()
        accept = "Sec-WebSocket-Accept: " + _accept(socket.one("Sec-WebSocket-Key"))
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade"
        await socket.say(f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n{accept}\r\n\r\n")
        while await socket.reader.read(100):
            pass
        left.set()

    async with asyncio.timeout(PATIENCE), wire.target(handle) as port:
        proxy.route("/handshake", port)
        async with wire.browser(proxy.port, wire.get("/handshake/", *HANDSHAKE)):
            await asked.wait()
        may_answer.set()
        await left.wait()


def _accept(key: str) -> str:
    return WebSocketProtocol13.compute_accept_value(key)


async def test_a_target_that_goes_without_a_word_ends_the_browsers_socket(proxy: Proxy) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        target(proxy, "/died") as behind,
        browser(proxy, "/died/") as socket,
    ):
        connection = (await behind.opened.get()).ws_connection
        assert connection is not None
        assert connection.stream is not None
        connection.stream.close()
        assert await closing(socket) == (None, None)


async def test_a_slow_browser_slows_the_target(proxy: Proxy) -> None:
    sent = 0
    async with asyncio.timeout(PATIENCE), target(proxy, "/slow") as behind:
        request = wire.get("/slow/", *HANDSHAKE)
        async with wire.browser(proxy.port, request) as raw:
            await wire.head(raw)
            socket = await behind.opened.get()

            async def talk() -> None:
                nonlocal sent
                while sent < 4096:
                    await socket.write_message(bytes(2**16), binary=True)
                    sent += 1

            talking = asyncio.create_task(talk())
            # 64 KiB each: 256 MiB would be kept if nothing held the target back.
            assert await until_still(lambda: sent) < 1024
        with pytest.raises(WebSocketClosedError):
            await talking


async def test_what_goes_with_the_handshake_passes(proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/shake") as behind:
        behind.cookie = "fresh=1; Path=/"
        headers = {
            "Cookie": "session=1",
            "Origin": "http://hub.example",
            "Host": "hub.example",
            "X-Forwarded-For": "8.8.8.8",
            "X-Real-IP": "8.8.8.8",
        }
        async with browser(proxy, "/shake/a%20b?q=%2F", **headers) as socket:
            asked = (await behind.opened.get()).request
            assert socket.headers is not None
            assert socket.headers.get_list("Set-Cookie") == ["fresh=1; Path=/"]
    assert asked.uri == "/shake/a%20b?q=%2F"
    kept = {name: asked.headers.get(name) for name in headers}
    assert kept == {**headers, "X-Forwarded-For": "127.0.0.1", "X-Real-IP": None}
    assert asked.headers["X-Forwarded-Host"] == "hub.example"
    assert "Sec-Websocket-Extensions" not in asked.headers


@pytest.mark.parametrize("status", [302, 401, 403, 404, 500])
async def test_a_refusal_reaches_the_browser_as_the_target_said_it(
    proxy: Proxy, status: int
) -> None:
    async with asyncio.timeout(PATIENCE), target(proxy, "/no") as behind:
        behind.refusal = status
        with pytest.raises(HTTPClientError) as refused:
            async with browser(proxy, "/no/"):
                pass
    assert refused.value.code == status
    assert refused.value.response is not None
    assert refused.value.response.body == b"not for you"
    assert refused.value.response.headers["X-Why"] == "because"


async def test_a_socket_to_what_is_away_or_is_no_socket_is_refused(proxy: Proxy) -> None:
    async def handle(plain: wire.Wire) -> None:
        await plain.answer(b"just a page")

    async with asyncio.timeout(PATIENCE), wire.target(handle) as port:
        proxy.route("/page", port)
        proxy.route("/nobody", ports.choose())
        for path in ("/page/", "/nobody/"):
            with pytest.raises(HTTPClientError) as refused:
                async with browser(proxy, path):
                    pass
            assert refused.value.code == 503


async def test_messages_are_activity_and_mere_pings_are_not(proxy: Proxy) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        target(proxy, "/idle") as behind,
        browser(proxy, "/idle/") as socket,
    ):
        handler = await behind.opened.get()
        stamps = [proxy.last_activity("/idle")]
        for _ in range(3):
            handler.ping(b"still there?")
            socket.ping(b"still there?")
            await asyncio.sleep(0.1)
        stamps.append(proxy.last_activity("/idle"))
        await socket.write_message("work")
        await behind.messages.get()
        stamps.append(proxy.last_activity("/idle"))
        await handler.write_message("result")
        await socket.read_message()
        stamps.append(proxy.last_activity("/idle"))
    assert stamps[0] == stamps[1] < stamps[2] < stamps[3]
