"""IAM, the hub or their secret fail: what is said, and what goes on."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.hub.auth.hub_process import HubBrowser, TestHub, callback, free_port
from tests.hub.auth.sites import new_site
from tests.hub.auth.test_login import shows
from tests.support.iam import DevIam

pytestmark = pytest.mark.component


def eventually(check: object, seconds: float = 30.0) -> None:
    """Wait until ``check()`` is true."""
    assert callable(check)
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_iam_comes_after_the_hub_and_goes_again(tmp_path: Path) -> None:
    port = free_port()
    hub = TestHub(tmp_path / "hub", port)
    hub.folder.mkdir()
    with (
        DevIam.started(tmp_path, callbacks=[callback(hub.url)]) as iam,
        HubBrowser(hub, iam) as you,
    ):
        hub.configure(iam)
        iam.stop()
        hub.start()
        try:
            # The hub is up, and says what is wrong.
            eventually(lambda: "does not answer" in you.page("login").text)
            page = you.page("login")
            assert "INDIGO IAM does not answer at the moment" in page.text
            assert "Try again" in page.text
            shows(you.page("oauth_login"), 503, "iam_silent")
            # It comes: the next login works at once, and the page says so soon.
            iam.start()
            assert you.login("alice").is_redirect
            assert hub.start_server("alice").status_code == 201
            with HubBrowser(hub, iam) as other:
                eventually(lambda: "Sign in with INDIGO IAM" in other.page("login").text)
                # It goes: the running session and the login stay, nothing new starts.
                iam.stop(kill=True)
                assert hub.fresh("alice")[0]["standing"] == "unknown"
                assert "alice" in you.page("home").text
                assert hub.user("alice")["servers"]
                shows(other.page("oauth_login"), 503, "iam_silent")
                eventually(lambda: "does not answer" in other.page("login").text)
                # A hub that restarts meanwhile knows everybody still.
                hub.stop(kill=True)
                hub.start()
                assert "alice" in you.page("home").text
                assert hub.known("alice")["groups"] == ["/arcetri", "/arcetri/cms"]
                assert hub.fresh("alice")[0]["standing"] == "unknown"
                # It is back, with other keys.
                iam.start()
                iam.rotate_keys(keep_kid=True)
                assert hub.fresh("alice")[0]["standing"] == "admitted"
        finally:
            hub.stop()
            hub.http.close()


def test_slow_answers_end_in_a_sentence(tmp_path: Path) -> None:
    traits = {"iam_timeout": 1.0, "refresh_wait": 0.2, "auth_refresh_age": 1}
    with new_site(tmp_path, **traits) as site, site.browser() as browser:
        browser.login("alice")
        for path in ("/token", "/userinfo"):
            with site.browser() as other:
                back = other.back("bruno")
                site.iam.fault("slow", path, seconds=3)
                shows(other.http.get(back), 503, "iam_silent")
                site.iam.clear_faults()
        back = browser.back("alice")
        site.iam.fault("error", "/token", status=500)
        shows(browser.http.get(back), 503, "iam_silent")
        site.iam.clear_faults()
        # A page waits only a moment for a refresh, and is then shown as things were.
        time.sleep(1.1)
        site.iam.fault("slow", "/token", seconds=3)
        begin = time.monotonic()
        assert "alice" in browser.page("home").text
        site.iam.clear_faults()
        assert time.monotonic() - begin < 3
        assert site.hub.fresh("alice")[0]["standing"] == "unknown"
        assert site.hub.fresh("alice")[0]["standing"] == "admitted"


def test_a_suspended_person_must_log_in_again(tmp_path: Path) -> None:
    with new_site(tmp_path, auth_refresh_age=1) as site, site.browser() as browser:
        browser.login("alice")
        assert browser.page("home").url.path == "/hub/home"
        site.iam.suspend("alice")
        time.sleep(1.1)
        assert browser.page("home").url.path == "/hub/login"


def test_a_wrong_secret_is_the_platforms_fault_not_everybodys(tmp_path: Path) -> None:
    with new_site(tmp_path) as site:
        people = ["alice", "bruno", "fabio", "dario"]
        for name in people:
            site.login(name)
        right = site.iam.secret_file.read_text()
        site.iam.secret_file.write_text("wrong\n")
        standings = [site.hub.fresh(name)[0]["standing"] for name in people]
        assert standings == ["not_admitted", "not_admitted", "unknown", "unknown"]
        assert "client_refused" in site.hub.seen("answer")
        assert "the client id or secret of arcetri-hub may be wrong" in site.hub.log.read_text()
        with site.browser() as browser:
            shows(browser.login("alice"), 502, "client_refused")
            site.iam.secret_file.unlink()
            shows(browser.login("alice"), 503, "iam_silent")
            site.iam.secret_file.write_text(right)
            assert browser.login("alice").is_redirect
        standings = [site.hub.fresh(name)[0]["standing"] for name in people]
        assert standings == ["admitted"] * 4


def test_a_crash_right_after_a_rotation_loses_no_login(tmp_path: Path) -> None:
    with new_site(tmp_path) as site:
        site.iam.configure(rotate_refresh_tokens=True)
        site.login("alice")
        site.hub.fresh("alice")
        # Killed between IAM's answer to the refresh and its answer to userinfo.
        site.iam.fault("slow", "/userinfo", seconds=5)
        before = site.iam.state()["requests"]["/userinfo"]
        with pytest.raises(httpx.ReadTimeout):
            site.hub.http.get("test/fresh", params={"user": "alice"}, timeout=0.5)
        eventually(lambda: site.iam.state()["requests"]["/userinfo"] > before)
        site.hub.stop(kill=True)
        site.iam.clear_faults()
        site.hub.start()
        assert site.hub.fresh("alice")[0]["standing"] == "admitted"


def test_a_lost_crypt_key_means_a_new_login(tmp_path: Path) -> None:
    with new_site(tmp_path) as site, site.browser() as browser:
        browser.login("alice")
        site.hub.stop()
        site.hub.crypt_key = "ab" * 32
        site.hub.start()
        assert site.hub.fresh("alice")[0]["standing"] == "not_admitted"
        assert browser.login("alice").is_redirect
        assert site.hub.fresh("alice")[0]["standing"] == "admitted"


def test_another_issuer_never_gets_this_ones_tokens(tmp_path: Path) -> None:
    with new_site(tmp_path) as site:
        site.login("alice")
        (tmp_path / "second").mkdir()
        with DevIam.started(tmp_path / "second", callbacks=[callback(site.hub.url)]) as second:
            site.hub.stop()
            site.hub.configure(second)
            site.hub.start()
            assert site.hub.fresh("alice")[0]["standing"] == "not_admitted"
            assert second.state()["requests"].get("/token", 0) == 0
            # The same name and even the same sub at another issuer is another person.
            with HubBrowser(site.hub, second) as browser:
                shows(browser.login("alice"), 200, "new_name")
            assert site.hub.user("alice-2")["auth_state"]["arcetri"]["label"] == "alice"
