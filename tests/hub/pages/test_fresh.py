"""What the page of choices shows when a person's groups have just changed, or IAM is slow."""

from __future__ import annotations

import json
import os
import signal
import time

import httpx
import pytest

from tests.hub.pages.web import action, ask, refusals, untouched
from tests.support.platform import Platform, until

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

ONCE = 1.1
"""Seconds within which the page may show an answer of IAM again."""


def change(platform: Platform, name: str, **changes: object) -> None:
    """What an administrator does at IAM."""
    issuer = json.loads((platform.state / "settings.json").read_text())["iam"]["issuer"]
    httpx.patch(f"{issuer}dev/api/users/{name}", json=changes, trust_env=False).raise_for_status()


def offers_v70(page: httpx.Response) -> bool:
    return 'data-flavor="v70"' in page.text


def test_a_group_given_or_taken_shows_when_the_page_is_loaded_again(platform: Platform) -> None:
    with platform.login("fabio") as fabio:
        assert not offers_v70(fabio.get("/hub/spawn"))
        change(platform, "fabio", groups=["/arcetri/students", "/arcetri/virgo"])
        time.sleep(ONCE)
        assert offers_v70(fabio.get("/hub/spawn"))

        change(platform, "fabio", groups=["/arcetri/students"])
        time.sleep(ONCE)
        assert not offers_v70(fabio.get("/hub/spawn"))

        change(platform, "fabio", active=False)
        time.sleep(ONCE)
        page = fabio.get("/hub/spawn")
        assert 'data-code="not_admitted"' in page.text
        assert ">Look again</a>" in page.text


def test_a_start_is_judged_by_what_is_true_at_that_moment(platform: Platform) -> None:
    with platform.login("fabio") as fabio:
        page = ask(fabio, {"flavor": "v70"})
        assert refusals(page) == ["flavor_not_granted"]
        time.sleep(ONCE)
        change(platform, "fabio", groups=["/arcetri/virgo"])
        # No page was loaded since: the refusal of before is not repeated.
        assert ask(fabio, {"flavor": "v70"}).status_code == 302
        until(lambda: platform.sessions(), "it starts")
        fabio.post(action(fabio.get("/hub/home"), "/hub/arcetri/stop"))


def test_a_slow_iam_holds_no_page_up(platform: Platform) -> None:
    with platform.login("fabio") as fabio:
        change(platform, "fabio", groups=["/arcetri/virgo"])
        time.sleep(ONCE)
        iam = platform.child("devidp")
        os.kill(iam, signal.SIGSTOP)
        try:
            began = time.monotonic()
            page = fabio.get("/hub/spawn")
            # Far below what a question to IAM may take.
            assert time.monotonic() - began < 8
        finally:
            os.kill(iam, signal.SIGCONT)
        assert not offers_v70(page)
        assert 'data-notice="known-since"' in page.text
        # The question was not given up: its answer is there by itself.
        until(lambda: offers_v70(fabio.get("/hub/spawn")), "the page knows", 30)
        assert 'data-notice="known-since"' not in fabio.get("/hub/spawn").text
        untouched(platform)
