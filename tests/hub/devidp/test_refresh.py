"""Refreshes: the only thing that shows what became of an account."""

from __future__ import annotations

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.iam import SCOPE, DevIam

pytestmark = pytest.mark.component


def error_of(iam: DevIam, refresh_token: str) -> tuple[int, str]:
    answer = iam.refresh(refresh_token)
    return answer.status_code, answer.json().get("error", "")


def body_of(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    answer: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return answer


def test_the_same_refresh_token_comes_back_and_earlier_access_tokens_die(iam: DevIam) -> None:
    login = iam.tokens("alice")
    refreshed = iam.refresh(login["refresh_token"])
    assert refreshed.status_code == 200
    assert refreshed.json()["refresh_token"] == login["refresh_token"]
    assert iam.userinfo(login["access_token"]).status_code == 401
    assert iam.userinfo(refreshed.json()["access_token"]).status_code == 200


def test_another_login_of_the_same_person_is_left_alone(iam: DevIam) -> None:
    one, other = iam.tokens("alice"), iam.tokens("alice")
    assert iam.refresh(one["refresh_token"]).status_code == 200
    assert iam.userinfo(other["access_token"]).status_code == 200


def test_two_refreshes_at_once_both_succeed_but_one_access_token_is_dead(iam: DevIam) -> None:
    token = iam.tokens("alice")["refresh_token"]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(iam.refresh, [token, token]))
    assert [answer.status_code for answer in answers] == [200, 200]
    alive = [iam.userinfo(answer.json()["access_token"]).status_code for answer in answers]
    assert sorted(alive) == [200, 401]


def test_the_refresh_token_looks_like_an_unsigned_jwt_of_thirty_days(iam: DevIam) -> None:
    token = iam.tokens("alice")["refresh_token"]
    head, _, signature = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "none"}
    assert signature == ""
    assert set(body_of(token)) == {"exp", "jti"}


def test_a_refresh_brings_an_id_token_with_the_nonce_of_the_login(iam: DevIam) -> None:
    login = iam.tokens("alice", nonce="n-9")
    refreshed = iam.refresh(login["refresh_token"]).json()
    assert refreshed["id_token"] != login["id_token"]
    assert body_of(refreshed["id_token"])["nonce"] == "n-9"


def test_rotation_gives_a_new_token_and_the_old_one_is_unknown(iam: DevIam) -> None:
    iam.configure(rotate_refresh_tokens=True)
    old = iam.tokens("alice")["refresh_token"]
    new = iam.refresh(old).json()["refresh_token"]
    assert new != old
    assert error_of(iam, old) == (401, "invalid_token")
    assert iam.refresh(new).status_code == 200


def test_an_unknown_refresh_token_is_echoed_whole(iam: DevIam) -> None:
    answer = iam.refresh("no-such-token-7f3a")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert "no-such-token-7f3a" in answer.json()["error_description"]
    assert "no-such-token-7f3a" in answer.headers["WWW-Authenticate"]


def test_a_refresh_may_ask_for_less_once_and_never_for_more(iam: DevIam) -> None:
    token = iam.tokens("alice", scope="openid profile offline_access")["refresh_token"]
    narrow = iam.refresh(token, scope="openid").json()
    assert narrow["scope"] == "openid"
    assert set(iam.userinfo(narrow["access_token"]).json()) == {"sub"}
    assert iam.refresh(token).json()["scope"] == "openid profile offline_access"
    wider = iam.refresh(token, scope="openid email")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")


def test_without_offline_access_there_is_no_refresh_token(iam: DevIam) -> None:
    tokens = iam.tokens("alice", scope="openid profile")
    assert "refresh_token" not in tokens
    assert tokens["expires_in"] == 3599


def test_without_openid_there_is_no_id_token(iam: DevIam) -> None:
    tokens = iam.tokens("alice", scope="profile offline_access")
    assert "id_token" not in tokens
    assert "id_token" not in iam.refresh(tokens["refresh_token"]).json()


def test_a_suspension_shows_only_at_a_refresh_and_passes(iam: DevIam) -> None:
    login = iam.tokens("alice")
    iam.suspend("alice")
    assert iam.userinfo(login["access_token"]).status_code == 200
    introspected = iam.post("introspect", {"token": login["access_token"]}).json()
    assert introspected["active"] is True
    assert error_of(iam, login["refresh_token"]) == (401, "unauthorized")
    assert iam.userinfo(login["access_token"]).status_code == 200
    iam.restore("alice")
    assert iam.refresh(login["refresh_token"]).json()["refresh_token"] == login["refresh_token"]


def test_an_unsigned_policy_refuses_a_refresh_and_nothing_else(iam: DevIam) -> None:
    login = iam.tokens("alice")
    iam.require_policy("alice")
    assert error_of(iam, login["refresh_token"]) == (400, "invalid_grant")
    assert iam.userinfo(login["access_token"]).status_code == 200
    iam.restore("alice")
    assert iam.refresh(login["refresh_token"]).status_code == 200


def test_after_a_deletion_every_token_is_invalid(iam: DevIam) -> None:
    name = f"guest-{secrets.token_hex(4)}"
    iam.add_user(name)
    login = iam.tokens(name)
    iam.delete(name)
    assert error_of(iam, login["refresh_token"]) == (401, "invalid_token")
    answer = iam.userinfo(login["access_token"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    for kind in ("access_token", "refresh_token"):
        assert iam.post("introspect", {"token": login[kind]}).json() == {"active": False}


def test_a_refresh_token_of_another_client_is_refused(iam: DevIam) -> None:
    other = iam.call("POST", "clients", {"client_id": f"other-{secrets.token_hex(4)}"})
    token = iam.tokens("alice")["refresh_token"]
    answer = iam.http.post(
        iam.url("token"),
        data={"grant_type": "refresh_token", "refresh_token": token},
        auth=(other["client_id"], other["client_secret"]),
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert iam.refresh(token).status_code == 200


def test_an_access_token_whose_hour_is_over_is_invalid_and_a_refresh_helps(iam: DevIam) -> None:
    login = iam.tokens("alice", scope=SCOPE)
    iam.expire("alice")
    assert iam.userinfo(login["access_token"]).status_code == 401
    assert iam.refresh(login["refresh_token"]).status_code == 200
