"""Refreshes: the only thing that shows what became of an account."""

from __future__ import annotations

import pytest

from tests.support.iam import DevIam

pytestmark = pytest.mark.component


def test_the_same_refresh_token_comes_back_and_earlier_access_tokens_die(iam: DevIam) -> None:
    login = iam.tokens("alice")
    refreshed = iam.refresh(login["refresh_token"])
    assert refreshed.status_code == 200
    assert refreshed.json()["refresh_token"] == login["refresh_token"]
    assert iam.userinfo(login["access_token"]).status_code == 401
    assert iam.userinfo(refreshed.json()["access_token"]).status_code == 200
