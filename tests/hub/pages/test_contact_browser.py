"""Pages that are open while one is logged out, or while nothing answers, in Chromium."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.hub.pages.browser import log_in
from tests.hub.pages.test_cancelled import slow
from tests.hub.pages.test_waiting import busy, platform, state
from tests.hub.pages.test_waiting_browser import LOOKS, PATIENCE, pictures, place, wait_for_t4
from tests.hub.pages.test_waiting_turn_browser import AWAY
from tests.support.platform import Platform

__all__ = ["busy", "pictures", "platform", "slow"]

pytestmark = pytest.mark.browser

ONE_LOOK = 20_000
"""Milliseconds for one question and its answer; the page's clock stands still meanwhile."""
OUT = "You have been logged out."


@pytest.fixture
def context(chromium: Browser, busy: Platform) -> Iterator[BrowserContext]:
    """Bruno's browser; his request, if he made one, is taken back."""
    made = chromium.new_context(base_url=busy.url, permissions=["notifications"])
    made.set_default_timeout(PATIENCE)
    yield made
    made.close()
    with busy.api("bruno") as api:
        api.delete("/users/bruno/server")


def contact(page: Page) -> Any:
    return page.locator("#contact")


def enter(platform: Platform, page: Page) -> None:
    log_in(page, "bruno", platform.password("bruno"))


