"""Every page, whoever serves it: its security headers, and nothing on it that could run unasked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from arcetri_hub.pages.static import STATIC
from tests.support.platform import Platform

pytestmark = pytest.mark.component

ANONYMOUS = ["/hub/login", "/hub/spawn", "/hub/nothing", "/hub/oauth_callback?error=access_denied"]
MEMBER = [
    "/hub/home",
    "/hub/spawn",
    "/hub/spawn/dario/other",
    "/hub/token",
    "/hub/nothing",
    "/hub/spawn-pending/nobody",
    "/hub/user/dario/lab",
    "/hub/error/503",
    "/hub/arcetri/new?name=",
    "/hub/accept-share?code=none",
    "/hub/spawn?flavor=%FF",
    "/hub/admin",
    "/hub/arcetri/sessions",
]


class _Reader(HTMLParser):
    """Notes what a page would run."""

    def __init__(self) -> None:
        super().__init__()
        self.nonces: list[str | None] = []
        self.handlers: list[str] = []
        self.hosts: list[str] = []
        self.styles = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script":
            self.nonces.append(values.get("nonce"))
        self.styles += tag == "style"
        self.handlers += [name for name in values if name.startswith("on")]
        for name in ("src", "href", "action"):
            target = values.get(name) or ""
            if tag != "a" and re.match(r"(https?:)?//|javascript:", target):
                self.hosts.append(target)


@pytest.fixture(scope="module")
def dario(shared_platform: Platform) -> Iterator[httpx.Client]:
    with shared_platform.login("dario") as client:
        yield client


def _check(page: httpx.Response) -> None:
    rules = dict(rule.split(" ", 1) for rule in page.headers["Content-Security-Policy"].split("; "))
    nonce = re.fullmatch(r"'nonce-([\w-]{24})' 'strict-dynamic'", rules["script-src"])
    assert nonce
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["connect-src"] == rules["form-action"] == "'self'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] in ("same-origin", "no-referrer")
    reader = _Reader()
    reader.feed(page.text)
    assert reader.nonces
    assert set(reader.nonces) == {nonce[1]}
    assert (reader.handlers, reader.hosts, reader.styles) == ([], [], 0)
    assert "Traceback" not in page.text


@pytest.mark.parametrize("path", ANONYMOUS)
def test_a_strangers_page_runs_only_what_carries_its_nonce(
    shared_platform: Platform, path: str
) -> None:
    with httpx.Client(base_url=shared_platform.url, timeout=60) as client:
        page = client.get(path)
        while page.next_request and page.next_request.url.path == "/hub/login":
            page = client.send(page.next_request)
        _check(page)


@pytest.mark.parametrize("path", MEMBER)
def test_a_members_page_runs_only_what_carries_its_nonce(dario: httpx.Client, path: str) -> None:
    _check(dario.get(path))


def test_a_page_that_is_posted_to_has_the_same_headers(shared_platform: Platform) -> None:
    with shared_platform.login("dario") as client:
        _check(client.post("/hub/spawn"))


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
def test_our_files_are_served_and_kept_by_their_digest(
    shared_platform: Platform, dario: httpx.Client, name: str
) -> None:
    page = "".join(dario.get(path).text for path in ("/hub/home", "/hub/spawn"))
    plain = httpx.get(f"{shared_platform.url}/hub/arcetri/static/{name}")
    assert plain.status_code == 200
    assert "no-cache" in plain.headers["Cache-Control"]
    if linked := re.search(rf'"(/hub/arcetri/static/{re.escape(name)}\?v=\w+)"', page):
        kept = httpx.get(f"{shared_platform.url}{linked[1]}")
        assert "max-age=31536000" in kept.headers["Cache-Control"]
        assert kept.content == plain.content


@pytest.mark.parametrize("path", ["../metrics.py", "%2e%2e/metrics.py", "", "/etc/passwd"])
def test_nothing_else_is_served_as_a_file(shared_platform: Platform, path: str) -> None:
    answer = httpx.get(f"{shared_platform.url}/hub/arcetri/static/{path}")
    assert answer.status_code in (403, 404)
