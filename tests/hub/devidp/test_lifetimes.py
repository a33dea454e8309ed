"""What expires when, with a clock that the test turns."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest

from arcetri_hub.devidp.directory import restore_demo
from arcetri_hub.devidp.keys import make_key
from arcetri_hub.devidp.models import DEFAULT_SCOPES, Client, SigningKey, State
from arcetri_hub.devidp.provider import Grant, Provider

DAY = 86400
START = 1_795_000_000


@dataclass
class Clock:
    seconds: float = START

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return make_key("rsa1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(key: SigningKey, clock: Clock) -> Provider:
    state = State(key=key)
    restore_demo(state, START)
    state.clients = [
        Client(
            client_id="hub",
            secret="s",
            name="hub",
            redirect_uris=["http://127.0.0.1/cb"],
            scopes=[*DEFAULT_SCOPES, "iam"],
        )
    ]
    return Provider("http://127.0.0.1:1/", state, clock=clock)


@pytest.fixture
def grant(provider: Provider) -> Grant:
    return Grant(
        user=provider.state.users[0],
        client=provider.state.clients[0],
        scope="openid profile offline_access",
        nonce="n",
        audience=None,
    )


def expiry(token: str) -> int:
    part = token.split(".")[1]
    return int(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])


def test_an_access_token_lives_an_hour(provider: Provider, clock: Clock, grant: Grant) -> None:
    token = provider.issue(grant)["access_token"]
    assert expiry(token) == START + 3600
    clock.seconds += 3599
    assert provider.access_token(token) is not None
    clock.seconds += 1
    assert provider.access_token(token) is None


def test_reuse_does_not_extend_a_refresh_token(
    provider: Provider, clock: Clock, grant: Grant
) -> None:
    token = provider.issue(grant)["refresh_token"]
    assert expiry(token) == START + 30 * DAY
    for _ in range(3):
        clock.seconds += 10 * DAY - 1
        assert provider.issue(grant, refreshed=token)["refresh_token"] == token
    clock.seconds += 3
    assert provider.refresh_token(token) is None


def test_a_code_lives_minutes(provider: Provider, clock: Clock, grant: Grant) -> None:
    provider.save_code("early", grant, None, "challenge")
    provider.save_code("late", grant, None, "challenge")
    clock.seconds += 299
    assert provider.take_code("early") is not None
    clock.seconds += 1
    assert provider.take_code("late") is None


def test_a_browser_session_lives_half_a_day(provider: Provider, clock: Clock, grant: Grant) -> None:
    cookie = provider.open_session(grant.user)
    clock.seconds += 12 * 3600 - 1
    assert provider.session_user(cookie) is grant.user
    clock.seconds += 1
    assert provider.session_user(cookie) is None


def test_what_has_expired_is_forgotten(provider: Provider, clock: Clock, grant: Grant) -> None:
    provider.issue(grant)
    provider.open_session(grant.user)
    provider.save_code("code", grant, None, "challenge")
    clock.seconds += 31 * DAY
    provider.save()
    state = provider.state
    assert (state.access_tokens, state.refresh_tokens, state.sessions, state.codes) == (
        {},
        {},
        {},
        {},
    )


def test_the_state_survives_being_written_and_read(provider: Provider, grant: Grant) -> None:
    token = provider.issue(grant)["access_token"]
    again = State.model_validate_json(provider.state.model_dump_json())
    assert again == provider.state
    assert token not in provider.state.model_dump_json()
