"""Whose a token is: asked of the API server, for one audience, and remembered for a short while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arcetri_accounting.client import tokenreview
from arcetri_accounting.client.apiserver import ApiServer, NotInCluster
from arcetri_accounting.client.tokenreview import (
    Caller,
    ReviewAway,
    TokenRefused,
    TokenReviewer,
    caller_of,
)
from tests.accounting.client.apiserver import NOBODY, Api, running, somebody, token

pytestmark = pytest.mark.component

AGENT = Caller("agents", "arcetri-agent", "node1", "agent-x", "1-2-3")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with running(tmp_path) as found:
        found.answer = lambda _: (
            201,
            somebody(node_name="node1", pod_name="agent-x", pod_uid="1-2-3"),
        )
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reviewer(api: Api, clock: Clock) -> Iterator[TokenReviewer]:
    made = TokenReviewer("arcetri-ledger", api.server, clock=clock)
    yield made
    made.close()


def test_says_whose_pod_on_which_node_it_is(api: Api, reviewer: TokenReviewer) -> None:
    assert reviewer.review(token()) == AGENT
    assert api.asked == [{"token": token(), "audiences": ["arcetri-ledger"]}]
    assert AGENT.name == "agents:arcetri-agent"


def test_asks_once_a_minute_and_not_beyond_the_expiry(
    api: Api, reviewer: TokenReviewer, clock: Clock
) -> None:
    ends_soon = token(exp=clock.now + 20)
    for _ in range(3):
        reviewer.review(token())
        reviewer.review(ends_soon)
    assert len(api.asked) == 2
    assert reviewer.knows(ends_soon)
    clock.now += 21
    assert not reviewer.knows(ends_soon)
    reviewer.review(ends_soon)
    assert len(api.asked) == 3
    clock.now += 40
    reviewer.review(token())
    assert len(api.asked) == 4


def test_what_the_api_server_refuses_is_refused_and_that_is_remembered_shortly(
    api: Api, reviewer: TokenReviewer, clock: Clock
) -> None:
    api.answer = lambda _: (201, NOBODY)
    for _ in range(3):
        with pytest.raises(TokenRefused):
            reviewer.review(token())
    assert len(api.asked) == 1
    assert not reviewer.knows(token())
    clock.now += 11
    api.answer = lambda _: (201, somebody())
    assert reviewer.review(token()).account == "arcetri-agent"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "a secret of a file",
        "a.b.c",
        "a.e30.c",
        token("https://kubernetes.default.svc"),
        token() + "x" * 20_000,
    ],
)
def test_what_cannot_be_for_this_audience_is_not_asked_for(
    api: Api, reviewer: TokenReviewer, wrong: str
) -> None:
    with pytest.raises(TokenRefused):
        reviewer.review(wrong)
    assert api.asked == []


@pytest.mark.parametrize(
    "status",
    [
        NOBODY,
        {},
        {**somebody(), "audiences": []},
        {**somebody(), "audiences": ["another"]},
        {**somebody(), "authenticated": "true"},
        somebody("system:node:node1"),
    ],
)
def test_only_a_service_account_for_this_audience_is_somebody(status: dict[str, object]) -> None:
    assert caller_of(status, "arcetri-ledger") is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(500, "answers 500"), (429, "answers 429"), (403, "system:auth-delegator"), (302, "302")],
)
def test_no_answer_of_use_is_no_refusal(
    api: Api, reviewer: TokenReviewer, code: int, words: str
) -> None:
    api.answer = lambda _: (code, NOBODY)
    with pytest.raises(ReviewAway, match=words):
        reviewer.review(token())
    api.answer = lambda _: (201, somebody())
    reviewer.review(token())


def test_an_api_server_that_is_away_is_no_refusal(tmp_path: Path, clock: Clock) -> None:
    with running(tmp_path) as api:
        server = api.server
    reviewer = TokenReviewer("arcetri-ledger", server, clock=clock)
    with pytest.raises(ReviewAway, match="no answer"):
        reviewer.review(token())
    server.token_file.unlink()
    with pytest.raises(ReviewAway, match="no answer"):
        reviewer.review(token())


def test_its_own_token_is_read_anew_at_each_use(api: Api, reviewer: TokenReviewer) -> None:
    own = api.server.token_file.read_text()
    api.server.token_file.write_text("an old one")
    with pytest.raises(ReviewAway):
        reviewer.review(token())
    api.server.token_file.write_text(own)
    reviewer.review(token())


def test_remembers_no_more_than_it_may(
    reviewer: TokenReviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenreview, "MAX_KEPT", 4)
    for number in range(20):
        reviewer.review(token(sub=str(number)))
    assert len(reviewer._known) <= 4
    assert reviewer.knows(token(sub="19"))


def test_a_pod_knows_its_api_server(tmp_path: Path) -> None:
    with pytest.raises(NotInCluster, match="KUBERNETES_SERVICE_HOST"):
        ApiServer.of_pod({}, tmp_path)
    told = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    with pytest.raises(NotInCluster, match="automountServiceAccountToken"):
        ApiServer.of_pod(told, tmp_path)
    for name in ("token", "ca.crt"):
        (tmp_path / name).write_text(name)
    found = ApiServer.of_pod(told, tmp_path)
    assert found.url == "https://[fd00::1]:6443"
    assert found.token() == "token"
