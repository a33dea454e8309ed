"""The documents' pictures, taken of a real platform, and the admins' page in a browser.

``ARCETRI_DOCS_IMAGES=docs/images make test ARGS=tests/docs/test_images.py`` takes them anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from arcetri_spawner.backends.local.mounts import why_not
from tests.docs.pictures import IMAGES, folder_for_new, keep, stale
from tests.support.platform import Platform
from tests.support.tiers import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("session")]

PATIENCE = 60_000
VIRGO = "/arcetri/virgo"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(find_chromium()))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def session(shared_platform: Platform) -> None:
    shared_platform.start_session("bruno", "inference", flavor="v70")
    shared_platform.start_session("fabio", flavor="a100-1g")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_for_new(tmp_path)


def page_of(browser: Browser, platform: Platform, name: str, **options: object) -> Page:
    """A page of somebody who has logged in; the cookies come from a login without a browser."""
    context = browser.new_context(base_url=platform.url, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    with platform.login(name) as client:
        client.get("/hub/home")
        for cookie in client.cookies.jar:
            context.add_cookies(
                [
                    {
                        "name": cookie.name,
                        "value": cookie.value or "",
                        "domain": "127.0.0.1",
                        "path": cookie.path,
                    }
                ]
            )
    return context.new_page()


def test_the_spawn_page(browser: Browser, shared_platform: Platform, pictures: Path) -> None:
    """With a group to choose, something busy, and the way to start."""
    if why := why_not():
        pytest.skip(f"the picture shows mounted folders, and here nobody may mount: {why}")
    page = page_of(browser, shared_platform, "bruno", viewport={"width": 1200, "height": 1180})
    page.goto("/hub/spawn")
    page.get_by_role("radio", name="NVIDIA T4", exact=True).check()
    page.get_by_role("radio", name="CMS").check()
    for shown in (
        page.get_by_role("group", name="Charge to"),
        page.get_by_text("The only AMD Alveo V70 is in use."),
        page.get_by_role("heading", name="Folders in your session"),
        page.get_by_role("button", name="Start", exact=True),
    ):
        expect(shown).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    keep(page, "spawn", pictures)
    page.context.close()


def test_the_waiting_page(browser: Browser, shared_platform: Platform, pictures: Path) -> None:
    """With the place, what it is for, and what would start now."""
    with shared_platform.api("bruno") as api:
        answer = api.post("/users/bruno/servers/second", json={"flavor": "v70", "group": VIRGO})
        assert answer.status_code == 202, answer.text
        page = page_of(browser, shared_platform, "bruno", viewport={"width": 1200, "height": 1180})
        page.goto("/hub/waiting/bruno/second")
        for shown in (
            page.get_by_role("heading", name="You are 1st in line"),
            page.get_by_role("heading", name="What would start now instead"),
            page.get_by_role("button", name="Leave the queue"),
        ):
            expect(shown).to_be_in_viewport(ratio=1)
        keep(page, "waiting", pictures)
        page.context.close()
        assert api.delete("/users/bruno/servers/second").is_success


def test_the_admins_page(browser: Browser, shared_platform: Platform, pictures: Path) -> None:
    page = page_of(browser, shared_platform, "dario", viewport={"width": 1200, "height": 760})
    page.goto("/hub/arcetri/sessions")
    expect(page.get_by_role("rowheader", name="bruno")).to_be_visible()
    keep(page, "sessions", pictures)
    page.context.close()


@pytest.mark.parametrize("name", ["spawn", "waiting", "sessions"])
@pytest.mark.parametrize("changed", ["words", "parts", "styles", "picture", "gone"])
def test_a_stale_picture_is_noticed(tmp_path: Path, name: str, changed: str) -> None:
    picture = tmp_path / f"{name}.png"
    for suffix in (".png", ".json"):
        shutil.copy((IMAGES / name).with_suffix(suffix), tmp_path)
    now = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    assert stale(picture, now) == ""
    if changed == "gone":
        picture.unlink()
    elif changed == "picture":
        picture.write_bytes(picture.read_bytes() + b"another")
    elif changed == "words":
        now["words"] = [*now["words"][:-1], "Something new"]
    else:
        now[changed] = "0" * 64

    why = stale(picture, now)

    assert picture.name in why
    assert ("+Something new" in why) == (changed == "words")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_admins_page_is_accessible_and_fits(
    browser: Browser, shared_platform: Platform, width: int, scheme: str
) -> None:
    page = page_of(
        browser,
        shared_platform,
        "dario",
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
    )
    page.goto("/hub/arcetri/sessions")
    page.get_by_text("Stop…").first.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_a_session_is_stopped_by_keyboard_and_without_scripts(
    browser: Browser, shared_platform: Platform
) -> None:
    page = page_of(browser, shared_platform, "dario", java_script_enabled=False)
    page.goto("/hub/arcetri/sessions")
    row = page.get_by_role("row").filter(has_text="fabio")
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("Maintenance at noon.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".notice-done")).to_contain_text("The session was ended")
    expect(page.get_by_role("rowheader", name="fabio")).to_have_count(0)
    with shared_platform.login("fabio") as fabio:
        assert "Maintenance at noon." in fabio.get("/hub/home").text
    page.context.close()
