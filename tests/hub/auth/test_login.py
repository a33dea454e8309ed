"""Logging in: a real hub, the real authenticator, the development IAM."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import pytest

from arcetri_spawner.groups import normalize_groups
from arcetri_spawner.policy import reasons
from tests.hub.auth.hub_process import ALLOWED
from tests.hub.auth.sites import Site

pytestmark = pytest.mark.component

BRUNO = ["/arcetri", "/arcetri/cms", "/arcetri/virgo"]


def shows(answer: httpx.Response, status: int, code: str) -> None:
    """A page of few words, for this case, with a way on and no traceback."""
    assert answer.status_code == status, answer.text
    assert f'data-code="{code}"' in answer.text
    assert "Traceback" not in answer.text
    assert 'role="button"' in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("profile", ["iam", "wlcg", "aarc", "kc"])
def test_each_claim_form_gives_the_same_login(site: Site, profile: str) -> None:
    site.iam.configure(profile=profile)
    with site.browser() as browser:
        assert browser.login("bruno").is_redirect
        assert "bruno" in browser.page("home").text
    user = site.hub.user("bruno")
    assert sorted(user["groups"]) == BRUNO
    assert user["admin"] is False
    record = user["auth_state"]["arcetri"]
    assert record["groups"] == BRUNO
    assert record["sub"] == site.iam.sub("bruno")
    assert record["issuer"] == site.iam.issuer.rstrip("/")
    assert record["display_name"] == "Bruno Bianchi"
    assert record["standing"] == "admitted"


def test_what_is_asked_of_iam(site: Site) -> None:
    with site.browser() as browser:
        first, second = (parse_qs(urlsplit(browser.begin()).query) for _ in range(2))
    assert first["code_challenge_method"] == ["S256"]
    assert {"openid", "profile", "offline_access"} <= set(first["scope"][0].split())
    for name in ("code_challenge", "nonce", "state"):
        assert len(first[name][0]) >= 32
        assert first[name] != second[name]
    assert set(json.loads(base64.urlsafe_b64decode(first["state"][0]))) == {"state_id"}


def test_an_administrator_is_one_as_long_as_the_group_lasts(site: Site) -> None:
    site.login("dario")
    assert site.hub.user("dario")["admin"] is True
    site.iam.set_groups("dario", ["/arcetri/cms"])
    site.hub.fresh("dario")
    assert site.hub.user("dario")["admin"] is False
    site.hub.catalog(["/arcetri/cms"], ["/arcetri/cms"])
    site.hub.fresh("dario")
    assert site.hub.user("dario")["admin"] is True
    site.iam.suspend("dario")
    site.hub.fresh("dario")
    assert site.hub.user("dario")["admin"] is False


@pytest.mark.parametrize("profile", ["iam", "wlcg", "aarc", "kc"])
def test_somebody_in_no_group_is_refused_and_told_which_are_wanted(
    site: Site, profile: str
) -> None:
    site.iam.configure(profile=profile)
    with site.browser() as browser:
        answer = browser.login("elena")
        shows(answer, 403, "not_allowed")
        # In the words of a start that is refused for the same reason.
        mine = normalize_groups(site.iam.user("elena")["groups"])
        reason = reasons.not_allowed("Lab", mine, (), normalize_groups(ALLOWED))
        assert html.escape(reason.sentence) in answer.text
        assert html.escape(reason.remedy) in answer.text
        assert ">not_allowed</p>" in answer.text
        assert browser.page("home").url.path.endswith("/login")
    assert site.hub.http.get("api/users/elena").status_code == 404


def test_who_is_refused_can_come_back_as_somebody_else(site: Site) -> None:
    with site.browser() as browser:
        answer = browser.login("elena")
        shows(answer, 403, "not_allowed")
        # IAM still knows them: it asks for no name.
        assert browser.get(browser.begin()).is_redirect

        other = re.search(r'href="([^"]+)"[^>]*>Use another account<', answer.text)
        assert other, answer.text
        page = browser.http.get(urljoin(site.hub.url, html.unescape(other[1])))
        shows(page, 200, "logged_out")
        leave = re.search(r'href="([^"]+)"[^>]*>Log out of INDIGO IAM<', page.text)
        assert leave, page.text
        assert browser.get(html.unescape(leave[1])).status_code in (200, 302, 303)
        assert 'id="login"' in browser.get(browser.begin()).text
        assert browser.login("alice").is_redirect


def test_a_group_must_match_whole(site: Site) -> None:
    site.iam.add_user("gina", ["/arcetri/cms2", "/other/arcetri/cms"])
    with site.browser() as browser:
        shows(browser.login("gina"), 403, "not_allowed")


def test_the_catalog_of_the_moment_decides(site: Site) -> None:
    site.hub.catalog(["/arcetri/students"], [])
    with site.browser() as browser:
        shows(browser.login("alice"), 403, "not_allowed")
    site.hub.catalog(["/arcetri/cms"], [])
    site.login("alice")


def test_a_renamed_person_keeps_account_and_name(site: Site) -> None:
    site.iam.add_user("hugo", ["/arcetri/cms"])
    site.login("hugo")
    before = site.hub.user("hugo")["auth_state"]["arcetri"]
    site.iam.rename("hugo", "hugo2")
    with site.browser() as browser:
        assert browser.login("hugo2").is_redirect
    after = site.hub.user("hugo")["auth_state"]["arcetri"]
    assert after["account_id"] == before["account_id"]
    assert after["label"] == "hugo2"
    assert site.hub.http.get("api/users/hugo2").status_code == 404


def test_a_taken_name_goes_to_nobody_else_and_they_are_told(site: Site) -> None:
    site.iam.add_user("ines", ["/arcetri/cms"])
    site.login("ines")
    site.iam.rename("ines", "ines-before")
    site.iam.add_user("ines", ["/arcetri/cms"])
    with site.browser() as browser:
        answer = browser.login("ines")
        shows(answer, 200, "new_name")
        assert "Somebody else already has the name ines" in answer.text
        assert "you are ines-2 here" in answer.text
        # They are logged in by now, and the page says as whom.
        assert re.search(r'id="logout"', answer.text)
        assert "ines-2" in browser.page("home").text
        assert browser.login("ines").is_redirect
    first, second = (site.hub.user(name)["auth_state"]["arcetri"] for name in ("ines", "ines-2"))
    assert first["account_id"] != second["account_id"]
    assert second["suffixed"] is True


def test_a_name_that_is_no_folder_is_changed_and_they_are_told(site: Site) -> None:
    site.iam.add_user("Kären <b>", ["/arcetri/cms"])
    with site.browser() as browser:
        answer = browser.login("Kären <b>")
        shows(answer, 200, "new_name")
        assert "Kären &lt;b&gt;" in answer.text
        assert "<b>," not in answer.text


def test_a_suspension_is_found_though_iam_still_redeems_the_code(site: Site) -> None:
    with site.browser() as browser:
        assert browser.login("fabio").is_redirect
        site.iam.suspend("fabio")
        # IAM's own login is still open in this browser, so it gives a code without a word.
        shows(browser.login("fabio"), 403, "not_active")
        site.iam.restore("fabio")
        assert browser.login("fabio").is_redirect


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("access_denied", 403, "access_denied"),
        ("invalid_scope", 400, "invalid_scope"),
        ("temporarily_unavailable", 503, "iam_silent"),
        ("unsupported_response_type", 400, "iam_error"),
        ("<script>alert(1)</script>", 400, "iam_error"),
    ],
)
def test_an_error_at_the_callback(site: Site, error: str, status: int, code: str) -> None:
    with site.browser() as browser:
        state = parse_qs(urlsplit(browser.begin()).query)["state"][0]
        words = "Invalid access token: eyJsecret.words"
        query = urlencode({"error": error, "error_description": words, "state": state})
        answer = browser.http.get(f"{site.hub.url}/hub/oauth_callback?{query}")
    shows(answer, status, code)
    assert "eyJsecret" not in answer.text
    assert "<script>alert" not in answer.text


def test_consent_that_is_denied(site: Site) -> None:
    site.iam.configure(consent=True)
    try:
        with site.browser() as browser:
            page = browser.get(browser.begin())
            page = browser.submit(page, username="alice", password=site.iam.password("alice"))
            back = browser.submit(page, decision="deny").headers["Location"]
            shows(browser.http.get(back), 403, "access_denied")
    finally:
        site.iam.configure(consent=False)


def test_a_scope_the_client_may_not_ask_for(site: Site) -> None:
    state = site.iam.state()["clients"][0]
    site.iam.configure(scopes=["openid", "profile"])
    try:
        with site.browser() as browser:
            back = browser.get(browser.begin()).headers["Location"]
            shows(browser.http.get(back), 400, "invalid_scope")
    finally:
        site.iam.configure(scopes=state["scopes"])


def test_another_browsers_answer_logs_nobody_in(site: Site) -> None:
    with site.browser() as attacker, site.browser() as victim:
        back = attacker.back("alice")
        shows(victim.http.get(back), 400, "state_lost")
        victim.begin()
        shows(victim.http.get(back), 400, "state_lost")
        assert victim.page("home").url.path.endswith("/login")


@pytest.mark.parametrize(
    "state", ["", "x", "%", "é", "bnVsbA==", base64.b64encode(b'{"state_id": null}').decode()]
)
def test_a_state_that_is_none(site: Site, state: str) -> None:
    with site.browser() as browser:
        browser.begin()
        query = urlencode({"code": "c", "state": state})
        shows(browser.http.get(f"{site.hub.url}/hub/oauth_callback?{query}"), 400, "state_lost")
        shows(browser.http.get(f"{site.hub.url}/hub/oauth_callback"), 400, "state_lost")


def test_an_answer_opened_twice_logs_in_once_and_is_harmless(site: Site) -> None:
    with site.browser() as browser:
        back = browser.back("alice")
        assert browser.http.get(back).is_redirect
        again = browser.http.get(back)
        assert again.is_redirect
        assert "oauth" not in again.headers["Location"]
        browser.http.cookies.clear()
        shows(browser.http.get(back), 400, "state_lost")


def test_a_code_that_was_redeemed_elsewhere(site: Site) -> None:
    with site.browser() as browser:
        back = browser.back("alice")
        code = parse_qs(urlsplit(back).query)["code"][0]
        assert site.iam.redeem(code, "x" * 43).status_code != 200
        shows(browser.http.get(back), 400, "state_lost")


def test_a_nonce_of_another_login_proves_nothing(site: Site) -> None:
    with site.browser() as browser:
        url = re.sub(r"nonce=[^&]+", "nonce=another", browser.begin())
        back = browser.sign_in(url, "alice", site.iam.password("alice"))
        shows(browser.http.get(back), 502, "bad_answer")


def test_one_goes_where_one_was_going_and_nowhere_else(site: Site) -> None:
    with site.browser() as browser:
        for wanted, expected in [
            ("/hub/token", "/hub/token"),
            ("https://evil.example/x", "/x"),
            ("//evil.example/x", "/x"),
            (r"/\evil.example", "/%5Cevil.example"),
        ]:
            start = browser.http.get(
                f"{site.hub.url}/hub/oauth_login", params={"next": wanted}
            ).headers["Location"]
            back = browser.sign_in(start, "alice", site.iam.password("alice"))
            assert browser.http.get(back).headers["Location"] == expected


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "FOO"])
def test_other_methods_are_refused(site: Site, method: str) -> None:
    with site.browser() as browser:
        answer = browser.http.request(method, f"{site.hub.url}/hub/oauth_callback?code=c")
    assert answer.status_code in (403, 405)
    assert "Traceback" not in answer.text


def test_logging_out_says_that_iam_is_another_login(site: Site) -> None:
    with site.browser() as browser:
        browser.login("alice")
        answer = browser.page("logout")
        shows(answer, 200, "logged_out")
        assert f'href="{site.iam.issuer}logout"' in answer.text
        assert browser.page("home").url.path.endswith("/login")


def test_the_login_page_has_its_button(site: Site) -> None:
    with site.browser() as browser:
        page = browser.page("login")
    assert "Sign in with INDIGO IAM" in page.text


def test_logins_in_two_windows_end_with_one_login(site: Site) -> None:
    with site.browser() as browser:
        first, second = browser.back("alice"), browser.back("alice")
        assert browser.http.get(second).is_redirect
        assert browser.http.get(first).is_redirect
        assert "alice" in browser.page("home").text
