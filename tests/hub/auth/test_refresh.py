"""Staying welcome: what IAM says after the login, and that every start asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hub.auth.sites import Site

pytestmark = pytest.mark.component


def standing(site: Site, name: str) -> str:
    return str(site.hub.fresh(name)[0]["standing"])


def requests(site: Site, path: str) -> int:
    return int(site.iam.state()["requests"].get(path, 0))


@pytest.mark.parametrize("profile", ["iam", "wlcg", "aarc", "kc"])
def test_groups_gained_and_lost_are_seen_at_the_next_start(site: Site, profile: str) -> None:
    site.iam.configure(profile=profile)
    site.login("bruno")
    site.iam.set_groups("bruno", ["/arcetri/cms", "/arcetri/new"])
    fresh = site.hub.fresh("bruno")[0]
    assert fresh["groups"] == ["/arcetri", "/arcetri/cms", "/arcetri/new"]
    assert sorted(site.hub.user("bruno")["groups"]) == fresh["groups"]
    site.iam.set_groups("bruno", [])
    assert site.hub.fresh("bruno")[0] == {
        **fresh,
        "groups": [],
        "checked_at": site.hub.known("bruno")["checked_at"],
    }
    assert site.hub.user("bruno")["groups"] == []


def test_suspended_and_back_with_the_same_login(site: Site) -> None:
    site.login("alice")
    before = site.hub.user("alice")["auth_state"]["refresh_token"]
    assert standing(site, "alice") == "admitted"
    site.iam.suspend("alice")
    assert standing(site, "alice") == "not_admitted"
    assert site.hub.known("alice")["standing"] == "not_admitted"
    site.iam.restore("alice")
    assert standing(site, "alice") == "admitted"
    assert site.hub.user("alice")["auth_state"]["refresh_token"] == before


def test_the_usage_policy_must_be_signed(site: Site) -> None:
    site.login("alice")
    site.iam.require_policy("alice")
    assert standing(site, "alice") == "not_admitted"
    site.iam.restore("alice")
    assert standing(site, "alice") == "admitted"


def test_a_deleted_account_is_out(site: Site) -> None:
    site.iam.add_user("jana", ["/arcetri/cms"])
    site.login("jana")
    site.iam.delete("jana")
    assert standing(site, "jana") == "not_admitted"


def test_who_never_logged_in_is_out_and_told_apart(site: Site) -> None:
    assert standing(site, "nobody") == "never_logged_in"
    site.hub.http.post("api/users/made-by-hand").raise_for_status()
    made = site.hub.fresh("made-by-hand")[0]
    assert (made["standing"], made["groups"], made["account_id"]) == ("never_logged_in", [], "")


def test_every_way_of_starting_asks(site: Site) -> None:
    site.login("alice")
    model: dict[str, Any] = site.hub.http.post("api/users/alice/tokens", json={}).json()
    site.login("dario")
    with site.browser() as admin:
        admin.login("dario")
        xsrf = {"_xsrf": admin.http.cookies.get("_xsrf", path="/hub/") or ""}

        def ways() -> list[int]:
            form = admin.http.post(f"{site.hub.url}/hub/spawn/alice", params=xsrf, data={"a": "b"})
            return [
                site.hub.start_server("alice").status_code,
                site.hub.start_server("alice", model["token"]).status_code,
                form.status_code,
            ]

        site.iam.suspend("alice")
        starts = len(site.hub.seen("start"))
        refused = ways()
        assert [status for status in refused if status < 400] == []
        noted = site.hub.seen("start")[starts:]
        assert {start["standing"] for start in noted} == {"not_admitted"}
        assert not site.hub.user("alice")["servers"]
    site.iam.restore("alice")
    assert site.hub.start_server("alice").status_code == 201
    assert site.hub.http.delete("api/users/alice/server").status_code == 204


def test_a_suspended_person_is_asked_to_log_in_again(site: Site) -> None:
    with site.browser() as browser:
        browser.login("fabio")
        site.iam.suspend("fabio")
        # What makes JupyterHub refresh is age; the gate's question is as good.
        assert standing(site, "fabio") == "not_admitted"
        assert browser.login("fabio").status_code == 403


def test_many_at_once_are_one_question(site: Site) -> None:
    site.login("alice")
    before = requests(site, "/token")
    site.iam.fault("slow", "/token", seconds=0.5)
    answers = site.hub.fresh("alice", times=20)
    assert len(answers) == 20
    assert all(answer == answers[0] for answer in answers)
    assert requests(site, "/token") == before + 1


@pytest.mark.parametrize("rotate", [False, True])
def test_refreshes_one_after_the_other(site: Site, rotate: bool) -> None:
    site.iam.configure(rotate_refresh_tokens=rotate)
    site.login("alice")
    tokens = {site.hub.user("alice")["auth_state"]["refresh_token"]}
    for _ in range(4):
        assert standing(site, "alice") == "admitted"
        tokens.add(site.hub.user("alice")["auth_state"]["refresh_token"])
    assert len(tokens) == (5 if rotate else 1)


def test_a_rotated_token_is_kept_though_userinfo_fails(site: Site) -> None:
    site.iam.configure(rotate_refresh_tokens=True)
    site.login("alice")
    site.iam.fault("error", "/userinfo", status=503, times=1)
    assert standing(site, "alice") == "unknown"
    assert standing(site, "alice") == "admitted"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "path": "/token", "status": 500},
        {"kind": "error", "path": "/token", "status": 401},
        {"kind": "error", "path": "/token", "status": 429},
        {"kind": "error", "path": "/userinfo", "status": 502},
        {"kind": "error", "path": "/userinfo", "status": 403},
    ],
    ids=lambda fault: f"{fault['path'][1:]}-{fault['status']}",
)
def test_a_fault_of_iam_says_nothing_of_the_person(site: Site, fault: dict[str, Any]) -> None:
    site.login("bruno")
    site.iam.fault(**fault)
    answer = site.hub.fresh("bruno")[0]
    assert answer["standing"] == "unknown"
    assert "/arcetri/virgo" in answer["groups"]
    assert site.hub.known("bruno")["standing"] == "unknown"
    assert site.hub.user("bruno")["auth_state"]["arcetri"]["standing"] == "admitted"
    site.iam.clear_faults()
    assert standing(site, "bruno") == "admitted"
    assert site.hub.known("bruno")["standing"] == "admitted"


@pytest.mark.parametrize("keep_kid", [False, True])
def test_keys_may_change(site: Site, keep_kid: bool) -> None:
    site.login("alice")
    site.iam.rotate_keys(keep_kid=keep_kid)
    assert standing(site, "alice") == "admitted"
    site.iam.rotate_keys(keep_kid=keep_kid)
    site.login("bruno")


def test_an_expired_access_token_is_no_matter(site: Site) -> None:
    site.login("alice")
    site.iam.expire("alice")
    assert standing(site, "alice") == "admitted"


def test_a_renamed_person_is_still_the_same(site: Site) -> None:
    site.login("fabio")
    site.iam.rename("fabio", "fabio-new")
    assert standing(site, "fabio") == "admitted"
    assert site.hub.user("fabio")["auth_state"]["arcetri"]["label"] == "fabio-new"


def test_answers_are_counted_by_kind(site: Site) -> None:
    site.login("alice")
    before = len(site.hub.seen("answer"))
    standing(site, "alice")
    site.iam.suspend("alice")
    standing(site, "alice")
    site.iam.fault("error", "/token", status=500)
    standing(site, "alice")
    assert site.hub.seen("answer")[before:] == ["admitted", "admitted", "not_admitted", "unknown"]
