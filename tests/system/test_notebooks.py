"""The whole way in a browser: log in, choose, JupyterLab, a cell that names the device, stop."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.platform import Platform, until
from tests.support.tiers import find_chromium

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PATIENCE = 120_000
"""Milliseconds; a bound for a busy machine."""
CELL = "import os; print('held', os.environ['CUDA_VISIBLE_DEVICES'], os.environ['HOME'])"


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()))
        yield browser
        browser.close()


def log_in(chromium: Browser, platform: Platform, name: str) -> Page:
    """A browser of one's own, logged in."""
    context = chromium.new_context(base_url=platform.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/hub/login")
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill(platform.password(name))
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/**")
    return page


def start(page: Page, flavor: str, group: str | None = None) -> None:
    page.goto(f"/hub/spawn#flavor={flavor}")
    page.locator(f"input[name=flavor][value='{flavor}']").check()
    if group is not None:
        page.locator(f"input[name=group][value='{group}']").check()
    page.get_by_role("button", name="Start", exact=True).click()


def device_in_a_cell(page: Page) -> str:
    """What a cell prints of the device its session holds."""
    return in_a_cell(page, CELL)


def in_a_cell(page: Page, code: str) -> str:
    """What a first cell prints, which begins with ``held``."""
    page.wait_for_url("**/user/**/lab**")
    page.get_by_role("button", name=re.compile("Python 3")).first.click()
    # Keys typed before the kernel is idle are lost.
    expect(page.locator("#jp-main-statusbar")).to_contain_text(
        re.compile(r"Python 3.*\| Idle"), timeout=PATIENCE
    )
    page.locator(".jp-Cell .cm-content").first.click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output").first
    expect(output).to_contain_text("held", timeout=PATIENCE)
    return output.inner_text().strip()


def test_two_people_hold_two_devices_at_once(chromium: Browser, platform: Platform) -> None:
    alice, bruno = (log_in(chromium, platform, name) for name in ("alice", "bruno"))
    start(alice, "t4")
    start(bruno, "t4", "/arcetri/virgo")

    printed = {"alice": device_in_a_cell(alice), "bruno": device_in_a_cell(bruno)}

    devices = {name: line.split()[1] for name, line in printed.items()}
    assert devices["alice"] != devices["bruno"]
    with platform.api("dario") as api:
        held = {
            row["user"]: [device["uuid"] for device in row["devices"]]
            for row in api.get("/arcetri/sessions").json()["sessions"]
        }
    assert held == {name: [uuid] for name, uuid in devices.items()}
    assert all(line.endswith(f"/{name}") for name, line in printed.items())

    for page in (alice, bruno):
        page.goto("/hub/home")
        page.get_by_role("button", name=re.compile("Stop")).first.click()
    with platform.api("dario") as api:
        until(lambda: api.get("/arcetri/sessions").json()["sessions"] == [], "both have stopped")
