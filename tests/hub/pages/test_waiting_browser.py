"""Three people and one T4 in Chromium: in line, told the place, moved, through a killed hub."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.hub.pages.browser import log_in
from tests.hub.pages.test_waiting import platform, state
from tests.support.complaints import Complaints
from tests.support.platform import Platform, until

__all__ = ["platform"]

pytestmark = pytest.mark.browser

PATIENCE = 60_000
LOOKS: list[tuple[int, Literal["light", "dark"]]] = [
    (1280, "light"), (1280, "dark"), (360, "light"), (360, "dark"),
]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ARCETRI_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class People:
    """A browser for each, and again another device of theirs."""

    def __init__(self, browser: Browser, platform: Platform) -> None:
        self._browser = browser
        self._platform = platform
        self._cookies: dict[str, Any] = {}
        self.contexts: list[BrowserContext] = []

    def page(self, name: str, **options: Any) -> Page:
        context = self._browser.new_context(
            base_url=self._platform.url,
            viewport={"width": options.pop("width", 1280), "height": 900},
            storage_state=self._cookies.get(name),
            **options,
        )
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        if name not in self._cookies:
            log_in(page, name, self._platform.password(name))
            self._cookies[name] = context.storage_state()
        return page


@pytest.fixture
def people(chromium: Browser, platform: Platform) -> Iterator[People]:
    made = People(chromium, platform)
    yield made
    for context in made.contexts:
        context.close()


def wait_for_t4(page: Page) -> None:
    """Choose the busy T4 on the spawn page, by keyboard, and wait in line."""
    page.goto("/hub/spawn")
    page.get_by_role("radio", name="NVIDIA T4").focus()
    page.keyboard.press("Space")
    group = page.get_by_role("radio", name="CMS")
    if group.count() and group.is_visible():
        group.check()
    page.get_by_role("button", name="Wait in line").click()
    page.wait_for_url("**/hub/waiting/**")


def place(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text, timeout=PATIENCE)


def test_three_people_and_one_t4(platform: Platform, people: People, pictures: Path) -> None:
    complaints = Complaints()
    platform.start_session("alice", flavor="t4")

    bruno = people.page("bruno")
    complaints.watch(bruno)
    bruno.goto("/hub/spawn")
    card = bruno.locator('[data-flavor="t4"]')
    expect(
        card.get_by_text("You would wait: first in line with CMS, first in line with Virgo.")
    ).to_be_visible()
    bruno.locator("#flavor-t4").check()
    bruno.get_by_role("radio", name="CMS").check()
    expect(card.get_by_text("You would wait, first in line of your group.")).to_be_visible()
    wait_for_t4(bruno)
    place(bruno, "You are 1st in line")
    expect(bruno.locator("#why")).to_have_text(
        "The only NVIDIA T4 is in use; CMS holds 1 of the 1 it may hold at the same time."
    )
    expect(bruno.get_by_text("There is no estimate yet")).to_be_visible()

    chiara = people.page("chiara")
    complaints.watch(chiara)
    wait_for_t4(chiara)
    place(chiara, "You are 2nd in line")
    looks(people, pictures)

    # Closed, and open again on another device: the place is kept, and home shows it.
    chiara.close()
    chiara = people.page("chiara", width=360)
    chiara.goto("/hub/home")
    chiara.get_by_role("link", name="See your place").click()
    place(chiara, "You are 2nd in line")
    assert state(platform, "chiara") == ["waiting"]
    assert platform.rows("select id from spawners where server_id is not null") != []

    # Somebody else's alternative: what would start now, with one click.
    chiara.get_by_role("button", name=re.compile("Take it.*NVIDIA A100")).click()
    chiara.wait_for_url("**/user/chiara/**")
    place(bruno, "You are 1st in line")

    os.kill(platform.child("jupyterhub_config"), signal.SIGKILL)
    until(lambda: answers(bruno), "the hub is back")
    place(bruno, "You are 1st in line")
    assert state(platform, "bruno") == ["waiting"]
    bruno.goto("/hub/spawn/bruno")
    place(bruno, "You are 1st in line")

    with platform.api("alice") as api:
        assert api.delete("/users/alice/server").status_code in (202, 204)

    bruno.wait_for_url("**/user/bruno/**")
    assert complaints_of(complaints) == []
    for name in ("bruno", "chiara"):
        with platform.api(name) as api:
            api.delete(f"/users/{name}/server")


def complaints_of(complaints: Complaints) -> list[Any]:
    """What the browser complained of besides the hub's being away while it was killed."""
    away = ("Failed to load resource", "502", "503", "ERR_")
    return [one for one in complaints if not any(word in str(one) for word in away)]


def answers(page: Page) -> bool:
    try:
        answer = page.reload()
    except Exception:  # noqa: BLE001 - the hub is away
        return False
    return bool(answer and answer.ok and page.locator("#waiting").count())


def looks(people: People, pictures: Path) -> None:
    """Wide and narrow, light and dark: nothing that axe finds, nothing over the edge."""
    for width, scheme in LOOKS:
        page = people.page("chiara", width=width, color_scheme=scheme)
        page.goto("/hub/waiting/chiara")
        place(page, "You are 2nd in line")
        found = Axe().run(page).response["violations"]
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=pictures / f"waiting-{width}-{scheme}.png", full_page=True)
        page.close()
    plain = people.page("chiara", java_script_enabled=False)
    plain.goto("/hub/waiting/chiara")
    assert 'http-equiv="refresh"' in plain.content()
    plain.get_by_role("link", name="Keep waiting").click()
    place(plain, "You are 2nd in line")
    plain.close()
