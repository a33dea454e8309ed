"""What is passed on of the headers: the pure part, then at the wire."""

from __future__ import annotations

import asyncio

import pytest
from tornado.httputil import HTTPHeaders

from arcetri_hub.proxy.headers import to_browser, to_target
from tests.hub.proxy.wire import PATIENCE, Proxy, Wire, browser, get, head, target


def passed(*pairs: tuple[str, str], socket: bool = False) -> HTTPHeaders:
    headers = HTTPHeaders()
    for name, value in pairs:
        headers.add(name, value)
    return to_target(headers, remote_ip="10.1.2.3", protocol="http", socket=socket)


def test_a_target_is_told_who_asks_and_for_which_address() -> None:
    assert dict(passed(("Host", "hub.example:8443"), ("Cookie", "a=b")).get_all()) == {
        "Host": "hub.example:8443",
        "Cookie": "a=b",
        "X-Forwarded-For": "10.1.2.3",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "hub.example:8443",
        "X-Forwarded-Port": "8443",
    }


@pytest.mark.parametrize(
    ("host", "port"),
    [("hub", "80"), ("hub:8000", "8000"), ("[::1]", "80"), ("[::1]:90", "90"), ("hub:x", "80")],
)
def test_the_port_is_the_one_the_browser_named(host: str, port: str) -> None:
    assert passed(("Host", host))["X-Forwarded-Port"] == port


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "X-Forwarded-Proto", "x-forwarded-host", "X-Forwarded-User",
     "X-Forwarded-Prefix", "Forwarded", "X-Real-IP", "X-Scheme"],
)  # fmt: skip
def test_what_a_browser_claims_to_be_is_not_believed(name: str) -> None:
    assert "evil" not in str(list(passed(("Host", "hub"), (name, "evil")).get_all()))


@pytest.mark.parametrize(
    "name",
    ["Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Upgrade",
     "Transfer-Encoding", "X-Mine"],
)  # fmt: skip
def test_what_belongs_to_one_connection_stays_there_both_ways(name: str) -> None:
    pairs = [("Connection", "close, x-mine"), ("Connection", "Other"), (name, "a"), ("Other", "b")]
    headers = HTTPHeaders()
    for pair in pairs:
        headers.add(*pair)
    assert {one.lower() for one in passed(*pairs)} == {
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-port",
    }
    assert to_browser(headers) == []


def test_connection_cannot_name_away_what_frames_or_addresses_the_message() -> None:
    kept = passed(("Connection", "Host, Content-Length"), ("Host", "hub"), ("Content-Length", "3"))
    assert (kept["Host"], kept["Content-Length"]) == ("hub", "3")


def test_a_socket_shakes_hands_for_itself() -> None:
    kept = passed(
        ("Host", "hub"),
        ("Sec-WebSocket-Key", "k"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "v1"),
        ("Origin", "http://hub"),
        socket=True,
    )
    assert not [name for name in kept if name.lower().startswith("sec-")]
    assert kept["Origin"] == "http://hub"


def test_repeated_headers_stay_repeated_and_in_order() -> None:
    headers = HTTPHeaders()
    headers.add("Set-Cookie", "a=1")
    headers.add("Set-Cookie", "b=2, c")
    assert to_browser(headers) == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2, c")]


@pytest.mark.component
async def test_at_the_wire(proxy: Proxy) -> None:
    seen: list[Wire] = []

    async def handle(wire: Wire) -> None:
        seen.append(wire)
        await wire.answer(
            b"text",
            "Server: TargetServer/1",
            "Content-Type: text/x-odd",
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: b=2; Path=/",
            "Keep-Alive: timeout=5",
            "Connection: close, X-Inner",
            "X-Inner: 1",
            f"Content-Security-Policy: {'x' * 9000}",
            status="418 I am a teapot",
        )

    request = get(
        "/wire/a%2Fb/%E2%82%AC?q=a%20b&q=c+d&empty",
        "X-Forwarded-For: 8.8.8.8",
        "X-Real-IP: 8.8.8.8",
        "Cookie: one=1; two=2",
        "Accept-Encoding: gzip",
        "Connection: keep-alive, X-Secret",
        "X-Secret: 1",
    )
    async with asyncio.timeout(PATIENCE), target(handle) as port:
        proxy.route("/wire", port)
        async with browser(proxy.port, request) as wire:
            answer = await head(wire)
            assert await answer.body() == b"text"
    (asked,) = seen
    # Path and query come as the browser wrote them.
    assert asked.start == "GET /wire/a%2Fb/%E2%82%AC?q=a%20b&q=c+d&empty HTTP/1.1"
    assert asked.one("Host") == asked.one("X-Forwarded-Host") == "hub.example"
    assert asked.one("X-Forwarded-For") == "127.0.0.1"
    assert asked.one("X-Forwarded-Proto") == "http"
    assert asked.one("Cookie") == "one=1; two=2"
    assert asked.one("Accept-Encoding") == "gzip"
    assert not asked.names() & {"x-real-ip", "x-secret", "user-agent", "content-type"}
    assert answer.start == "HTTP/1.1 418 I am a teapot"
    assert answer.one("Server") == "TargetServer/1"
    assert answer.one("Content-Type") == "text/x-odd"
    assert answer.all("Set-Cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert answer.one("Content-Security-Policy") == "x" * 9000
    assert not answer.names() & {"keep-alive", "x-inner"}
