"""A client sends a browser to end its session (OpenID Connect RP-Initiated Logout)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.iam import CALLBACK, Browser, DevIam

pytestmark = pytest.mark.component

BACK = CALLBACK.replace("oauth_callback", "logout")
VERIFIER = secrets.token_urlsafe(48)


def logout(browser: Browser, iam: DevIam, method: str = "GET", **fields: str) -> httpx.Response:
    where = {"params": fields} if method == "GET" else {"data": fields}
    return browser.http.request(method, iam.url("logout"), follow_redirects=False, **where)


def signed_in(browser: Browser, iam: DevIam) -> bool:
    """Whether a login would go through without asking."""
    return browser.get(iam.authorize_url(VERIFIER)).is_redirect


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevIam]:
    with DevIam.started(tmp_path_factory.mktemp("iam"), options=["--end-session"]) as iam:
        yield iam


@pytest.fixture
def browser(iam: DevIam) -> Iterator[Browser]:
    with Browser() as browser:
        browser.sign_in(iam.authorize_url(VERIFIER), "alice", iam.password("alice"))
        assert signed_in(browser, iam)
        yield browser


def test_discovery_says_where(iam: DevIam) -> None:
    document = iam.http.get(iam.url(".well-known/openid-configuration")).json()
    assert document["end_session_endpoint"] == iam.url("logout")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_session_ends_and_the_browser_goes_back(
    iam: DevIam, browser: Browser, method: str
) -> None:
    answer = logout(
        browser,
        iam,
        method,
        client_id=iam.client_id,
        post_logout_redirect_uri=BACK,
        state="a b&c",
    )
    assert answer.status_code == 302
    target = urlsplit(answer.headers["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == BACK
    assert parse_qs(target.query) == {"state": ["a b&c"]}
    assert not signed_in(browser, iam)


def test_without_an_address_one_stays_on_a_page(iam: DevIam, browser: Browser) -> None:
    answer = logout(browser, iam, client_id=iam.client_id)
    assert answer.status_code == 200
    assert "Signed out" in answer.text
    assert not signed_in(browser, iam)


@pytest.mark.parametrize(
    "fields",
    [
        {"post_logout_redirect_uri": "https://evil.example/"},
        {"post_logout_redirect_uri": BACK + "/"},
        {"post_logout_redirect_uri": BACK, "client_id": "nobody"},
        {"post_logout_redirect_uri": BACK, "client_id": ""},
        {"id_token_hint": "x.y.z"},
    ],
)
def test_an_address_that_is_not_the_clients_leads_nowhere(
    iam: DevIam, browser: Browser, fields: dict[str, str]
) -> None:
    answer = logout(browser, iam, **{"client_id": iam.client_id, **fields})
    assert answer.status_code == 400
    assert "evil" not in answer.text
    assert signed_in(browser, iam)


def test_an_id_token_stands_for_its_client(iam: DevIam, browser: Browser) -> None:
    token = iam.tokens("alice")["id_token"]
    stranger = logout(
        browser, iam, id_token_hint=token, client_id="other", post_logout_redirect_uri=BACK
    )
    assert stranger.status_code == 400
    answer = logout(browser, iam, id_token_hint=token, post_logout_redirect_uri=BACK)
    assert answer.headers["Location"] == BACK
    assert not signed_in(browser, iam)


def test_an_access_token_and_another_issuers_prove_nothing(iam: DevIam, browser: Browser) -> None:
    iam.configure(profile="wlcg")
    access = iam.tokens("alice")["access_token"]
    iam.configure(profile="iam")
    old = iam.tokens("alice")["id_token"]
    iam.rotate_keys()
    for token in (access, old):
        answer = logout(browser, iam, id_token_hint=token, post_logout_redirect_uri=BACK)
        assert answer.status_code == 400
    assert signed_in(browser, iam)
