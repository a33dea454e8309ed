"""What the refresher keeps, and when it keeps nothing: with IAM faked at the wire."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jupyterhub.crypto import CryptKeeper, decrypt, encrypt
from sqlalchemy.exc import OperationalError
from tornado.httpclient import HTTPRequest

from arcetri_hub.auth.answers import RefusalWatch, Reply
from arcetri_hub.auth.claims import Person, read_person
from arcetri_hub.auth.client import ClientSettings, IamClient
from arcetri_hub.auth.discovery import discovery_url
from arcetri_hub.auth.record import LoginRecord
from arcetri_hub.auth.refresher import Refresher
from arcetri_spawner.groups import GroupPath, normalize_group
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import Standing

ISSUER = "https://iam.example.org/"
GOOD = {"sub": "s-1", "preferred_username": "alice", "groups": ["a"]}


@pytest.fixture(autouse=True)
def _crypt_key() -> Iterator[None]:
    CryptKeeper.clear_instance()
    CryptKeeper.instance(keys=[b"0" * 32])
    yield
    CryptKeeper.instance().executor.shutdown()
    CryptKeeper.clear_instance()


class Reader:
    def person(self, claims: Mapping[str, Any]) -> Person:
        return read_person(claims)

    def numbers(self, claims: Mapping[str, Any]) -> Numbers:
        del claims
        return Numbers()

    def administers(self, groups: frozenset[GroupPath]) -> bool:
        del groups
        return False


class Database:
    def __init__(self) -> None:
        self.full = False
        self.rolled_back = 0

    def commit(self) -> None:
        if self.full:
            raise OperationalError("UPDATE", {"secret": "rt-1"}, Exception("disk is full"))

    def rollback(self) -> None:
        self.rolled_back += 1


class User:
    def __init__(self) -> None:
        self.name = "alice"
        self.admin = False
        self.encrypted_auth_state: bytes | None = None
        self.db = Database()
        self.groups: list[str] = []

    async def keep(self, record: LoginRecord) -> None:
        self.encrypted_auth_state = await encrypt(record.dump())

    async def get_auth_state(self) -> Any:
        return await decrypt(self.encrypted_auth_state) if self.encrypted_auth_state else None

    def sync_groups(self, group_names: list[str]) -> None:
        self.groups = group_names


def record(**changes: Any) -> LoginRecord:
    given: dict[str, Any] = {
        "account_id": "account-1",
        "issuer": ISSUER.rstrip("/"),
        "sub": "s-1",
        "label": "alice",
        "display_name": "Alice",
        "groups": (normalize_group("before"),),
        "standing": Standing.ADMITTED,
        "checked_at": datetime(2026, 1, 1, tzinfo=UTC),
        "refresh_token": "rt-1",
    }
    return LoginRecord(**{**given, **changes})


class Iam:
    """Answers by path; a callable may do something first."""

    def __init__(self) -> None:
        self.token: dict[str, Any] = {"access_token": "at", "refresh_token": "rt-1"}
        self.userinfo: dict[str, Any] = dict(GOOD)
        self.before: Callable[[str], Any] = lambda _path: None
        self.asked: list[str] = []

    async def __call__(self, request: HTTPRequest) -> Reply:
        path = request.url.removeprefix(ISSUER)
        self.asked.append(path)
        if (waiting := self.before(path)) is not None:
            await waiting
        if request.url == discovery_url(ISSUER):
            names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
            document = {"issuer": ISSUER, **{name: ISSUER + name for name in names}}
            return Reply(200, json.dumps(document).encode())
        body = self.token if path == "token_endpoint" else self.userinfo
        return Reply(200, json.dumps(body).encode())


def refresher(iam: Iam, log: str = "test") -> Refresher:
    client = IamClient(ClientSettings(ISSUER, "hub", lambda: "secret"), iam)
    return Refresher(
        client,
        Reader(),
        RefusalWatch(lambda: 0.0),
        observe=lambda _kind: None,
        log=logging.getLogger(log),
        clock=lambda: 0.0,
    )


async def kept(user: User) -> LoginRecord:
    found = LoginRecord.load(await user.get_auth_state())
    assert found is not None
    return found


async def test_a_record_survives_being_kept() -> None:
    user = User()
    whole = record(uid=200001, gids={normalize_group("a"): 300001}, suffixed=True)
    await user.keep(whole)
    assert await kept(user) == whole
    assert "rt-1" not in repr(whole)
    assert "rt-1" not in json.dumps(whole.dump()["arcetri"])


@pytest.mark.parametrize("state", [None, 3, {}, {"arcetri": 3}, {"arcetri": {"sub": "s"}}])
async def test_what_something_else_kept_is_no_login(state: object) -> None:
    assert LoginRecord.load(state) is None


async def test_an_answer_is_kept() -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    iam.token["refresh_token"] = "rt-2"
    outcome = await refresher(iam).fresh(user)
    assert outcome.standing is Standing.ADMITTED
    assert (await kept(user)).groups == ("/a",)
    assert (await kept(user)).refresh_token == "rt-2"
    assert user.groups == ["/a"]


async def test_userinfo_of_somebody_else_says_nothing() -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    iam.userinfo["sub"] = "s-2"
    outcome = await refresher(iam).fresh(user)
    assert outcome.standing is Standing.UNKNOWN
    assert (await kept(user)).groups == ("/before",)


@pytest.mark.parametrize("said", [Standing.ADMITTED, Standing.NOT_ADMITTED])
async def test_of_whom_nothing_is_said_now_what_was_said_last_is_known(said: Standing) -> None:
    iam, user = Iam(), User()
    await user.keep(record(standing=said))
    iam.userinfo["sub"] = "s-2"
    asked = refresher(iam)
    for outcome in (await asked.fresh(user), await asked.known(user)):
        assert outcome.record is not None
        now = outcome.record.identity("alice", outcome.standing)
        assert (now.standing, now.was_admitted) == (Standing.UNKNOWN, said is Standing.ADMITTED)
        before = Standing.ADMITTED if said is Standing.ADMITTED else Standing.UNKNOWN
        assert (now.as_before().standing, now.as_before().groups) == (before, now.groups)


async def test_a_login_in_the_meantime_wins() -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    newer = record(refresh_token="rt-of-the-login", groups=(normalize_group("newer"),))
    iam.before = lambda path: user.keep(newer) if path == "userinfo_endpoint" else None
    outcome = await refresher(iam).fresh(user)
    assert outcome.record == newer
    assert await kept(user) == newer


async def test_without_a_refresh_token_the_access_token_serves_while_it_lives() -> None:
    iam, user = Iam(), User()
    await user.keep(record(refresh_token=None, access_token="at-1"))
    assert (await refresher(iam).fresh(user)).standing is Standing.ADMITTED
    assert "token_endpoint" not in iam.asked
    await user.keep(record(refresh_token=None))
    assert (await refresher(iam).fresh(user)).standing is Standing.NOT_ADMITTED


async def test_another_issuers_token_is_never_sent() -> None:
    iam, user = Iam(), User()
    await user.keep(record(issuer="https://elsewhere.example"))
    assert (await refresher(iam).fresh(user)).standing is Standing.NOT_ADMITTED
    assert iam.asked == []


async def test_a_full_disk_is_unknown_and_logs_no_token(caplog: pytest.LogCaptureFixture) -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    user.db.full = True
    with caplog.at_level(logging.DEBUG):
        outcome = await refresher(iam).fresh(user)
    assert outcome.standing is Standing.UNKNOWN
    assert user.db.rolled_back == 1
    assert "could not be stored" in caplog.text
    assert "rt-1" not in caplog.text


async def test_a_caller_who_goes_away_does_not_stop_the_question() -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    iam.token["refresh_token"] = "rt-2"
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await go_on.wait()

    iam.before = lambda path: wait() if path == "token_endpoint" else None
    asking = refresher(iam)
    first = asyncio.create_task(asking.fresh(user))
    await asked.wait()
    first.cancel()
    second = asyncio.create_task(asking.fresh(user))
    await asyncio.sleep(0)
    go_on.set()
    assert (await second).standing is Standing.ADMITTED
    assert iam.asked.count("token_endpoint") == 1
    assert (await kept(user)).refresh_token == "rt-2"


async def test_one_answer_serves_calls_soon_after_that_ask_for_no_newer() -> None:
    iam, user = Iam(), User()
    await user.keep(record())
    asking = refresher(iam)
    for _ in range(3):
        await asking.fresh(user, reuse=5.0)
    assert iam.asked.count("token_endpoint") == 1
    await asking.fresh(user)
    assert iam.asked.count("token_endpoint") == 2
