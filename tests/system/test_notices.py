"""An end that is announced, and one that came, told to who sits in JupyterLab or on a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.support.platform import Platform, running, until
from tests.system.test_notebooks import PATIENCE, chromium, log_in, start

pytestmark = [pytest.mark.timeout(600)]
__all__ = ["chromium"]

WHY = "The room is too hot. " * 10


def notices(client: httpx.Client, **query: str) -> httpx.Response:
    return client.get("/hub/arcetri/notices", params=query)


@pytest.mark.component
def test_what_the_pages_are_told(platform: Platform) -> None:
    with (
        platform.login("alice") as alice,
        platform.login("bruno") as bruno,
        platform.api("dario") as admin,
    ):
        assert notices(alice).json() == {"notices": [], "ended": None}
        platform.start_session("alice", flavor="cpu")
        assert notices(alice).json() == {"notices": [], "ended": None}
        # Another person's are not found, by an admin they are.
        for asked in (notices(bruno, user="alice"), notices(bruno, user="nobody")):
            assert asked.status_code in (403, 404)
        token = {"Authorization": admin.headers["Authorization"]}
        url = f"{platform.url}/hub/arcetri/notices"
        assert httpx.get(url, params={"user": "alice"}, headers=token).status_code == 200
        assert httpx.get(url).status_code == 401

        [session] = admin.get("/arcetri/sessions").json()["sessions"]
        ended = admin.request(
            "DELETE", f"/arcetri/sessions/{session['id']}", json={"message": WHY.strip()}
        )
        assert ended.status_code in (202, 204)
        until(lambda: notices(alice).json()["ended"], "it is told")
        said = notices(alice).json()["ended"]
        assert said["code"] == "admin"
        assert said["sentence"].endswith(WHY.strip())
        assert notices(alice, server="other").json() == {"notices": [], "ended": None}


def told(page: Page, words: str) -> None:
    shown = page.locator("#arcetri-notices")
    expect(shown).to_contain_text(re.compile(words), timeout=PATIENCE)
    expect(shown.get_by_role("button", name="Dismiss").first).to_be_visible()


@pytest.mark.browser
def test_who_sits_in_jupyterlab_is_told(tmp_path: Path, chromium: Browser) -> None:
    profiles = tmp_path / "profiles.yaml"
    text = DEMO_CATALOG.read_text()
    for of, becomes in (("lifetime: 12h", "lifetime: 2m"), ("grace: 5m", "grace: 1m")):
        assert of in text
        text = text.replace(of, becomes)
    profiles.write_text(text)
    with running(tmp_path / "state", "--profiles", str(profiles)) as platform:
        page = log_in(chromium, platform, "alice")
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        start(page, "cpu")
        page.wait_for_url("**/user/**/lab**")
        told(page, "This session ends at .*no session runs longer than 2 minutes")
        elsewhere = page.context.new_page()
        for path in ("/hub/token", "/hub/home"):
            elsewhere.goto(path)
            expect(elsewhere.locator("[data-notice=lifetime]")).to_have_count(1)
        elsewhere.close()
        told(page, "Your session was ended because it had run for 2 minutes")
        # What was announced has come, and is announced no more.
        expect(page.locator("#arcetri-notices")).not_to_contain_text("This session ends at")
        assert [text for text in complaints if "arcetri" in text] == []


@pytest.mark.browser
def test_what_is_modified_is_saved_when_the_grace_begins_and_before_the_end(
    tmp_path: Path, chromium: Browser
) -> None:
    profiles = tmp_path / "profiles.yaml"
    plain = DEMO_CATALOG.read_text().replace("grace: 5m", "grace: 45s")
    title = "    title: No accelerator\n"
    assert "grace: 45s" in plain
    assert title in plain
    profiles.write_text(plain)
    with running(tmp_path / "state", "--profiles", str(profiles)) as platform:
        page = log_in(chromium, platform, "alice")
        start(page, "cpu")
        page.wait_for_url("**/user/**/lab**")
        expect(page.locator("#jp-main-statusbar")).to_be_visible(timeout=PATIENCE)
        page.locator(".jp-LauncherCard", has_text="Text File").first.click(timeout=PATIENCE)
        editor = page.locator(".jp-FileEditor .cm-content")
        editor.click(timeout=PATIENCE)
        page.keyboard.type("first")
        begun = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        said = f"{title}    maintenance: {{from: '{begun}', message: new cooling}}\n"
        profiles.write_text(plain.replace(title, said))

        told(page, "goes into maintenance: new cooling.* This session ends at")
        left = page.locator("#arcetri-notices").get_by_role("timer")
        expect(left).to_have_text(re.compile(r"^0:[0-4]\d left$"))
        before = left.inner_text()
        expect(left).not_to_have_text(before)
        (file,) = written(platform, "untitled.txt")
        until(lambda: file.read_text() == "first", "it is saved when the grace begins", 20)
        page.keyboard.type(" second")
        until(lambda: file.read_text() == "first second", "and again before the end", 45)

        told(page, "Your session was ended: .*Your request is back in line")
        page.goto("/hub/home")
        last = page.locator("[data-notice=last-ended]")
        expect(last).to_have_attribute("data-code", "maintenance")
        expect(last).to_contain_text(re.compile(r"^\s*Your session was ended: "))
        page.get_by_role("link", name="See your place").click()
        expect(page.locator("[data-notice=last-ended]")).to_contain_text("new cooling")
        page.get_by_role("button", name="Leave the queue").click()
        page.wait_for_url("**/hub/home")


def written(platform: Platform, name: str) -> list[Path]:
    """The files of a name below the platform's folder, once there is one."""
    until(lambda: any(platform.state.rglob(name)), f"{name} is there")
    return [path for path in platform.state.rglob(name) if not path.is_symlink()]


@pytest.mark.browser
def test_an_admins_message_reaches_who_sits_in_jupyterlab(
    chromium: Browser, shared_platform: Platform
) -> None:
    page = log_in(chromium, shared_platform, "alice")
    start(page, "cpu")
    page.wait_for_url("**/user/**/lab**")
    expect(page.locator("#jp-main-statusbar")).to_be_visible(timeout=PATIENCE)
    with shared_platform.api("dario") as admin:
        [session] = admin.get("/arcetri/sessions").json()["sessions"]
        path = f"/arcetri/sessions/{session['id']}"
        admin.request("DELETE", path, json={"message": WHY.strip()}).raise_for_status()
    told(page, f"ended your session: {WHY.strip()}")
    # Whatever JupyterLab itself has to say of that, this can be read and put away.
    page.get_by_role("log").get_by_role("button", name="Dismiss").click()
    expect(page.locator("#arcetri-notices")).not_to_contain_text("The room is too hot")
