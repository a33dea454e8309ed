"""From ``/authorize`` to a code, and what stands before it."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.iam import Browser, DevIam

pytestmark = pytest.mark.component

VERIFIER = secrets.token_urlsafe(48)


def answer_of(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def test_discovery_names_the_endpoints_under_an_issuer_with_a_slash(iam: DevIam) -> None:
    document = iam.http.get(iam.url(".well-known/openid-configuration")).json()
    assert document["issuer"] == iam.issuer
    assert iam.issuer.endswith("/")
    assert document["jwks_uri"] == iam.url("jwk")
    assert "none" in document["id_token_signing_alg_values_supported"]
    assert "end_session_endpoint" not in document
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint"):
        assert iam.http.get(document[name]).status_code != 404


def test_a_login_comes_back_with_code_and_state(iam: DevIam) -> None:
    back = iam.sign_in(iam.authorize_url(VERIFIER, state="a b&c=d"), "alice")
    assert back.startswith(iam.callbacks[0] + "?")
    assert answer_of(back)["state"] == "a b&c=d"
    assert iam.redeem(answer_of(back)["code"], VERIFIER).status_code == 200


def test_a_code_is_good_once_and_its_tokens_outlive_a_second_try(iam: DevIam) -> None:
    code = answer_of(iam.sign_in(iam.authorize_url(VERIFIER), "alice"))["code"]
    first = iam.redeem(code, VERIFIER)
    second = iam.redeem(code, VERIFIER)
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    assert iam.userinfo(first.json()["access_token"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"redirect_uri": "http://127.0.0.1:9/other"}, 400, "invalid_grant"),
        ({"redirect_uri": ""}, 400, "invalid_grant"),
        ({"code_verifier": "x" * 50}, 400, "invalid_request"),
        ({"code_verifier": ""}, 500, "server_error"),
        ({"code": "unknown"}, 400, "invalid_grant"),
    ],
)
def test_redeeming_wrongly(iam: DevIam, changes: dict[str, str], status: int, error: str) -> None:
    code = answer_of(iam.sign_in(iam.authorize_url(VERIFIER), "alice"))["code"]
    answer = iam.redeem(code, VERIFIER, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


def test_a_code_of_another_client_is_refused(iam: DevIam) -> None:
    other = iam.call("POST", "clients", {"client_id": f"other-{secrets.token_hex(4)}"})
    code = answer_of(iam.sign_in(iam.authorize_url(VERIFIER), "alice"))["code"]
    answer = iam.http.post(
        iam.url("token"),
        data={
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": iam.callbacks[0],
            "code_verifier": VERIFIER,
        },
        auth=(other["client_id"], other["client_secret"]),
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "openid admin:write"}, "invalid_scope"),
        ({"scope": "openid wlcg.groups:arcetri"}, "invalid_scope"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
def test_errors_that_the_client_is_told_with_its_state(
    iam: DevIam, changes: dict[str, str | None], error: str
) -> None:
    answer = iam.http.get(iam.authorize_url(VERIFIER, state="s-77", **changes))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(iam.callbacks[0])
    told = answer_of(answer.headers["Location"])
    assert (told["error"], told["state"]) == (error, "s-77")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_id": "nobody"}, 401),
        ({"client_id": None}, 401),
        ({"redirect_uri": "http://127.0.0.1:9/elsewhere"}, 400),
        ({"redirect_uri": "http://127.0.0.1:9/hub/oauth_callback?more=1"}, 400),
        ({"redirect_uri": 'http://127.0.0.1:9/"é'}, 400),
    ],
)
def test_errors_that_the_person_is_told_because_no_client_can_be(
    iam: DevIam, changes: dict[str, str | None], status: int
) -> None:
    answer = iam.http.get(iam.authorize_url(VERIFIER, **changes))
    assert answer.status_code == status
    assert "<h1>" in answer.text
    assert "Location" not in answer.headers


def test_no_scope_is_a_page_after_login(iam: DevIam) -> None:
    with Browser() as browser:
        page = browser.get(iam.authorize_url(VERIFIER, scope=None))
        page = browser.submit(page, username="alice", password=iam.password("alice"))
    assert page.status_code == 400
    assert "scope" in page.text


def test_a_wrong_password_is_said_and_the_way_goes_on(iam: DevIam) -> None:
    with Browser() as browser:
        page = browser.get(iam.authorize_url(VERIFIER))
        page = browser.submit(page, username="alice", password="wrong")
        assert page.status_code == 401
        assert "password is wrong" in page.text
        page = browser.submit(page, username="alice", password=iam.password("alice"))
    assert "code" in answer_of(page.headers["Location"])


def test_a_suspended_person_is_told_so_at_login(iam: DevIam) -> None:
    iam.suspend("alice")
    with Browser() as browser:
        page = browser.get(iam.authorize_url(VERIFIER))
        page = browser.submit(page, username="alice", password=iam.password("alice"))
    assert page.status_code == 401
    assert "not active" in page.text


def test_an_open_session_of_a_suspended_person_still_gets_a_code_that_is_redeemed(
    iam: DevIam,
) -> None:
    with Browser() as browser:
        browser.sign_in(iam.authorize_url(VERIFIER), "alice", iam.password("alice"))
        iam.suspend("alice")
        page = browser.get(iam.authorize_url(VERIFIER))
    assert iam.redeem(answer_of(page.headers["Location"])["code"], VERIFIER).status_code == 200


def test_an_unsigned_policy_holds_the_person_until_it_is_signed(iam: DevIam) -> None:
    iam.require_policy("alice")
    with Browser() as browser:
        page = browser.get(iam.authorize_url(VERIFIER))
        page = browser.submit(page, username="alice", password=iam.password("alice"))
        assert 'id="policy"' in page.text
        assert 'id="policy"' in browser.get(iam.authorize_url(VERIFIER)).text
        page = browser.submit(page, decision="sign")
    assert "code" in answer_of(page.headers["Location"])
    assert iam.user("alice")["policy_signed"]


def test_consent_can_be_denied_given_and_remembered(iam: DevIam) -> None:
    iam.configure(consent=True)
    with Browser() as browser:
        page = browser.get(iam.authorize_url(VERIFIER))
        page = browser.submit(page, username="alice", password=iam.password("alice"))
        denied = browser.submit(page, decision="deny")
        assert answer_of(denied.headers["Location"]) == {
            "error": "access_denied",
            "state": "s-1",
        } | {
            k: v
            for k, v in answer_of(denied.headers["Location"]).items()
            if k == "error_description"
        }
        narrow = iam.authorize_url(VERIFIER, scope="openid profile")
        assert browser.submit(browser.get(narrow), decision="remember").is_redirect
        assert browser.get(narrow).is_redirect
        wider = browser.get(iam.authorize_url(VERIFIER))
        assert 'id="consent"' in wider.text


def test_a_browser_stays_logged_in_until_it_logs_out(iam: DevIam) -> None:
    with Browser() as browser:
        browser.sign_in(iam.authorize_url(VERIFIER), "alice", iam.password("alice"))
        assert browser.get(iam.authorize_url(VERIFIER)).is_redirect
        assert 'id="login"' in browser.get(iam.authorize_url(VERIFIER, prompt="login")).text
        assert browser.get(iam.url("logout")).status_code == 200
        assert 'id="login"' in browser.get(iam.authorize_url(VERIFIER)).text


def test_the_login_cookie_reaches_no_other_path_of_this_host(iam: DevIam) -> None:
    with Browser() as browser:
        browser.sign_in(iam.authorize_url(VERIFIER), "alice", iam.password("alice"))
        paths = {cookie.path for cookie in browser.http.cookies.jar}
    assert paths == {"/authorize", "/login", "/logout"}


def test_a_deleted_person_cannot_log_in_and_their_session_is_gone(iam: DevIam) -> None:
    with Browser() as browser:
        browser.sign_in(iam.authorize_url(VERIFIER), "alice", iam.password("alice"))
        iam.delete("alice")
        page = browser.get(iam.authorize_url(VERIFIER))
        assert 'id="login"' in page.text
        page = browser.submit(page, username="alice", password="muon")
    assert page.status_code == 401


def test_somebody_who_comes_back_has_another_sub(iam: DevIam) -> None:
    name = f"guest-{secrets.token_hex(4)}"
    first = iam.add_user(name, ["/arcetri/cms"])
    assert iam.tokens(name)["access_token"]
    iam.delete(name)
    assert iam.add_user(name) != first


def test_the_next_page_is_always_this_sites_own(iam: DevIam) -> None:
    page = iam.http.get(iam.url("login"), params={"next": "//evil.example/"})
    with httpx.Client(trust_env=False) as http:
        token = page.text.split('name="form_token" value="')[1].split('"')[0]
        answer = http.post(
            iam.url("login"),
            data={
                "form_token": token,
                "next": "//evil.example/",
                "username": "alice",
                "password": iam.password("alice"),
            },
        )
    assert answer.headers["Location"].startswith("/authorize?")
