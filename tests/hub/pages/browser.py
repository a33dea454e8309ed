"""What a person does in Chromium on several pages' tests."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def log_in(page: Page, name: str, password: str, path: str = "/hub/login") -> None:
    """Log in through the development IAM's pages."""
    page.goto(path)
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.keyboard.press("Enter")
    agree = page.get_by_role("button", name=re.compile("authori[sz]e|agree|allow|approve", re.I))
    expect(agree.or_(page.locator("#content h1")).first).to_be_visible()
    if "/hub/" not in page.url and agree.count():
        agree.first.click()
    page.wait_for_url("**/hub/**")
