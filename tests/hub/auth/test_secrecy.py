"""No token, code or secret gets to a log, a page, an error or a session's environment."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import pytest

from tests.hub.auth.hub_process import HubBrowser
from tests.hub.auth.sites import Site, new_site

pytestmark = pytest.mark.component

# Access, ID and refresh tokens of IAM are JWTs.
JWT = re.compile(r"eyJ[\w-]{6,}\.[\w-]*")


def test_nothing_secret_gets_out(tmp_path: Path) -> None:
    """Everything that can go wrong goes wrong once, at log level DEBUG."""
    with new_site(tmp_path, iam_timeout=1.0) as site:
        secrets = _everything(site)
        assert len(secrets) >= 10
        log = unquote(site.hub.log.read_text())
        starts = str(site.hub.seen("start"))
    assert "/hub/oauth_callback" in log
    assert "IAM does not admit" in log
    assert "JUPYTERHUB_API_TOKEN" in starts
    for text in (log, starts):
        assert [secret for secret in secrets if secret in text] == []
        assert JWT.findall(text) == []
        assert "Invalid " not in text.replace("Invalid HTTP", "")
        # The test's spawner refuses with an exception; the login itself never ends in one.
        assert "arcetri_hub/auth/" not in text


def _everything(site: Site) -> set[str]:
    hub, iam = site.hub, site.iam
    secrets = {iam.client_secret, hub.crypt_key, "eyJfromTheUrl"}
    pages: list[str] = []

    def remember(name: str) -> None:
        token = hub.user(name)["auth_state"]["refresh_token"]
        assert JWT.match(token)
        secrets.update((token, token.split(".")[1]))

    iam.configure(rotate_refresh_tokens=True)
    with site.browser() as browser:

        def come_back(name: str = "alice", browser: HubBrowser = browser) -> None:
            back = browser.back(name)
            query = parse_qs(urlsplit(back).query)
            secrets.update((query["code"][0], query["state"][0].rstrip("=")))
            pages.append(browser.http.get(back).text)

        come_back()
        remember("alice")
        hub.fresh("alice")
        remember("alice")
        assert hub.start_server("alice").status_code == 201
        pages.append(browser.page("home").text)
        pages.append(browser.page("token").text)

        # A refresh token IAM does not know: it echoes it.
        iam.add_user("karl", ["/arcetri/cms"])
        with site.browser() as karl:
            come_back("karl", karl)
        remember("karl")
        iam.delete("karl")
        hub.fresh("karl")
        hub.start_server("karl")

        for fault in (
            {"kind": "error", "path": "/token", "status": 500},
            {"kind": "error", "path": "/userinfo", "status": 500},
            {"kind": "slow", "path": "/userinfo", "seconds": 2},
            {"kind": "slow", "path": "/token", "seconds": 2},
            {"kind": "error", "path": "/jwk", "status": 404},
        ):
            browser.http.cookies.delete("oauthenticator-state")
            iam.rotate_keys()
            iam.fault(**fault)
            hub.fresh("alice")
            iam.clear_faults()
            browser.begin()
            iam.fault(**fault)
            come_back()
            iam.clear_faults()
        come_back()
        remember("alice")

        right = iam.secret_file.read_text()
        iam.secret_file.write_text("a-wrong-secret-of-ours\n")
        secrets.add("a-wrong-secret-of-ours")
        hub.fresh("alice")
        come_back()
        iam.secret_file.write_text(right)

        for query in (
            {"error": "access_denied", "error_description": "eyJfromTheUrl"},
            {"error": "eyJfromTheUrl", "state": "eyJfromTheUrl"},
            {"code": "eyJfromTheUrl", "state": "eyJfromTheUrl"},
        ):
            url = f"{hub.url}/hub/oauth_callback?{urlencode(query)}"
            methods = ("GET", "POST", "PUT", "FOO")
            pages += [browser.http.request(method, url).text for method in methods]
        browser.http.cookies.clear()
        pages.append(browser.http.get(browser.back("alice")).text)
    for page in pages:
        assert [secret for secret in secrets if secret in page] == []
        assert "Traceback" not in page
    return secrets
