"""The way of a session over plain pages: choose, watch, use, stop; and what the pages then say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest

from tests.hub.pages.web import action, ask, checked, refusals, untouched
from tests.support.platform import Platform, until, xsrf

pytestmark = pytest.mark.component

CHOICE = {"flavor": "a100-1g", "environment": "ml", "size": "medium"}


@pytest.fixture(scope="module")
def alice(shared_platform: Platform) -> Iterator[httpx.Client]:
    with shared_platform.login("alice") as client:
        yield client


def opened(client: httpx.Client, pending: httpx.Response) -> None:
    """Follow the page of a start until it leads into the session."""
    assert pending.status_code == 302, refusals(pending)
    where = pending.headers["Location"]
    assert where.startswith("/hub/spawn-pending/")

    def leads_in() -> bool:
        page = client.get(where)
        assert page.status_code in (200, 302), refusals(page)
        if page.status_code == 200:
            assert 'http-equiv="refresh"' in page.text
        return page.status_code == 302

    until(leads_in, "the page leads into the session")


def test_a_session_by_forms_alone(shared_platform: Platform, alice: httpx.Client) -> None:
    opened(alice, ask(alice, CHOICE))
    assert len(shared_platform.sessions()) == 1

    home = alice.get("/hub/home").text
    for shown in ("NVIDIA A100, one seventh", "Machine learning, Medium", "CMS", "running"):
        assert shown in home
    assert "simulated" in home
    assert "<dt>Allocated so far</dt><dd>less than 0.1 GPU-hours" in home
    assert 'href="/user/alice/"' in home

    # Asking again for what runs leads there; by REST it says so.
    assert alice.get("/hub/spawn/alice").headers["Location"] == "/user/alice/"
    assert alice.get("/hub/spawn?next=/user/alice/lab").headers["Location"] == "/user/alice/lab"
    again = alice.post("/hub/api/users/alice/server", json=CHOICE, headers=xsrf(alice))
    assert (again.status_code, again.json()["code"]) == (403, "already_running")
    assert again.json()["remedy"].startswith("Open it, or stop it first")

    # What asks for a new session leads to one, beside the one that runs.
    assert 'href="/hub/spawn">New session' in home
    new = alice.get("/hub/spawn?flavor=t4")
    assert new.headers["Location"] == "/hub/spawn/alice/session-2?flavor=t4"
    another = alice.get(new.headers["Location"])
    assert checked(another, "flavor") == ["t4"]
    assert "session-2" in another.text

    # The last choice is remembered, for another session that limits still allow.
    second = alice.get("/hub/spawn/alice/second")
    assert checked(second, "flavor") == ["a100-1g"]
    assert checked(second, "environment") == ["ml"]
    assert checked(second, "size") == ["medium"]
    assert "1 of 3 free for you now" in second.text

    stopped = alice.post(action(alice.get("/hub/home"), "/hub/arcetri/stop"))
    assert stopped.headers["Location"] == "/hub/home"
    until(lambda: not shared_platform.sessions(), "the session has ended")
    until(lambda: "Nothing of yours is running" in alice.get("/hub/home").text, "home says so")
    untouched(shared_platform)


def test_a_start_can_be_cancelled(shared_platform: Platform, alice: httpx.Client) -> None:
    pending = ask(alice, CHOICE)
    assert pending.status_code == 302
    page = alice.get(pending.headers["Location"])
    if page.status_code == 200:
        alice.post(action(page, "/hub/arcetri/stop"))
    else:
        alice.post(action(alice.get("/hub/home"), "/hub/arcetri/stop"))
    until(lambda: not shared_platform.sessions(), "the start was undone")
    untouched(shared_platform)
    assert alice.get("/hub/spawn").status_code == 200


def test_a_named_session_beside_the_first_one_and_a_limit_beyond(
    shared_platform: Platform, alice: httpx.Client
) -> None:
    cpu = {"flavor": "cpu"}
    named = alice.get("/hub/arcetri/new", params={"name": "training"})
    assert named.headers["Location"] == "/hub/spawn/alice/training"
    opened(alice, ask(alice, cpu, "/hub/spawn/alice/training"))
    opened(alice, ask(alice, cpu))
    beyond = alice.post(
        "/hub/api/users/alice/servers/third", json={"flavor": "cpu"}, headers=xsrf(alice)
    )
    assert beyond.status_code in (400, 403)
    page = alice.get("/hub/spawn/alice/third")
    assert "disabled" in re.search(r'<button[^>]*id="start"[^>]*>', page.text)[0]  # type: ignore[index]

    for _ in range(2):
        alice.post(action(alice.get("/hub/home"), "/hub/arcetri/stop"))
    until(lambda: not shared_platform.sessions(), "both have ended")
    home = alice.get("/hub/home")
    removed = alice.post(action(home, "/hub/arcetri/remove/alice/training"))
    assert removed.headers["Location"] == "/hub/home"
    assert "/hub/spawn/alice/training" not in alice.get("/hub/home").text
    untouched(shared_platform)


def test_a_session_that_was_killed_is_told_of(
    shared_platform: Platform, alice: httpx.Client
) -> None:
    with shared_platform.login("dario") as admin:
        opened(alice, ask(alice, {"flavor": "cpu"}))
        form = action(admin.get("/hub/arcetri/sessions"), "/end")
        admin.post(form, data={"message": "The node is <b>needed</b>."})
    until(lambda: not shared_platform.sessions(), "the admin ended it")
    for path in ("/hub/home", "/hub/spawn", "/hub/user/alice/lab"):
        page = alice.get(path).text
        assert "The node is &lt;b&gt;needed&lt;/b&gt;." in page
        assert 'data-notice="last-ended" data-code="admin"' in page


@pytest.mark.parametrize("which", ["", "session-2"])
def test_an_admins_message_is_told_beside_what_runs_on(
    shared_platform: Platform, alice: httpx.Client, which: str
) -> None:
    for path in ("/hub/spawn/alice", "/hub/spawn/alice/session-2"):
        opened(alice, ask(alice, {"flavor": "cpu"}, path))
    live = shared_platform.rows(
        "select server_name, id from arcetri_request where state = 'running'"
    )
    ids = {str(name): UUID(str(key)) for name, key in live}
    assert ids.keys() == {"", "session-2"}
    message = f"The node of “{which}” is needed."
    with shared_platform.api("dario") as admin:
        path = f"/arcetri/sessions/{ids[which]}"
        assert admin.request("DELETE", path, json={"message": message}).status_code == 204
    until(lambda: len(shared_platform.sessions()) == 1, "the admin ended one")

    for path in ("/hub/home", "/hub/spawn/alice/third"):
        (told,) = re.findall(r'data-notice="last-ended"[^>]*>\s*<p>([^<]*)', alice.get(path).text)
        assert message in told
        assert told.startswith("session-2: ") == bool(which)

    alice.post(action(alice.get("/hub/home"), "/hub/arcetri/stop"))
    until(lambda: not shared_platform.sessions(), "the other one has ended")
    # What its user stopped is no news, and takes nothing from what is.
    assert message in alice.get("/hub/home").text
    alice.post(action(alice.get("/hub/home"), "/hub/arcetri/remove/alice/session-2"))
    untouched(shared_platform)
