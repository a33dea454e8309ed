"""The pages in Chromium, without scripts: by keyboard alone, narrow, and in the dark."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.support.iam import DevIam

pytestmark = pytest.mark.browser

NARROW: ViewportSize = {"width": 360, "height": 740}
WIDE: ViewportSize = {"width": 1280, "height": 900}


class _Hub(BaseHTTPRequestHandler):
    """Stands for the hub's callback: anything that a browser can arrive at."""

    def do_GET(self) -> None:  # the name http.server looks for
        # a browser that is closed does not wait for its icon
        with contextlib.suppress(ConnectionError):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<title>Arrived</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hub/oauth_callback"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def iam(hub: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevIam]:
    with DevIam.started(tmp_path_factory.mktemp("iam"), callbacks=[hub]) as started:
        yield started


@pytest.fixture
def page(chromium: Browser, iam: DevIam) -> Iterator[Page]:
    """A page without JavaScript that notes what its security policy had to stop."""
    iam.reset()
    context = chromium.new_context(java_script_enabled=False, viewport=WIDE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    context.close()
    assert [text for text in complaints if "Content Security Policy" in text] == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots go: the folder that ``ARCETRI_SCREENSHOTS`` names, to look at them."""
    return Path(os.environ.get("ARCETRI_SCREENSHOTS", tmp_path))


def assert_fits(page: Page) -> None:
    """Nothing is wider than the window."""
    root = page.locator("html")
    width = root.evaluate("element => [element.scrollWidth, element.clientWidth]")
    assert width[0] <= width[1]


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, chromium: Browser, iam: DevIam) -> Iterator[Page]:
    """A page on which axe, which is a script, can look; the site itself has none."""
    iam.reset()
    context = chromium.new_context(color_scheme=request.param)
    yield context.new_page()
    context.close()
    iam.configure(consent=False)
    iam.clear_faults()


def check(page: Page) -> None:
    """Assert that axe finds nothing, in a wide window and a narrow one."""
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        found = Axe().run(page).response["violations"]
        nodes = [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]
        assert nodes == [], (page.url, viewport)
        assert_fits(page)


def test_axe_finds_nothing_on_the_way_through_a_login(seen: Page, iam: DevIam) -> None:
    iam.configure(consent=True)
    iam.require_policy("alice")
    seen.goto(iam.authorize_url(secrets.token_urlsafe(48)))
    expect(seen.get_by_role("heading", name="Sign in")).to_be_visible()
    seen.get_by_text("Who can sign in here?").click()
    check(seen)
    seen.get_by_label("User name").fill("alice")
    seen.get_by_label("Password").fill("wrong")
    seen.get_by_role("button", name="Sign in").click()
    expect(seen.get_by_role("alert")).to_be_visible()
    check(seen)
    seen.get_by_label("Password").fill(iam.password("alice"))
    seen.get_by_role("button", name="Sign in").click()
    expect(seen.get_by_role("button", name=re.compile("sign|accept|agree", re.I))).to_be_visible()
    check(seen)
    seen.get_by_role("button", name=re.compile("sign|accept|agree", re.I)).click()
    expect(seen.get_by_role("button", name="Allow this time")).to_be_visible()
    check(seen)
    seen.goto(iam.url("authorize?client_id=nobody&response_type=code"))
    expect(seen.get_by_role("heading", name="Unknown application")).to_be_visible()
    check(seen)
    seen.goto(iam.url("logout"))
    expect(seen.get_by_role("heading", name="Signed out")).to_be_visible()
    check(seen)


def test_axe_finds_nothing_on_the_management_page(seen: Page, iam: DevIam) -> None:
    iam.suspend("elena")
    iam.fault("slow", "/token", seconds=1)
    seen.goto(iam.issuer)
    check(seen)
    seen.get_by_label("More about bruno").click()
    check(seen)
    seen.get_by_role("button", name="Save the groups of alice").click()
    expect(seen.get_by_role("status")).to_be_visible()
    check(seen)
    seen.get_by_label("More about alice").click()
    row = seen.get_by_role("row", name=re.compile("alice"))
    row.get_by_label("User name").fill("bruno")
    row.get_by_role("button", name="Rename").click()
    expect(seen.get_by_role("alert")).to_be_visible()
    check(seen)


def test_login_by_keyboard_arrives_at_the_hub(page: Page, iam: DevIam, pictures: Path) -> None:
    page.goto(iam.authorize_url(secrets.token_urlsafe(48)))
    expect(page.get_by_label("User name")).to_be_focused()
    page.screenshot(path=pictures / "login.png")
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("password is wrong")
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(iam.password("alice"))
    page.keyboard.press("Enter")
    expect(page).to_have_title("Arrived")
    assert "code=" in page.url


def test_a_denied_consent_arrives_at_the_hub_too(page: Page, iam: DevIam, pictures: Path) -> None:
    iam.configure(consent=True)
    try:
        page.goto(iam.authorize_url(secrets.token_urlsafe(48)))
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill(iam.password("alice"))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Deny")).to_be_visible()
        page.screenshot(path=pictures / "consent.png")
        page.get_by_role("button", name="Deny").click()
        expect(page).to_have_title("Arrived")
        assert "error=access_denied" in page.url
    finally:
        iam.configure(consent=False)


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_group_is_added_on_the_management_page(
    page: Page, iam: DevIam, pictures: Path, viewport: ViewportSize, scheme: str
) -> None:
    page.set_viewport_size(viewport)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    iam.suspend("elena")
    page.goto(iam.issuer)
    expect(page.get_by_text("for demonstrations on this machine only")).to_be_visible()
    assert_fits(page)
    tick = page.get_by_label("alice in /arcetri/virgo")
    expect(tick).not_to_be_checked()
    tick.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Save the groups of alice").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Memberships saved")
    expect(page.get_by_label("alice in /arcetri/virgo")).to_be_checked()
    assert "arcetri/virgo" in iam.user("alice")["groups"]
    page.get_by_label("More about bruno").click()
    assert_fits(page)
    name = f"manage-{scheme}-{viewport['width']}.png"
    page.screenshot(path=pictures / name, full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_narrow_login_page_fits(page: Page, iam: DevIam, pictures: Path, scheme: str) -> None:
    page.set_viewport_size(NARROW)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(iam.authorize_url(secrets.token_urlsafe(48)))
    page.get_by_text("Who can sign in here?").click()
    expect(page.get_by_text("muon")).to_be_visible()
    assert_fits(page)
    page.screenshot(path=pictures / f"login-narrow-{scheme}.png", full_page=True)
