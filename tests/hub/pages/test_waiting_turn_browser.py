"""One's turn comes in Chromium: how long it will take, the notification, and who never comes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, expect

from arcetri_hub.usage import WITNESS
from tests.hub.pages.browser import log_in
from tests.hub.pages.test_waiting import one_t4, state
from tests.hub.pages.test_waiting_browser import PATIENCE, pictures, place, wait_for_t4
from tests.support.platform import Platform, running, until

__all__ = ["pictures"]

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
WITNESSED = """
  const away = () => sessionStorage.getItem("away") === "yes";
  Object.defineProperty(document, "hidden", { get: away });
  const Real = window.Notification;
  window.Notification = class extends Real {
    constructor(title, options) {
      super(title, options);
      const notes = JSON.parse(sessionStorage.getItem("notes") ?? "[]");
      sessionStorage.setItem("notes", JSON.stringify([...notes, [title, options.body]]));
    }
  };
"""
"""The same for a tab that comes and goes, and through several pages."""
LOOK = """async () => {
  document.dispatchEvent(new Event("arcetri:look"));
  for (let i = 0; i < 3; i++) await (await fetch("/hub/home")).text();
}"""
"""What looks again does so, and has had the time of three answers."""
KEPT = re.compile(r"\b20\smin")
TOLD = "You will be told when it is ready, or will not be, as long as this page stays open."
BROKEN = """#!/bin/sh
case "$*" in *singleuser*)
  for _ in $(seq 120); do [ -e {folder}/fail ] && break; sleep 0.5; done
  echo "no such module" >&2; exit 3;;
esac
exec {python} "$@"
"""
"""An interpreter that ends as a session starts, as soon as it is told to."""
SLOW = """#!/bin/sh
case "$*" in *singleuser*)
  for _ in $(seq 240); do [ -e {folder}/go ] && break; sleep 0.5; done;;
esac
exec {python} "$@"
"""
"""An interpreter whose session answers when it is told to."""
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
    more = ""
    for name, text, python in (
        ("broken", BROKEN, shutil.which("python3")),
        ("slow", SLOW, sys.executable),
    ):
        interpreter = folder / name
        if not interpreter.exists():
            interpreter.write_text(text.format(python=python, folder=folder))
            interpreter.chmod(0o755)
        more += f"  {name}: {{title: {name.title()}, local: {interpreter}}}\n"
    more += "\nvolumes:\n"
    text = one_t4(hold).replace("\nvolumes:\n", more)
    (folder / "new.yaml").write_text(text, encoding="utf-8")
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
        expect(bruno.locator("#notify-status")).to_have_text(TOLD)
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


@pytest.fixture
def in_line(
    platform: Platform, chromium: Browser, request: pytest.FixtureRequest
) -> Iterator[Page]:
    """Bruno waits for a T4 that alice has, and wants news.

    For an environment that cannot start, unless another one is named.
    """
    free(platform, "alice", "bruno")
    keep_for(platform.state.parent, "10m")
    platform.start_session("alice", flavor="t4")
    context = chromium.new_context(base_url=platform.url, permissions=["notifications"])
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.add_init_script(WITNESSED)
    log_in(page, "bruno", platform.password("bruno"))
    with platform.api("bruno") as api:
        environment = getattr(request, "param", "broken")
        choice = {"flavor": "t4", "group": "/arcetri/cms", "environment": environment}
        assert api.post("/users/bruno/server", json=choice).json()["state"] == "queued"
    page.goto("/hub/waiting/bruno")
    page.get_by_role("button", name="Tell me when it is ready").click()
    expect(page.locator("#notify-status")).to_have_text(TOLD)
    yield page
    context.close()
    free(platform, "alice", "bruno")


def free(platform: Platform, *names: str) -> None:
    """Have these people hold nothing."""
    for name in names:
        with platform.api(name) as api:
            api.delete(f"/users/{name}/server")
        until(lambda name=name: state(platform, name) == [], "it has ended")  # type: ignore[misc]


def go_away(page: Page) -> None:
    """Put the page's tab behind another."""
    page.evaluate("sessionStorage.setItem('away', 'yes')")


def notes(page: Page) -> list[list[str]]:
    """What the notifications said."""
    try:
        said = page.evaluate("sessionStorage.getItem('notes') ?? '[]'")
    except Error:  # between two pages
        return []
    found: list[list[str]] = json.loads(said)
    return found


