"""The admins' page and its REST API on a real platform."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.platform import Platform, until, xsrf

pytestmark = pytest.mark.component

PAGE = "/hub/arcetri/sessions"


@pytest.fixture(scope="module")
def session(shared_platform: Platform) -> UUID:
    """Alice's session on a simulated T4."""
    return shared_platform.start_session("alice", flavor="t4")


def stop_form(page: str, session: UUID) -> str:
    found = re.search(rf'action="([^"]*{session}/end[^"]*)"', page)
    assert found, page
    return found[1].replace("&amp;", "&")


def test_only_admins_see_the_page(shared_platform: Platform) -> None:
    with httpx.Client(base_url=shared_platform.url) as nobody:
        answer = nobody.get(PAGE)
        assert answer.status_code == 302
        assert "login" in answer.headers["Location"]
    for name in ("alice", "chiara"):
        with shared_platform.login(name) as client:
            answer = client.get(PAGE)
            assert answer.status_code == 403
            assert "/arcetri/admins" in answer.text, "the remedy names the group"


def test_the_page_says_who_holds_what(shared_platform: Platform, session: UUID) -> None:
    with shared_platform.login("dario") as admin:
        page = admin.get(PAGE).raise_for_status().text
    row = page[page.index(f'data-session="{session}"') :].split("</tr>")[0]
    for told in ("alice", "NVIDIA T4", "SIM-t4-", "simulated", "/arcetri/cms", "running"):
        assert told in row
    assert re.search(
        r'data-flavor="t4">\s*<span class="count">1<span class="of"> of 2 not held', page
    )


def test_nobody_else_stops_a_session(shared_platform: Platform, session: UUID) -> None:
    with shared_platform.login("dario") as admin:
        form = stop_form(admin.get(PAGE).text, session)
        without_token = admin.post(f"{PAGE}/{session}/end", data={"message": ""})
        assert without_token.status_code == 403
        too_long = admin.post(form, data={"message": "x" * 501})
        assert too_long.status_code == 400
        assert "invalid_message" in too_long.text
        assert admin.get(f"{PAGE}/{session}/end").status_code == 302, "looking stops nothing"
    with shared_platform.login("alice") as alice:
        alice.get("/hub/home")
        answer = alice.post(f"{PAGE}/{session}/end", headers=xsrf(alice), data={"message": ""})
        assert answer.status_code == 403
    assert shared_platform.sessions()


def test_the_api_asks_for_scopes_and_the_admins_group(
    shared_platform: Platform, session: UUID
) -> None:
    with shared_platform.api("alice") as alice:
        assert alice.get("/arcetri/sessions").status_code == 403
        assert alice.delete(f"/arcetri/sessions/{session}").status_code == 403
    with shared_platform.api("dario") as admin:
        told = admin.get("/arcetri/sessions").raise_for_status().json()
        (mine,) = [one for one in told["sessions"] if one["id"] == str(session)]
        assert mine["devices"][0]["simulated"] is True
        assert mine["devices"][0]["uuid"] in shared_platform.leases()
        assert admin.delete(f"/arcetri/sessions/{uuid4()}").json()["code"] == "no_such_session"
        assert admin.delete("/arcetri/sessions/nonsense").status_code == 404
        for body in ({"message": 5}, {"massage": "no"}, {"message": "x" * 501}):
            refused = admin.request("DELETE", f"/arcetri/sessions/{session}", json=body)
            assert refused.status_code in (400, 403)
            assert refused.json()["code"] in ("invalid_message", "invalid_options")
    assert shared_platform.sessions()


def test_stopping_tells_the_user_and_frees_the_device(
    shared_platform: Platform, session: UUID
) -> None:
    with shared_platform.login("dario") as admin:
        form = stop_form(admin.get(PAGE).text, session)
        answer = admin.post(form, data={"message": "The T4s go to the <b>school</b>."})
        assert answer.status_code == 303
        done = admin.get(answer.headers["Location"]).text
        assert "was ended" in done
        assert str(session) not in done
    assert shared_platform.leases() == []
    assert shared_platform.sessions() == {}
    (reason,) = shared_platform.rows(
        "select reason from arcetri_request where id = ?", str(session)
    ) or shared_platform.rows("select reason from arcetri_request where id = ?", session.hex)
    assert reason == ("admin",)
    with shared_platform.login("alice") as alice:
        home = alice.get("/hub/home").text
        assert "Dario De Luca" in home
        assert "go to the &lt;b&gt;school&lt;/b&gt;." in home
    with shared_platform.api("alice") as api:
        until(lambda: not shared_platform.server(api, "alice"), "JupyterHub knows it is gone")


def test_the_api_stops_a_session_too(shared_platform: Platform) -> None:
    session = shared_platform.start_session("bruno", flavor="cpu")
    with shared_platform.api("dario") as admin:
        answer = admin.request("DELETE", f"/arcetri/sessions/{session}", json={"message": "Bye."})
        assert answer.status_code == 204
        assert admin.delete(f"/arcetri/sessions/{session}").status_code == 404
    with shared_platform.login("bruno") as bruno:
        assert "ended your session: Bye." in bruno.get("/hub/home").text
