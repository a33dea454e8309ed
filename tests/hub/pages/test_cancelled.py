"""A start that is undone while it runs: no failure, told as such, asked again in one click."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.hub.pages.browser import log_in
from tests.hub.pages.web import action, ask, checked, untouched
from tests.support.complaints import Complaints
from tests.support.platform import Platform, running, until, xsrf
from tests.support.tiers import find_chromium

pytestmark = pytest.mark.component

DEMO = Path(__file__).parents[3] / "hub" / "arcetri_hub" / "catalogs" / "demo.yaml"
CHOICE = {"flavor": "cpu", "environment": "slow", "size": "small"}
CANCELLED = "You cancelled the start."


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of which one environment's server never answers."""
    folder = tmp_path_factory.mktemp("slow")
    waits = folder / "python"
    waits.write_text(
        "#!/bin/sh\n"
        'case "$*" in *singleuser*) exec sleep 600;; esac\n'
        f'exec {shutil.which("python3")} "$@"\n'
    )
    waits.chmod(0o755)
    profiles = folder / "profiles.yaml"
    text = DEMO.read_text(encoding="utf-8")
    profiles.write_text(
        text.replace("environments:\n", f"environments:\n  slow: {{title: Slow, local: {waits}}}\n")
    )
    with running(folder / "state", "--profiles", str(profiles)) as platform:
        yield platform


@pytest.fixture(scope="module")
def alice(slow: Platform) -> Iterator[httpx.Client]:
    with slow.login("alice") as client:
        yield client


def pending(platform: Platform, client: httpx.Client) -> httpx.Response:
    """Ask for what never answers; the page of its start, once it holds something."""
    answer = ask(client, CHOICE)
    assert answer.status_code == 302
    until(platform.sessions, "it starts")
    return client.get(answer.headers["Location"])


def counts(platform: Platform) -> dict[str, float]:
    """What the hub has counted of starts."""
    with platform.login("dario") as admin:
        token = admin.post(
            "/hub/api/users/dario/tokens", json={"scopes": ["read:metrics"]}, headers=xsrf(admin)
        ).json()["token"]
        text = admin.get("/hub/metrics", headers={"Authorization": f"token {token}"}).text
    found = re.findall(
        r"^arcetri_(?:request_decide|session_start_fail)_total(.*) (\S+)$", text, re.M
    )
    return {label: float(value) for label, value in found if float(value)}


def test_who_cancels_a_start_can_ask_again_and_it_counts_as_no_failure(
    slow: Platform, alice: httpx.Client
) -> None:
    before = counts(slow)
    page = pending(slow, alice)

    answer = alice.post(action(page, "/hub/arcetri/stop"))

    assert answer.headers["Location"].startswith("/hub/spawn/alice?")
    spawn = alice.get(answer.headers["Location"])
    assert CANCELLED in spawn.text
    assert checked(spawn, "environment") == ["slow"]
    assert "disabled" not in re.search(r'<button[^>]*id="start"[^>]*>', spawn.text)[0]  # type: ignore[index]
    # An open page of the start has one click to ask again, and no dead end.
    again = alice.get("/hub/spawn-pending/alice")
    assert CANCELLED in again.text
    assert 'id="ask-again"' in again.text
    assert "has not been started" not in again.text
    assert slow.rows("select reason from arcetri_request") == [("cancelled",)]
    after = counts(slow)
    assert after.pop('{outcome="cancelled"}') == 1
    assert after == before
    untouched(slow)


def test_a_start_cancelled_by_rest_is_no_failure_either(
    slow: Platform, alice: httpx.Client
) -> None:
    before = counts(slow)
    pending(slow, alice)

    stopped = alice.delete("/hub/api/users/alice/server", headers=xsrf(alice))

    assert stopped.status_code in (202, 204), stopped.text
    until(
        lambda: not slow.rows("select id from spawners where server_id is not null"), "it is gone"
    )
    after = counts(slow)
    assert after.pop('{outcome="cancelled"}') == before.pop('{outcome="cancelled"}', 0) + 1
    assert after == before
    untouched(slow)


def test_whose_start_an_admin_cancels_reads_who_did(slow: Platform, alice: httpx.Client) -> None:
    pending(slow, alice)

    with slow.api("dario") as api:
        assert api.delete("/users/alice/server").status_code in (202, 204)

    assert "Your last start was cancelled by dario." in alice.get("/hub/home").text
    until(
        lambda: not slow.rows("select id from spawners where server_id is not null"), "it is gone"
    )
    untouched(slow)


@pytest.mark.browser
def test_the_button_leads_to_where_one_chooses_again(slow: Platform) -> None:
    """The page follows the start's events, and must not look again over the form's answer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()))
        context = browser.new_context(base_url=slow.url)
        context.set_default_timeout(60_000)
        page = context.new_page()
        complaints = Complaints()
        complaints.watch(page)
        log_in(page, "alice", slow.password("alice"))
        page.goto("/hub/spawn#flavor=cpu&environment=slow")
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url("**/hub/spawn-pending/**")
        until(slow.sessions, "it starts")
        page.get_by_role("button", name="Cancel the start").click()
        page.wait_for_url("**/hub/spawn/**")
        expect(page.get_by_text(CANCELLED)).to_be_visible()
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
        expect(page.locator("input[name=environment]:checked")).to_have_value("slow")
        context.close()
        browser.close()
    assert complaints == []
    untouched(slow)


def test_a_closing_hub_cancels_nothing(slow: Platform, alice: httpx.Client) -> None:
    """What it cuts short stays a start that was interrupted."""
    pending(slow, alice)
    assert slow.stop() == 0
    reasons = [row[0] for row in slow.rows("select reason from arcetri_request order by rowid")]
    assert reasons[-1] != "cancelled"
