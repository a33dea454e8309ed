"""A granted session that does not start: the page says why, and one click asks again."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.hub.pages.web import action, ask, refusals, untouched
from tests.support.platform import Platform, running, until, xsrf

pytestmark = pytest.mark.component

DEMO = Path(__file__).parents[3] / "hub" / "arcetri_hub" / "catalogs" / "demo.yaml"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform of which one environment's interpreter ends as soon as it starts."""
    folder = tmp_path_factory.mktemp("broken")
    ends = folder / "python"
    ends.write_text(
        "#!/bin/sh\n"
        'case "$*" in *singleuser*) echo "<b>no such module</b>" >&2; sleep 2; exit 3;; esac\n'
        f'exec {shutil.which("python3")} "$@"\n'
    )
    ends.chmod(0o755)
    profiles = folder / "profiles.yaml"
    text = DEMO.read_text(encoding="utf-8")
    profiles.write_text(
        text.replace(
            "environments:\n", f"environments:\n  broken: {{title: Broken, local: {ends}}}\n"
        ),
        encoding="utf-8",
    )
    with running(folder / "state", "--profiles", str(profiles)) as platform:
        yield platform


def test_a_failed_start_says_why_and_asks_again_in_one_click(broken: Platform) -> None:
    with broken.login("alice") as client:
        page = _failed(client, ask(client, {"flavor": "cpu", "environment": "broken"}))
        assert page.status_code >= 400
        assert len(refusals(page)) == 1
        assert "Traceback" not in page.text
        assert "&lt;b&gt;no such module&lt;/b&gt;" in page.text
        assert "badge-simulated" not in page.text
        untouched(broken)

        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        assert hidden["environment"] == "broken"
        again = client.post(
            action(page), data={key: html.unescape(value) for key, value in hidden.items()}
        )
        assert refusals(_failed(client, again)) == refusals(page)
        untouched(broken)


def test_a_failed_start_on_a_simulated_device_is_marked_so(broken: Platform) -> None:
    with broken.login("alice") as client:
        page = _failed(client, ask(client, {"flavor": "t4", "environment": "broken"}))
        assert "badge-simulated" in page.text
        untouched(broken)


def test_a_failed_start_is_the_same_by_rest(broken: Platform) -> None:
    with broken.login("bruno") as client:
        answer = client.post(
            "/hub/api/users/bruno/server",
            json={"flavor": "cpu", "environment": "broken"},
            headers=xsrf(client),
        )
        if answer.status_code == 202:
            until(lambda: not broken.sessions(), "it has failed")
        else:
            assert set(answer.json()) == {"status", "code", "message", "remedy"}
            assert answer.status_code >= 500
    until(lambda: broken.leases() == [], "nothing is held")


def _failed(client: httpx.Client, answer: httpx.Response) -> httpx.Response:
    """The page that says so, whether the form answers it or the page of the start."""
    if answer.status_code != 302:
        return answer
    where = answer.headers["Location"]
    pages: list[httpx.Response] = []

    def over() -> bool:
        pages.append(client.get(where))
        return pages[-1].status_code != 200

    until(over, "the start has failed")
    return pages[-1]


def test_who_follows_a_start_reads_its_failure_as_every_refusal(broken: Platform) -> None:
    with broken.login("alice") as client:
        choice = {"flavor": "cpu", "environment": "broken"}
        asked = client.post("/hub/api/users/alice/server", json=choice, headers=xsrf(client))
        assert asked.is_success
        with client.stream("GET", "/hub/api/users/alice/server/progress") as stream:
            events = [
                json.loads(line.removeprefix("data:"))
                for line in stream.iter_lines()
                if line.startswith("data:")
            ]
        [failed] = [event for event in events if event.get("failed")]
    assert failed["code"] == "start_failed"
    assert failed["message"].startswith("The notebook server ended before it was ready")
    assert "Start again" in failed["remedy"]
    assert "<b>no such module</b>" in failed["details"]
    assert not any("PolicyRefusal" in json.dumps(event) for event in events)
    untouched(broken)


def _behind_details(page: httpx.Response) -> list[str]:
    """What a page has behind details that are closed."""
    return re.findall(
        r"<details>\s*<summary>Details</summary>\s*<pre>(.*?)</pre>", page.text, re.DOTALL
    )


def test_what_was_said_is_there_after_a_restart_for_its_user_and_the_admins(
    broken: Platform,
) -> None:
    with broken.login("alice") as client:
        _failed(client, ask(client, {"flavor": "cpu", "environment": "broken"}))
    untouched(broken)
    os.kill(broken.child("jupyterhub"), signal.SIGKILL)
    until(lambda: "The hub is back" in broken.said(), "it is back")

    with broken.login("alice") as client:
        for path in ("/hub/home", "/hub/spawn", "/hub/user/alice/lab"):
            (raw,) = _behind_details(client.get(path))
            assert "&lt;b&gt;no such module&lt;/b&gt;" in raw, path
    with broken.login("dario") as admin:
        (raw,) = _behind_details(admin.get("/hub/spawn/alice"))
        assert "&lt;b&gt;no such module&lt;/b&gt;" in raw
        assert _behind_details(admin.get("/hub/home")) == []

    ((key,),) = broken.rows(
        "select id from arcetri_request where username = 'alice' order by place desc limit 1"
    )
    path = f"/arcetri/requests/{UUID(key)}"
    for name in ("alice", "dario"):
        with broken.api(name) as api:
            answer = api.get(path).json()
        assert (answer["state"], answer["code"]) == ("ended", "start_failed")
        assert "<b>no such module</b>" in answer["details"], name
    with broken.api("bruno") as api:
        assert api.get(path).status_code in (403, 404)
