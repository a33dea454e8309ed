"""Who finds everything busy waits in line, is told the place, and starts when it is their turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.hub.pages.web import action, ask, refusals
from tests.support.platform import Platform, running, until

pytestmark = pytest.mark.component


def one_t4(hold: str = "10m") -> str:
    """The demonstration's catalog with a single T4, of which a group may hold one."""
    text = DEMO_CATALOG.read_text(encoding="utf-8")
    for old, new in (
        ("    t4: 2\n", "    t4: 1\n"),
        ("      t4: {quota: 2, limit: 1}\n", "      t4: {quota: 1, limit: 1}\n"),
        ("  hold: 10m ", f"  hold: {hold} "),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with one T4."""
    folder = tmp_path_factory.mktemp("waiting")
    profiles = folder / "profiles.yaml"
    profiles.write_text(one_t4(), encoding="utf-8")
    with running(folder / "state", "--profiles", str(profiles)) as made:
        yield made


@pytest.fixture(scope="module")
def busy(platform: Platform) -> Platform:
    """The platform, with alice on its only T4."""
    platform.start_session("alice", flavor="t4")
    return platform


def state(platform: Platform, name: str) -> list[str]:
    return [
        row[0]
        for row in platform.rows(
            "select state from arcetri_request where username = ? and state != 'ended'", name
        )
    ]


def test_an_admin_sees_who_waits_and_can_take_them_out(busy: Platform) -> None:
    platform = busy
    with platform.api("bruno") as bruno, platform.api("dario") as dario:
        choice = {"flavor": "t4", "group": "/arcetri/cms"}
        asked = bruno.post("/users/bruno/server", json=choice)
        assert (asked.status_code, asked.json()["state"]) == (202, "queued")
        listed = {s["user"]: s for s in dario.get("/arcetri/sessions").json()["sessions"]}
        assert listed["bruno"]["state"] == "waiting"
        with platform.login("dario") as admin:
            assert "waiting in line" in admin.get("/hub/arcetri/sessions").text
        with platform.login("bruno") as browser:
            assert "See your place" in browser.get("/hub/home").text
            assert "waits in line" in browser.get("/user/bruno/lab", follow_redirects=True).text
            # What is asked for beside it gets another name.
            other = browser.get("/hub/spawn").headers["Location"]
            assert other == "/hub/spawn/bruno/session-2"
            assert browser.get("/hub/").headers["Location"] == "/hub/home"
            assert browser.get("/hub/spawn/bruno").headers["Location"] == "/hub/waiting/bruno"

        path = f"/arcetri/sessions/{asked.json()['request']}"
        gone = dario.request("DELETE", path, json={"message": "The T4 is needed."})

        assert gone.status_code == 204
        assert state(platform, "bruno") == []
        now = bruno.get(f"/arcetri/requests/{asked.json()['request']}").json()
        assert (now["state"], now["code"]) == ("ended", "admin")
        assert "The T4 is needed." in now["message"]
        with platform.login("bruno") as browser:
            assert "The T4 is needed." in browser.get("/hub/home").text
        for bad in ("nothing", "00000000-0000-0000-0000-000000000000"):
            assert bruno.get(f"/arcetri/requests/{bad}").status_code == 404


def test_leaving_by_form_and_by_rest(busy: Platform) -> None:
    platform = busy
    choice = {"flavor": "t4", "group": "/arcetri/cms"}
    with platform.login("bruno") as bruno:
        ask(bruno, choice)
        page = bruno.get("/hub/waiting/bruno")
        gone = bruno.post(action(page, "/hub/arcetri/stop"))
        assert gone.headers["Location"] == "/hub/home"
        assert state(platform, "bruno") == []
        # Whoever looks again at what they left is at home.
        assert bruno.get("/hub/waiting/bruno").headers["Location"] == "/hub/home"
    with platform.api("bruno") as api:
        api.post("/users/bruno/server", json=choice)
        assert api.delete("/users/bruno/server").status_code == 204
        assert state(platform, "bruno") == []


def test_what_is_refused_of_an_exchange_keeps_the_place(busy: Platform) -> None:
    platform = busy
    with platform.login("bruno") as bruno:
        ask(bruno, {"flavor": "t4", "group": "/arcetri/cms"})
        page = bruno.get("/hub/waiting/bruno")
        where = action(page, "/hub/waiting/bruno")
        for choice, code in (({"flavor": "h100"}, "flavor_not_granted"), ({}, "flavor_required")):
            refused = bruno.post(where, data=choice)
            assert refusals(refused) == [code]
            assert "You are 1st in line" in refused.text
        assert state(platform, "bruno") == ["waiting"]
        moved = bruno.post(where, data={"flavor": "v70"})
        assert moved.headers["Location"] == "/hub/spawn-pending/bruno"
        until(lambda: state(platform, "bruno") == ["running"], "it runs")
    with platform.api("bruno") as api:
        api.delete("/users/bruno/server")
    until(lambda: state(platform, "bruno") == [], "it has ended")


def test_another_choice_by_rest_is_exchanged_or_refused(busy: Platform) -> None:
    platform = busy
    where, choice = "/users/bruno/server", {"flavor": "t4", "group": "/arcetri/cms"}
    with platform.api("bruno") as bruno:
        asked = bruno.post(where, json=choice).json()
        for same in (choice, {"flavor": "t4"}, {"user_options": choice}, None):
            again = bruno.post(where, json=same)
            assert (again.status_code, again.json()["request"]) == (202, asked["request"])
        for other, status, code in (
            ({"flavor": "t4", "group": "/arcetri/virgo"}, 409, "waits_for_another"),
            ({"flavor": "h100"}, 403, "flavor_not_granted"),
            ({"size": "nothing"}, 403, "flavor_required"),
        ):
            refused = bruno.post(where, json=other)
            assert (refused.status_code, refused.json()["code"]) == (status, code)
            still = bruno.get(f"/arcetri/requests/{asked['request']}").json()
            assert (still["state"], still["place"]) == ("queued", 1)

        free = next(one for one in still["instead"] if one["flavor"] == "v70")
        assert bruno.post(where, json=free).status_code in (201, 202)
        until(lambda: state(platform, "bruno") == ["running"], "it runs")
        rows = "select flavor from arcetri_request where username = 'bruno' and state = 'running'"
        assert platform.rows(rows) == [("v70",)]
        now = bruno.get(f"/arcetri/requests/{asked['request']}").json()
        assert (now["code"], now["by_its_user"]) == ("moved", True)
        bruno.delete(where)
    until(lambda: state(platform, "bruno") == [], "it has ended")


def test_who_ended_it_is_told_apart(busy: Platform) -> None:
    where, choice = "/users/bruno/server", {"flavor": "t4", "group": "/arcetri/cms"}
    for who, own in (("bruno", True), ("dario", False)):
        with busy.api("bruno") as bruno, busy.api(who) as somebody:
            asked = bruno.post(where, json=choice).json()
            assert somebody.delete(where).status_code == 204
            now = bruno.get(f"/arcetri/requests/{asked['request']}").json()
            assert (now["code"], now["by_its_user"]) == ("left", own)
            assert ("taken out of the queue by" in now["message"]) is not own


def test_somebody_elses_wait_is_no_concern_of_yours(busy: Platform) -> None:
    platform = busy
    with platform.login("bruno") as bruno, platform.login("fabio") as fabio:
        ask(bruno, {"flavor": "t4", "group": "/arcetri/cms"})
        assert fabio.get("/hub/waiting/bruno").status_code in (403, 404)
        token = action(fabio.get("/hub/spawn")).partition("?")[2]
        assert fabio.post(f"/hub/waiting/bruno?{token}", data={}).status_code in (403, 404)
        assert bruno.post("/hub/waiting/bruno", data={"flavor": "v70"}).status_code == 403
        assert state(platform, "bruno") == ["waiting"]
        bruno.post(action(bruno.get("/hub/waiting/bruno"), "/hub/arcetri/stop"))


def test_the_second_waits_on_a_page_and_starts_by_itself(busy: Platform) -> None:
    platform = busy
    with platform.login("bruno") as bruno:
        answer = ask(bruno, {"flavor": "t4", "group": "/arcetri/cms"})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/hub/waiting/bruno")
        page = bruno.get("/hub/waiting/bruno")
        assert "You are 1st in line" in page.text
        assert "There is no estimate yet" in page.text
        assert "The only NVIDIA T4 is in use" in page.text
        assert state(platform, "bruno") == ["waiting"]
        with platform.api("bruno") as api:
            # JupyterHub knows of nothing: neither pending nor failed.
            assert platform.server(api, "bruno") == {}

        with platform.api("alice") as api:
            assert api.delete("/users/alice/server").status_code in (202, 204)

        def session() -> str:
            return str(bruno.get("/hub/waiting/bruno").headers.get("Location"))

        until(lambda: session() == "/user/bruno/", "it leads into the session")
    with platform.api("bruno") as api:
        api.delete("/users/bruno/server")
