"""What may not be configured."""

from __future__ import annotations

from functools import partial

import pytest
from traitlets import TraitError
from traitlets.config import Config

from arcetri_hub.auth import IamAuthenticator
from arcetri_spawner.policy import refusal_of_stranger
from tests.support.builders import catalog


def build(**traits: object) -> IamAuthenticator:
    config = Config()
    for name, value in traits.items():
        setattr(config.IamAuthenticator, name, value)
    return IamAuthenticator(config=config)


@pytest.mark.parametrize(
    ("trait", "value", "sentence"),
    [
        ("issuer", "http://iam.example.org/", "needs https://"),
        ("enable_pkce", False, "does not work without enable_pkce"),
        ("enable_auth_state", False, "does not work without enable_auth_state"),
        ("manage_groups", False, "does not work without manage_groups"),
        ("iam_logout", "maybe", "iam_logout"),
    ],
)
def test_what_would_be_unsafe_is_refused(trait: str, value: object, sentence: str) -> None:
    with pytest.raises(TraitError, match=sentence):
        build(**{trait: value})


def test_an_issuer_and_a_client_are_needed() -> None:
    with pytest.raises(TraitError, match="issuer and client_id"):
        _ = build(client_id="hub").client


def test_the_safe_way_is_the_default() -> None:
    authenticator = build(issuer="https://iam.example.org", client_id="hub")
    assert authenticator.enable_pkce
    assert authenticator.enable_auth_state
    assert authenticator.manage_groups
    assert not authenticator.refresh_pre_spawn
    assert authenticator.scope == [
        "openid",
        "profile",
        "email",
        "wlcg.groups",
        "offline_access",
    ]
    assert authenticator.client.settings.basic


def test_the_secret_is_not_in_the_settings_repr() -> None:
    authenticator = build(issuer="https://iam.example.org", client_id="h", client_secret="s3cret")
    assert authenticator.client.settings.client_secret() == "s3cret"
    assert "s3cret" not in repr(authenticator.client.settings)


async def test_nobody_is_allowed_who_is_in_no_group_of_the_catalog() -> None:
    authenticator = build(refusal=partial(refusal_of_stranger, catalog()))
    assert await authenticator.check_allowed("x", {"groups": ["lab/cms"]})
    assert not await authenticator.check_allowed("x", {"groups": ["/lab/cms/x", "/lab/cmss"]})
    assert not await authenticator.check_allowed("x", {"groups": None, "admin": True})
    assert not await authenticator.check_allowed("x", None)
