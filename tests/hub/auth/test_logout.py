"""Logging out of the hub ends the session at an issuer that offers it, too."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.hub.auth.hub_process import HubBrowser
from tests.hub.auth.sites import Site, new_site
from tests.support.platform import Platform, until

pytestmark = pytest.mark.component


def shows(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert f'data-code="{code}"' in answer.text


@pytest.fixture(scope="module")
def thorough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub that ends the session at IAM by itself, as in a demonstration."""
    folder = tmp_path_factory.mktemp("logout")
    with new_site(folder, "--end-session", iam_logout="redirect") as site:
        yield site


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub that leaves it to the person."""
    with new_site(tmp_path_factory.mktemp("linked"), "--end-session") as site:
        yield site


def whole_way(browser: HubBrowser, url: str) -> httpx.Response:
    """Follow redirects, between hub and IAM too."""
    return browser.http.get(url, follow_redirects=True)


def test_a_logout_may_end_the_session_at_iam_too(thorough: Site) -> None:
    with thorough.browser() as browser:
        browser.login("alice")
        assert browser.get(browser.begin()).is_redirect, "IAM knows this browser"
        way = browser.http.get(f"{thorough.hub.url}/hub/logout")
        assert way.headers["Location"].startswith(f"{thorough.iam.issuer}logout?")
        assert "token" not in way.headers["Location"]
        shows(whole_way(browser, way.headers["Location"]), 200, "logged_out_of_both")
        assert 'id="login"' in browser.get(browser.begin()).text, "IAM does not any more"
        assert browser.page("home").url.path.endswith("/login")


def test_nobody_is_told_that_iam_has_logged_them_out_unless_it_has(thorough: Site) -> None:
    with thorough.browser() as browser:
        browser.login("alice")
        for query in ("", "?state=", "?state=guess"):
            answer = browser.http.get(f"{thorough.hub.url}/hub/logout{query}")
            assert answer.is_redirect
            assert answer.headers["Location"].startswith(f"{thorough.iam.issuer}logout?")


def test_a_logout_works_while_iam_is_silent(thorough: Site) -> None:
    with thorough.browser() as browser, thorough.browser() as other:
        browser.login("alice")
        thorough.iam.fault("error", status=503)
        try:
            thorough.hub.fresh("alice")  # by which the hub notices
            until(lambda: "does not answer" in other.page("login").text, "the hub has noticed")
            shows(browser.page("logout"), 200, "logged_out")
        finally:
            thorough.iam.clear_faults()
        assert browser.page("home").url.path.endswith("/login")


def test_a_link_leads_there_and_back(linked: Site) -> None:
    with linked.browser() as browser:
        browser.login("alice")
        page = browser.page("logout")
        shows(page, 200, "logged_out")
        (link,) = re.findall(rf'href="({re.escape(linked.iam.issuer)}logout[^"]*)"', page.text)
        assert browser.get(browser.begin()).is_redirect, "IAM still knows this browser"
        shows(whole_way(browser, html.unescape(link)), 200, "logged_out_of_both")
        assert 'id="login"' in browser.get(browser.begin()).text


def test_the_demonstration_logs_out_of_both(platform: Platform) -> None:
    with platform.login("alice") as client:
        shows(client.get("/hub/logout", follow_redirects=True), 200, "logged_out_of_both")
        again = client.get("/hub/oauth_login", follow_redirects=True)
        assert 'id="login"' in again.text, "somebody else may log in now"
