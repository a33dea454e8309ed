"""What a browser is shown when nothing answers: the hub's words, or the proxy's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from arcetri_hub.up import ports
from tests.hub.proxy.wire import PATIENCE, Proxy, Wire, browser, get, head, running, target

pytestmark = pytest.mark.component


async def page(proxy: Proxy, path: str, method: str = "GET") -> tuple[Wire, str]:
    async with browser(proxy.port, get(path).replace("GET", method)) as wire:
        answer = await head(wire)
        body = await answer.body() if method != "HEAD" else await answer.reader.read(1000)
        return answer, body.decode()


async def test_it_says_in_words_that_work_is_safe_and_tries_again(proxy: Proxy) -> None:
    proxy.route("/away", ports.choose())
    async with asyncio.timeout(PATIENCE):
        answer, body = await page(proxy, "/away/")
    assert answer.start == "HTTP/1.1 503 Service Unavailable"
    assert answer.one("Content-Type") == "text/html; charset=utf-8"
    assert answer.one("Cache-Control") == "no-store"
    assert answer.one("Retry-After") == "3"
    assert "default-src 'none'" in answer.one("Content-Security-Policy")
    assert '<html lang="en">' in body
    assert '<meta http-equiv="refresh" content="3">' in body
    assert "go on running, and nothing is lost" in body


async def test_it_repeats_nothing_of_what_was_asked(proxy: Proxy) -> None:
    proxy.route("/away", ports.choose())
    async with asyncio.timeout(PATIENCE):
        _answer, body = await page(proxy, "/away/%3Cscript%3Ealert(1)%3C/script%3E?<script>=1")
    assert "script" not in body


async def test_a_head_request_gets_the_status_alone(proxy: Proxy) -> None:
    proxy.route("/away", ports.choose())
    async with asyncio.timeout(PATIENCE):
        async with browser(proxy.port, get("/away/").replace("GET", "HEAD")) as wire:
            assert (await head(wire)).start == "HTTP/1.1 503 Service Unavailable"
            # Nothing lies between this answer and the next.
            await wire.say(get("/away/"))
            assert (await head(wire)).start == "HTTP/1.1 503 Service Unavailable"


async def test_an_upload_to_what_is_away_is_told_so(proxy: Proxy) -> None:
    proxy.route("/away", ports.choose())
    request = "PUT /away/ HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n"
    async with asyncio.timeout(PATIENCE), browser(proxy.port, request) as wire:
        assert (await head(wire)).start == "HTTP/1.1 503 Service Unavailable"


async def test_what_has_no_route_is_not_found(proxy: Proxy) -> None:
    async with asyncio.timeout(PATIENCE):
        answer, body = await page(proxy, "/no/such/route")
    assert answer.start == "HTTP/1.1 404 Not Found"
    assert "Traceback" not in body


async def test_the_hub_makes_the_page_while_it_is_there(tmp_path: Path) -> None:
    asked: list[str] = []

    async def hub(wire: Wire) -> None:
        asked.append(wire.start.split()[1])
        await wire.answer(
            b"<p>Your session ended.</p>",
            "Content-Type: text/html; charset=UTF-8",
            "Content-Security-Policy: style-src 'self'",
            "Set-Cookie: not=passed",
            status="503 Service Unavailable",
        )

    async with asyncio.timeout(PATIENCE):
        async with target(hub) as port:
            address = f"http://127.0.0.1:{port}"
            options = ("--default-target", address, "--error-target", f"{address}/hub/error")
            with running(tmp_path, *options) as proxy:
                proxy.route("/user/a b", ports.choose())
                answer, body = await page(proxy, "/user/a%20b/lab?token=secret")
                assert body == "<p>Your session ended.</p>"
                # The page's own policy, or it would stand there without its style.
                assert answer.one("Content-Security-Policy") == "style-src 'self'"
                assert not answer.all("Set-Cookie")
                assert asked == ["/hub/error/503?url=/user/a%2520b/lab"]
        with running(tmp_path, *options) as proxy:
            proxy.route("/user/a b", ports.choose())
            # The hub is away too, and what is its own has no session to be lost.
            for path in ("/user/a%20b/lab", "/hub/home"):
                answer, body = await page(proxy, path)
                assert answer.start == "HTTP/1.1 503 Service Unavailable"
                assert "restarted" in body
            assert "secret" not in proxy.said()
