"""What IAM's answers mean."""

from __future__ import annotations

import json

import pytest

from arcetri_hub.auth.answers import (
    Answer,
    AnswerKind,
    RefusalWatch,
    Reply,
    classify_code,
    classify_document,
    classify_refresh,
    classify_userinfo,
)

SECRET = "eyJ-the-token-itself"
ADMITTED, REFUSED = AnswerKind.ADMITTED, AnswerKind.NOT_ADMITTED
UNKNOWN, CLIENT = AnswerKind.UNKNOWN, AnswerKind.CLIENT_REFUSED
GOOD = {"access_token": "at", "refresh_token": "rt", "token_type": "Bearer"}


def reply(status: int, error: str) -> Reply:
    body = {"error": error, "error_description": f"Invalid access token: {SECRET}"}
    return Reply(status, json.dumps(body).encode())


NO_WORD = [
    Reply(None),
    Reply(None, reason="timeout"),
    Reply(500, b"<html>oops</html>"),
    Reply(503),
    Reply(502, json.dumps({"error": "invalid_grant"}).encode()),
    Reply(429),
    Reply(403, b"<html>"),
    Reply(404),
    Reply(302),
    Reply(401, b"<html>login</html>"),
    Reply(401, b"[]"),
    Reply(400, b'{"error": ["invalid_grant"]}'),
    Reply(200, b""),
    Reply(200, b"null"),
    Reply(200, b"{"),
    Reply(200, b"[" * 100_000),
    Reply(200, b"\xff\xfe"),
]


@pytest.mark.parametrize("given", NO_WORD, ids=repr)
@pytest.mark.parametrize("classify", [classify_code, classify_refresh, classify_userinfo])
def test_silence_faults_and_nonsense_say_nothing_of_a_person(classify, given: Reply) -> None:  # type: ignore[no-untyped-def]
    assert classify(given).kind is UNKNOWN


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "invalid_grant", REFUSED),
        (401, "unauthorized", REFUSED),
        (401, "invalid_token", REFUSED),
        (401, "invalid_client", CLIENT),
        (400, "invalid_client", CLIENT),
        (400, "invalid_scope", UNKNOWN),
        (400, "invalid_request", UNKNOWN),
        (400, "unauthorized", UNKNOWN),
        (401, "invalid_grant", UNKNOWN),
        (401, SECRET, UNKNOWN),
        (500, "server_error", UNKNOWN),
    ],
)
def test_a_refresh(status: int, error: str, kind: AnswerKind) -> None:
    assert classify_refresh(reply(status, error)).kind is kind


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, "unauthorized", CLIENT),
        (401, "invalid_client", CLIENT),
        (400, "invalid_grant", REFUSED),
        (400, "invalid_request", REFUSED),
        (500, "server_error", UNKNOWN),
    ],
)
def test_a_code(status: int, error: str, kind: AnswerKind) -> None:
    assert classify_code(reply(status, error)).kind is kind


@pytest.mark.parametrize("classify", [classify_code, classify_refresh])
@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 3},
        {"access_token": "a\r\nX-Evil: 1"},
        {"access_token": "ä"},
        {"refresh_token": ["rt"]},
        {"refresh_token": ""},
    ],
)
def test_tokens_that_are_no_tokens_are_nonsense(classify, change: dict[str, object]) -> None:  # type: ignore[no-untyped-def]
    assert classify(Reply(200, json.dumps(GOOD).encode())).kind is ADMITTED
    assert classify(Reply(200, json.dumps({**GOOD, **change}).encode())).kind is UNKNOWN


def test_userinfo() -> None:
    assert classify_userinfo(Reply(200, b'{"sub": "s"}')).fields == {"sub": "s"}
    assert classify_userinfo(Reply(200, b'{"name": "s"}')).kind is UNKNOWN
    assert classify_userinfo(reply(401, "invalid_token")).kind is REFUSED
    assert classify_userinfo(reply(401, "unauthorized")).kind is UNKNOWN


def test_documents() -> None:
    assert classify_document(Reply(200, b"{}")).kind is ADMITTED
    assert classify_document(Reply(200, b"[]")).kind is UNKNOWN
    assert classify_document(Reply(404)).code == "http_404"


def test_nothing_of_a_refusal_is_repeated() -> None:
    for classify in (classify_code, classify_refresh, classify_userinfo, classify_document):
        for status in (400, 401, 403, 500):
            for error in ("invalid_token", SECRET):
                assert SECRET not in repr(classify(reply(status, error)))
    assert SECRET not in repr(reply(401, "invalid_token"))
    accepted = classify_refresh(Reply(200, json.dumps({"access_token": SECRET}).encode()))
    assert SECRET not in repr(accepted)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


SUSPENDED = Answer(REFUSED, "unauthorized")


def test_a_few_suspended_people_are_suspended_people() -> None:
    watch = RefusalWatch(Clock())
    for person in ("a", "b", "a", "b", "a"):
        assert watch.judge(person, SUSPENDED).kind is REFUSED
    watch.judge("c", Answer(ADMITTED, "ok"))
    assert watch.judge("d", SUSPENDED).kind is REFUSED
    assert not watch.suspected


def test_everybody_refused_at_once_is_the_clients_fault() -> None:
    watch = RefusalWatch(Clock())
    kinds = [watch.judge(person, SUSPENDED).kind for person in ("a", "b", "c", "d", "a")]
    assert kinds == [REFUSED, REFUSED, CLIENT, CLIENT, CLIENT]
    assert watch.suspected
    watch.judge("e", Answer(ADMITTED, "ok"))
    assert not watch.suspected
    assert watch.judge("a", SUSPENDED).kind is REFUSED


def test_refusals_long_apart_are_no_alarm() -> None:
    clock = Clock()
    watch = RefusalWatch(clock, window=600)
    for person in "abcdef":
        assert watch.judge(person, SUSPENDED).kind is REFUSED
        clock.now += 301
    assert not watch.suspected


def test_deleted_accounts_are_no_alarm() -> None:
    watch = RefusalWatch(Clock())
    for person in "abcdef":
        assert watch.judge(person, Answer(REFUSED, "invalid_token")).kind is REFUSED
    assert not watch.suspected


def test_iam_naming_the_client_is_an_alarm_at_once() -> None:
    watch = RefusalWatch(Clock())
    watch.judge("a", Answer(CLIENT, "invalid_client"))
    assert watch.suspected
