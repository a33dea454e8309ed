"""Logging in: a real hub, the real authenticator, the development IAM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hub.auth.hub_process import HubBrowser, TestHub, callback, free_port, running
from tests.support.iam import DevIam

pytestmark = pytest.mark.component


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevIam, TestHub]]:
    folder = tmp_path_factory.mktemp("login")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        DevIam.started(folder, callbacks=[callback(url)]) as iam,
        running(folder / "hub", iam, port) as hub,
    ):
        yield iam, hub


def test_a_login_ends_logged_in_under_the_account_name(site: tuple[DevIam, TestHub]) -> None:
    iam, hub = site
    with HubBrowser(hub, iam) as browser:
        answer = browser.login("alice")
        assert answer.is_redirect, answer.text
        assert "alice" in browser.page("home").text
    user = hub.user("alice")
    assert user["auth_state"]["arcetri"]["sub"] == iam.sub("alice")
