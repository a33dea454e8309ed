"""Userinfo, introspection, revocation, and how clients show who they are."""

from __future__ import annotations

import secrets

import httpx
import pytest

from tests.support.iam import DevIam

pytestmark = pytest.mark.component


def test_userinfo_is_for_get_only(iam: DevIam) -> None:
    token = iam.tokens("alice")["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert iam.http.post(iam.url("userinfo"), headers=headers).status_code == 405


def test_userinfo_without_openid_is_an_html_page(iam: DevIam) -> None:
    answer = iam.userinfo(iam.tokens("alice", scope="profile")["access_token"])
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")


def test_userinfo_without_a_token(iam: DevIam) -> None:
    answer = iam.http.get(iam.url("userinfo"))
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


def test_userinfo_takes_no_token_from_the_query(iam: DevIam) -> None:
    token = iam.tokens("alice")["access_token"]
    answer = iam.http.get(iam.url("userinfo"), params={"access_token": token})
    assert answer.status_code == 401


def test_an_invalid_token_is_echoed_whole(iam: DevIam) -> None:
    answer = iam.userinfo("secret-looking-token")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
    assert "secret-looking-token" in answer.json()["error_description"]
    assert "secret-looking-token" in answer.headers["WWW-Authenticate"]


def test_an_echo_cannot_break_out_of_the_header(iam: DevIam) -> None:
    answer = iam.http.post(
        iam.url("token"),
        data={"grant_type": "refresh_token", "refresh_token": 'x", realm="é\r\nX-Evil: 1'},
        auth=(iam.client_id, iam.client_secret),
    )
    assert answer.status_code == 401
    assert "X-Evil" not in answer.headers
    assert answer.headers["WWW-Authenticate"].count('"') == 4


@pytest.mark.parametrize("path", ["token", "introspect", "revoke"])
def test_how_a_wrong_secret_is_answered(iam: DevIam, path: str) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    basic = iam.http.post(iam.url(path), data=form, auth=(iam.client_id, "wrong"))
    assert (basic.status_code, basic.json()["error"]) == (401, "unauthorized")
    in_form = {**form, "client_id": iam.client_id, "client_secret": "wrong"}
    post = iam.http.post(iam.url(path), data=in_form)
    assert (post.status_code, post.json()["error"]) == (401, "invalid_client")
    neither = iam.http.post(iam.url(path), data=form)
    assert (neither.status_code, neither.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("header", ["Basic", "Basic ****", "Basic /w==", "Bearer x", "Basic eA=="])
def test_an_odd_authorization_header_is_a_wrong_one(iam: DevIam, header: str) -> None:
    answer = iam.http.post(
        iam.url("token"),
        data={"grant_type": "refresh_token", "refresh_token": "x"},
        headers={"Authorization": header},
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


def test_a_secret_in_the_form_is_as_good_as_in_the_header(iam: DevIam) -> None:
    token = iam.tokens("alice")["refresh_token"]
    answer = iam.http.post(
        iam.url("token"),
        data={
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": iam.client_id,
            "client_secret": iam.client_secret,
        },
    )
    assert answer.status_code == 200


def test_a_secret_in_the_query_is_none(iam: DevIam) -> None:
    parameters = {"client_id": iam.client_id, "client_secret": iam.client_secret}
    answer = iam.http.post(
        iam.url("token"), params=parameters, data={"grant_type": "refresh_token"}
    )
    assert answer.status_code == 401


def test_grants_that_are_not_there_are_refused(iam: DevIam) -> None:
    answer = iam.post("token", {"grant_type": "client_credentials"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


def test_introspection_of_a_good_token_gives_the_user_name(iam: DevIam) -> None:
    token = iam.tokens("alice", scope="openid profile")["access_token"]
    answer = iam.post("introspect", {"token": token}).json()
    assert answer["active"] is True
    assert answer["user_id"] == "alice"
    assert answer["iss"] == iam.issuer
    assert answer["scope"] == "openid profile"


def test_introspection_of_anything_else_is_only_inactive(iam: DevIam) -> None:
    answer = iam.post("introspect", {"token": "unknown"})
    assert (answer.status_code, answer.json()) == (200, {"active": False})


def test_revoking_a_refresh_token_kills_its_access_tokens(iam: DevIam) -> None:
    tokens = iam.tokens("alice")
    answer = iam.post("revoke", {"token": tokens["refresh_token"]})
    assert (answer.status_code, answer.content) == (200, b"")
    assert iam.userinfo(tokens["access_token"]).status_code == 401
    assert iam.refresh(tokens["refresh_token"]).status_code == 401


def test_revoking_an_access_token_leaves_the_refresh_token(iam: DevIam) -> None:
    tokens = iam.tokens("alice")
    iam.post("revoke", {"token": tokens["access_token"]})
    assert iam.userinfo(tokens["access_token"]).status_code == 401
    assert iam.refresh(tokens["refresh_token"]).status_code == 200


def test_revoking_what_is_unknown_is_fine_and_anothers_is_not(iam: DevIam) -> None:
    assert iam.post("revoke", {"token": "unknown"}).status_code == 200
    other = iam.call("POST", "clients", {"client_id": f"other-{secrets.token_hex(4)}"})
    token = iam.tokens("alice")["access_token"]
    answer = iam.http.post(
        iam.url("revoke"),
        data={"token": token},
        auth=(other["client_id"], other["client_secret"]),
    )
    assert answer.status_code == 403
    assert iam.userinfo(token).status_code == 200


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"&".join([b"a=1"] * 5000), b"grant_type"])
def test_a_form_that_is_none_is_refused_without_a_traceback(iam: DevIam, body: bytes) -> None:
    answer = iam.http.post(
        iam.url("token"),
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code in (400, 401)
    assert answer.json()["error"]


def test_what_is_not_imitated_is_not_found(iam: DevIam) -> None:
    for path in ("devicecode", "scim/Groups", "iam/api/client-registration"):
        assert iam.http.get(iam.url(path)).status_code == 404


def test_new_keys_replace_the_old_ones_at_once(iam: DevIam) -> None:
    def keys() -> list[tuple[str, str]]:
        return [(key["kid"], key["n"]) for key in iam.http.get(iam.url("jwk")).json()["keys"]]

    first = keys()
    token = iam.tokens("alice")["access_token"]
    iam.rotate_keys()
    second = keys()
    iam.rotate_keys(keep_kid=True)
    third = keys()
    assert first[0][0] != second[0][0] == third[0][0]
    assert len({first[0][1], second[0][1], third[0][1]}) == 3
    assert iam.userinfo(token).status_code == 200


def test_slow_late_and_failing_answers(iam: DevIam) -> None:
    token = iam.tokens("alice")["refresh_token"]
    iam.fault("error", "/token", status=503, times=1)
    failed = iam.refresh(token)
    assert failed.status_code == 503
    assert failed.headers["Content-Type"].startswith("text/html")
    assert iam.refresh(token).status_code == 200
    for kind, done in (("slow", False), ("late", True)):
        iam.clear_faults()
        access = iam.refresh(token).json()["access_token"]
        iam.fault(kind, "/token", seconds=1.5)
        with pytest.raises(httpx.ReadTimeout):
            iam.http.post(
                iam.url("token"),
                data={"grant_type": "refresh_token", "refresh_token": token},
                auth=(iam.client_id, iam.client_secret),
                timeout=0.5,
            )
        # a refresh that was carried out has killed the earlier access token
        assert (iam.userinfo(access).status_code == 401) is done


def test_requests_are_counted(iam: DevIam) -> None:
    before = iam.state()["requests"].get("/userinfo", 0)
    iam.http.get(iam.url("userinfo"))
    assert iam.state()["requests"]["/userinfo"] == before + 1
