"""One's turn comes in Chromium: how long it will take, the notification, and who never comes."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from arcetri_hub.usage import WITNESS
from tests.hub.pages.browser import log_in
from tests.hub.pages.test_waiting import one_t4, state
from tests.hub.pages.test_waiting_browser import PATIENCE, place, wait_for_t4
from tests.support.platform import Platform, running, until

pytestmark = pytest.mark.browser

HOLD = "12s"
AWAY = """
  window.away = true;
  Object.defineProperty(document, "hidden", { get: () => window.away });
  window.notes = [];
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) { super(title, options); window.notes.push([title, options.body]); }
  };
"""
"""A page in a tab that is not in front, as a browser without a screen cannot show it; and what its
notifications say, which are real ones."""
PAST = 40
"""Sessions of two hours that the ledger knows of."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with one T4, where nothing is kept for long."""
    folder = tmp_path_factory.mktemp("turn")
    keep_for(folder, HOLD)
    with running(folder / "state", "--profiles", str(folder / "profiles.yaml")) as made:
        yield made


def keep_for(folder: Path, hold: str) -> None:
    """Write the catalog with this ``hold``."""
    (folder / "new.yaml").write_text(one_t4(hold), encoding="utf-8")
    (folder / "new.yaml").replace(folder / "profiles.yaml")


def remember(platform: Platform) -> None:
    """Have the ledger know of sessions of two hours on a T4, as a hub would have told it."""
    settings = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
    usage = settings["usage"]
    now = datetime.now(UTC)
    events: list[dict[str, Any]] = []
    for number in range(PAST):
        begin = now - timedelta(hours=3 * (number + 1))
        told = {"session": str(uuid4()), "boot_id": "b", "node": "past"}
        start = {
            **told,
            "type": "start",
            "account": "somebody",
            "username": "somebody",
            "group": "/arcetri/cms",
            "flavor": "t4",
            "flavor_type": "gpu",
            "share": "1",
            "catalog": "0" * 64,
            "cpu": 2,
            "memory": 1 << 30,
            "devices": [],
            "pid": 1,
            "pid_start_ticks": 1,
            "at": begin.isoformat(),
            "boottime_ms": 1,
        }
        end = {
            **told,
            "type": "end",
            "reason": "stopped",
            "at": (begin + timedelta(hours=2)).isoformat(),
            "boottime_ms": 7_200_001,
        }
        events += [start, end]
    batch = {"v": 1, "writer": WITNESS, "epoch": str(uuid4()), "events": [
        {"v": 1, "seq": number, **event} for number, event in enumerate(events, start=1)
    ]}  # fmt: skip
    token = Path(usage["witness_token_file"]).read_text(encoding="utf-8").strip()
    answer = httpx.post(
        f"{usage['url']}/services/usage/api/v1/witness",
        json=batch,
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.is_success, answer.text


def test_what_is_expected_who_never_comes_and_a_notification(
    platform: Platform, chromium: Browser
) -> None:
    remember(platform)
    # A hub asks at its beginning, and then every ten minutes.
    os.kill(platform.child("jupyterhub_config"), signal.SIGKILL)
    until(lambda: httpx.get(f"{platform.url}/hub/health").is_success, "the hub is back")
    platform.start_session("alice", flavor="t4")
    with platform.api("chiara") as chiara:
        choice = {"flavor": "t4", "group": "/arcetri/cms"}
        asked = chiara.post("/users/chiara/server", json=choice).json()
        assert asked["state"] == "queued"
        context = chromium.new_context(base_url=platform.url, permissions=["notifications"])
        context.set_default_timeout(PATIENCE)
        bruno = context.new_page()
        log_in(bruno, "bruno", platform.password("bruno"))
        wait_for_t4(bruno)
        place(bruno, "You are 2nd in line")

        expected = bruno.locator("#expected .expected")
        expect(expected).to_have_text(re.compile(r"\d\sh.*to\s\d\sh"))
        expect(bruno.locator("#expected .hint")).to_contain_text("of such waits fall into this")

        bruno.add_init_script(AWAY)
        bruno.reload()
        bruno.get_by_role("button", name="Tell me when it is ready").click()
        expect(bruno.locator("#notify-status")).to_have_text(
            "You will be told when it is ready, as long as this page stays open."
        )
        expect(bruno.get_by_role("button", name="Tell me when it is ready")).to_be_hidden()

        with platform.api("alice") as alice:
            alice.delete("/users/alice/server")
        # It is chiara's turn, who is not there: what nobody opens goes to the next.
        until(lambda: state(platform, "chiara") == ["running"], "her session runs")
        # His is kept for longer: a busy machine takes its time to tell him, and to show it.
        keep_for(platform.state.parent, "10m")
        page = f"{platform.url}/hub/waiting/bruno"
        until(lambda: "within 12" not in context.request.get(page).text(), "it is read")
        until(lambda: state(platform, "chiara") == [], "nobody came", 60)
        now = chiara.get(f"/arcetri/requests/{asked['request']}").json()
        assert (now["state"], now["code"]) == ("ended", "not_opened")
        assert "nobody opened it" in now["message"]

    until(lambda: bruno.evaluate("window.notes.length") == 1, "he is told")
    (title, body) = bruno.evaluate("window.notes[0]")
    assert title == "Your notebook is ready"
    assert body.startswith("NVIDIA T4 has started.")
    assert "/hub/waiting/" in bruno.url
    come_back(bruno)
    bruno.wait_for_url("**/user/bruno/**")
    # Who has opened it keeps it.
    kept = "select state, hold_until from arcetri_request where username = 'bruno'"
    until(lambda: platform.rows(kept) == [("running", None)], "it is his")
    context.close()


def come_back(page: Page) -> None:
    """Bring the page's tab to the front."""
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
