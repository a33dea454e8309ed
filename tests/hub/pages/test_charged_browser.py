"""Somebody of two groups in Chromium: what is free, who is ahead and what is instead, by group."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.hub.pages.test_waiting_browser import PATIENCE, People, people, place
from tests.support.complaints import Complaints
from tests.support.platform import Platform, running

__all__ = ["people"]

pytestmark = pytest.mark.browser

T4 = {"flavor": "t4", "group": "/arcetri/cms"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with two T4, of which CMS and Virgo may hold one each."""
    folder = tmp_path_factory.mktemp("charged")
    text, old = DEMO_CATALOG.read_text(encoding="utf-8"), "      t4: {quota: 2, limit: 1}\n"
    assert old in text
    profiles = folder / "profiles.yaml"
    profiles.write_text(text.replace(old, old.replace("2", "1", 1)), encoding="utf-8")
    with running(folder / "state", "--profiles", str(profiles)) as made:
        yield made


def button(page: Page, name: str) -> None:
    expect(page.locator("#start")).to_have_text(name)
    expect(page.locator("#start")).to_be_enabled()


def test_all_that_is_said_is_of_the_group_that_is_charged(
    platform: Platform, people: People
) -> None:
    complaints = Complaints()
    platform.start_session("alice", **T4)
    with platform.api("chiara") as chiara:
        assert chiara.post("/users/chiara/server", json=T4).status_code == 202

    page = people.page("bruno")
    complaints.watch(page)
    page.goto("/hub/spawn?flavor=t4")
    card = page.locator('[data-flavor="t4"]')
    free, line = card.locator("[data-free]"), card.locator("[data-waits-text]")
    expect(free).to_have_text("1 of 2 free for you now")
    expect(line).to_have_text("Charged to CMS you would wait, 1 ahead of you.")
    button(page, "Start")
    waits = "You would wait: 1 of your group ahead of you. Charged to Virgo one would start now."
    for group, left, said, word in (
        ("CMS", 0, waits, "Wait in line"),
        ("Virgo", 1, "", "Start"),
        ("CMS", 0, waits, "Wait in line"),
    ):
        page.get_by_role("radio", name=group).check()
        expect(free).to_have_text(f"{left} of 2 free for you now")
        expect(line).to_have_text(said)
        button(page, word)
    # It stays so when the numbers are asked for anew.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("[data-looked-at]")).to_be_attached(timeout=PATIENCE)
    expect(line).to_have_text(waits)
    # And it is what the server says to who has no script.
    plain = people.page("bruno", java_script_enabled=False)
    plain.goto(f"/hub/spawn?{urlencode(T4)}")
    expect(plain.locator('[data-flavor="t4"] [data-waits-text]')).to_have_text(waits)
    button(plain, "Wait in line")

    page.locator("#start").click()
    page.wait_for_url("**/hub/waiting/**")
    place(page, "You are 2nd in line")
    with platform.api("bruno") as api:
        ((request,),) = platform.rows(
            "select id from arcetri_request where username = 'bruno' and state = 'waiting'"
        )
        told = api.get(f"/arcetri/requests/{request}").json()
    assert told["instead"][0] == {
        "flavor": "t4",
        "group": "/arcetri/virgo",
        "environment": "python",
        "size": "small",
    }
    assert "t4" not in told["alternatives"]
    instead = page.locator("#wait-instead li").first
    expect(instead).to_contain_text("NVIDIA T4")
    expect(instead).to_contain_text("Not as you asked: charged to Virgo.")
    instead.get_by_role("button").click()
    page.wait_for_url("**/user/bruno/**")
    assert platform.rows(
        "select charged_group from arcetri_request where username = 'bruno' and state = 'running'"
    ) == [("/arcetri/virgo",)]

    # What one group refuses can be chosen, and asked for with another one.
    page.goto("/hub/spawn/bruno/second?flavor=t4")
    page.get_by_role("radio", name="Virgo").check()
    expect(card.locator(".reason").first).to_have_attribute("data-code", "flavor_limit")
    expect(page.locator("#start")).to_be_disabled()
    page.get_by_role("radio", name="CMS").check()
    button(page, "Wait in line")
    assert list(complaints) == []