def waiting(platform: Platform, context: BrowserContext) -> Page:
    page = context.new_page()
    enter(platform, page)
    wait_for_t4(page)
    place(page, "You are 1st in line")
    expect(contact(page)).to_be_empty()
    return page


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does not answer, though its connections are taken."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def look(page: Page, pictures: Path, name: str) -> None:
    """Wide and narrow, light and dark: nothing that axe finds, nothing over the edge."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.evaluate("theme => document.documentElement.dataset.bsTheme = theme", scheme)
        found = Axe().run(page).response["violations"]
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=pictures / f"{name}-{width}-{scheme}.png", caret="initial")


def test_the_waiting_page_says_that_one_is_logged_out_and_comes_back(
    busy: Platform, context: BrowserContext, pictures: Path
) -> None:
    page = waiting(busy, context)
    page.get_by_role("button", name="Tell me when it is ready").click()
    other = context.new_page()
    other.goto("/hub/logout")
    expect(contact(page)).to_contain_text(OUT, timeout=PATIENCE)
    expect(contact(page)).to_contain_text("Your place is kept; log in again to see it.")
    expect(contact(page)).to_contain_text(re.compile(r"What you see here is of \d\d:\d\d\."))
    expect(page.locator("#wait-head .as-of")).to_have_text(re.compile(r"as of \d\d:\d\d"))
    expect(page.locator("#notify-status")).to_have_text(
        "You cannot be told while you are logged out."
    )
    place(page, "You are 1st in line")
    look(page, pictures, "waiting-out")
    assert state(busy, "bruno") == ["waiting"]

    # By the link, back to this page.
    page.get_by_role("link", name="Log in again").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=username], button").first.wait_for()
    if page.locator("input[name=password]").count():
        page.locator("input[name=username]").fill("bruno")
        page.locator("input[name=password]").fill(busy.password("bruno"))
        page.keyboard.press("Enter")
    page.wait_for_url("**/hub/waiting/bruno")
    place(page, "You are 1st in line")

    # By a login in another tab, by itself; its forms can be sent. Who wanted to be told is told
    # that they cannot be.
    page.evaluate(f"{AWAY}; null")
    other.goto("/hub/logout")
    expect(contact(page)).to_contain_text(OUT, timeout=PATIENCE)
    [(title, body)] = page.evaluate("window.notes")
    assert title == "You have been logged out"
    assert body.startswith("NVIDIA T4: Your place is kept")
    enter(busy, other)
    expect(contact(page)).to_be_empty(timeout=PATIENCE)
    expect(page.locator("#wait-head .as-of")).to_be_hidden()
    page.get_by_role("button", name="Leave the queue").click()
    page.wait_for_url("**/hub/home")
    assert state(busy, "bruno") == []


def test_home_and_the_spawn_page_say_that_one_is_logged_out(
    busy: Platform, context: BrowserContext, pictures: Path
) -> None:
    home, spawn, other = (context.new_page() for _ in range(3))
    enter(busy, other)
    home.goto("/hub/home")
    spawn.goto("/hub/spawn?flavor=t4")
    spawn.locator("#flavor-v70").check()
    other.goto("/hub/logout")
    for page, name in ((home, "home-out"), (spawn, "spawn-out")):
        expect(contact(page)).to_contain_text(OUT, timeout=PATIENCE)
        look(page, pictures, name)
    link = spawn.get_by_role("link", name="Log in again").get_attribute("href")
    assert link
    assert "flavor%3Dv70" in link
    # What would be refused is not sent.
    spawn.get_by_role("button", name="Start", exact=True).click()
    spawn.wait_for_url("**/hub/login**")

    enter(busy, other)
    expect(contact(home)).to_be_empty(timeout=PATIENCE)
    spawn.goto(link)
    expect(spawn.locator("#flavor-v70")).to_be_checked()


def test_what_somebody_has_written_outlasts_the_login(
    busy: Platform, context: BrowserContext
) -> None:
    home, other = context.new_page(), context.new_page()
    enter(busy, other)
    home.goto("/hub/home")
    home.locator("summary", has_text="A session with a name").click()
    home.get_by_label("Name").fill("training")
    other.goto("/hub/logout")
    expect(contact(home)).to_contain_text(OUT, timeout=PATIENCE)
    enter(busy, other)
    expect(contact(home)).to_contain_text("You are logged in again.", timeout=PATIENCE)
    expect(home.get_by_label("Name")).to_have_value("training")
    home.get_by_role("link", name="Load again").click()
    expect(contact(home)).to_be_empty()


def test_a_hub_that_does_not_answer_is_told_until_it_does(
    busy: Platform, context: BrowserContext, pictures: Path
) -> None:
    page = waiting(busy, context)
    home, spawn = context.new_page(), context.new_page()
    home.goto("/hub/home")
    spawn.goto("/hub/spawn/bruno/second")
    pages = (page, home, spawn)
    for one in pages:
        one.evaluate("window.untouched = true")
    with stopped(busy.child("jupyterhub_config")):
        for one in pages:
            expect(contact(one)).to_have_text(
                re.compile(
                    r"The platform has not answered since \d\d:\d\d; what you see may be old\."
                    r" It is asked again by itself\."
                ),
                timeout=PATIENCE,
            )
        expect(page.locator("#wait-head .as-of")).to_have_text(re.compile(r"as of \d\d:\d\d"))
        look(page, pictures, "waiting-silent")
    for one in pages:
        expect(contact(one)).to_be_empty(timeout=PATIENCE)
        assert one.evaluate("window.untouched")
    expect(page.locator("#wait-head .as-of")).to_be_hidden()


def test_the_page_of_a_start_says_that_nothing_answers_and_goes_on(
    slow: Platform, chromium: Browser, pictures: Path
) -> None:
    context = chromium.new_context(base_url=slow.url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    log_in(page, "chiara", slow.password("chiara"))
    page.goto("/hub/spawn?flavor=cpu&environment=slow")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_url("**/hub/spawn-pending/**")
    page.evaluate("window.untouched = true")
    with stopped(slow.child("jupyterhub_config")):
        expect(contact(page)).to_contain_text("The platform has not answered", timeout=PATIENCE)
        look(page, pictures, "pending-silent")
    expect(contact(page)).to_be_empty(timeout=PATIENCE)
    assert page.evaluate("window.untouched")
    page.get_by_role("button", name="Cancel the start").click()
    expect(page.locator("body")).to_contain_text("You cancelled the start.")
    context.close()


def test_a_hidden_page_looks_at_each_tick_that_its_browser_grants(
    busy: Platform, context: BrowserContext
) -> None:
    page = waiting(busy, context)
    page.clock.install()
    page.add_init_script(AWAY)
    with page.expect_response("**/requests/*"):
        page.reload()
    page.clock.pause_at(page.evaluate("Date.now() + 1000"))
    page.wait_for_load_state("networkidle")
    for _minute in range(3):
        with page.expect_response("**/requests/*", timeout=ONE_LOOK):
            # Each timer that is due runs once, as in a tab that has long been hidden.
            page.clock.fast_forward(60_000)

    # In front again, it looks at once, with no tick at all.
    with page.expect_response("**/requests/*", timeout=ONE_LOOK):
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