@pytest.mark.parametrize("message", ["The T4 is needed.", ""], ids=["", "as a user's server"])
def test_who_is_taken_out_of_the_queue_is_told_where_they_are(
    platform: Platform, in_line: Page, pictures: Path, message: str
) -> None:
    go_away(in_line)
    [(request,)] = platform.rows(
        "select id from arcetri_request where username = 'bruno' and state != 'ended'"
    )
    with platform.api("dario") as admin:
        if message:
            said = {"message": message}
            gone = admin.request("DELETE", f"/arcetri/sessions/{UUID(request)}", json=said)
        else:
            message = "Your request was taken out of the queue by "
            gone = admin.delete("/users/bruno/server")
        assert gone.status_code == 204

    until(lambda: notes(in_line), "he is told")
    [(title, body)] = notes(in_line)
    assert title == "Your notebook was not started"
    assert body.startswith("NVIDIA T4: ")
    assert message in body
    assert in_line.title().startswith("Not started: NVIDIA T4")
    # He reads it when he comes, however late, and goes on from there.
    in_line.evaluate("sessionStorage.setItem('away', 'no')")
    in_line.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    place(in_line, "Your request has ended")
    # What he asks for elsewhere is no news of this one.
    with platform.api("bruno") as api:
        asked = {"flavor": "t4", "group": "/arcetri/cms"}
        assert api.post("/users/bruno/server", json=asked).json()["state"] == "queued"
    in_line.evaluate(LOOK)
    place(in_line, "Your request has ended")
    expect(in_line.locator(".lead")).to_contain_text(message)
    free(platform, "bruno")
    for gone_too in ("Leave the queue", "Keep waiting"):
        expect(in_line.get_by_text(gone_too)).to_be_hidden()
    found = Axe().run(in_line).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []
    in_line.screenshot(path=pictures / "waiting-ended.png", full_page=True)
    in_line.get_by_role("link", name="Choose and start").click()
    in_line.wait_for_url("**/hub/spawn/bruno")


@pytest.mark.parametrize("in_line", ["slow"], indirect=True)
def test_what_is_ready_while_nobody_looks_is_kept_until_they_do(
    platform: Platform, in_line: Page
) -> None:
    folder = platform.state.parent
    (folder / "go").unlink(missing_ok=True)
    # Until when it is kept is the catalog's of the moment.
    keep_for(folder, "20m")
    expect(in_line.locator("#wait-hold")).to_contain_text(KEPT, timeout=PATIENCE)
    expect(in_line.locator("#contact")).to_have_attribute("data-kept", KEPT)
    with platform.api("alice") as alice:
        alice.delete("/users/alice/server")
    in_line.wait_for_url("**/hub/spawn-pending/**")
    in_line.wait_for_selector("#pending")
    go_away(in_line)
    (folder / "go").touch()

    until(lambda: notes(in_line), "he is told")
    [(title, body)] = notes(in_line)
    assert title == "Your notebook is ready"
    assert body == "NVIDIA T4 has started. Open it soon."
    in_line.evaluate(LOOK)
    expect(in_line).to_have_title("Ready: NVIDIA T4")
    assert "/hub/spawn-pending/" in in_line.url
    held = "select state, hold_until is null from arcetri_request where username = 'bruno'"
    assert platform.rows(f"{held} and state != 'ended'") == [("running", 0)]
    in_line.evaluate("sessionStorage.setItem('away', 'no')")
    in_line.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    in_line.wait_for_url("**/user/bruno/**")
    until(lambda: platform.rows(f"{held} and state != 'ended'") == [("running", 1)], "it is his")


@pytest.mark.parametrize("looks_on", [False, True], ids=["away", "goes while it starts"])
def test_whose_start_fails_is_told(platform: Platform, in_line: Page, looks_on: bool) -> None:
    fail = platform.state.parent / "fail"
    fail.unlink(missing_ok=True)
    if not looks_on:
        go_away(in_line)
    with platform.api("alice") as alice:
        alice.delete("/users/alice/server")
    if looks_on:
        in_line.wait_for_url("**/hub/spawn-pending/**")
        in_line.wait_for_selector("#pending")
        go_away(in_line)
    fail.touch()

    until(lambda: notes(in_line), "he is told")
    expect(in_line).to_have_title(re.compile("^Not started"))
    [(title, body)] = notes(in_line)
    assert title == "Your notebook was not started"
    assert body.startswith("NVIDIA T4: ")
    assert "Traceback" not in body


def come_back(page: Page) -> None:
    """Bring the page's tab to the front."""
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
