"""What is asked, and what becomes of the answers: steps that are given answers by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from kueue_client import ClusterQueue, LocalQueue, ObjectMeta, Unexpected, Workload, calls
from kueue_client.errors import Conflict, Gone, KueueError, Unreachable
from kueue_client.steps import APPLY_PATCH, Answer, Request, Steps, arun, run

T = TypeVar("T")


def done(steps: Steps[T], *answers: tuple[int, Any] | KueueError) -> tuple[T, list[Request]]:
    """What steps come to, given these answers, and what they asked."""
    asked: list[Request] = []
    ready = list(answers)

    class Script:
        def do(self, action: Any) -> Answer | None:
            asked.append(action)
            given = ready.pop(0)
            if isinstance(given, KueueError):
                raise given
            body = given[1] if isinstance(given[1], bytes) else json.dumps(given[1]).encode()
            return Answer(given[0], body)

    found = run(steps, Script())
    assert not ready
    return found, asked


def queue(name: str, version: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "resourceVersion": version}
    return {"metadata": metadata, "spec": {"clusterQueue": "c"}}


def pages(*names: str, more: str = "") -> tuple[int, Any]:
    metadata = {"resourceVersion": "7", **({"continue": more} if more else {})}
    return 200, {"metadata": metadata, "items": [queue(name) for name in names]}


EXPIRED = (410, {"reason": "Expired", "message": "too old"})


def test_a_list_is_read_page_by_page() -> None:
    found, asked = done(
        calls.list_all(LocalQueue, "n", labels="a=b"), pages("one", more="x"), pages("two")
    )
    assert [one.name for one in found.items] == ["one", "two"]
    assert found.resource_version == "7"
    assert [dict(one.query).get("continue") for one in asked] == [None, "x"]
    assert all(dict(one.query)["labelSelector"] == "a=b" for one in asked)


def test_a_list_whose_page_is_too_old_is_read_again() -> None:
    answers = (pages("old", more="x"), EXPIRED, pages("new"))
    found, _ = done(calls.list_all(LocalQueue, None), *answers)
    assert [one.name for one in found.items] == ["new"]
    with pytest.raises(Gone):
        done(calls.list_all(LocalQueue, None), EXPIRED)


def test_names_are_quoted_and_a_namespace_is_where_it_belongs() -> None:
    assert calls.path(LocalQueue, "a/b", "n").endswith("/namespaces/n/localqueues/a%2Fb")
    with pytest.raises(ValueError, match="is in a namespace: name it"):
        calls.path(LocalQueue, "one", None)
    with pytest.raises(ValueError, match="a ClusterQueue is in no namespace"):
        calls.path(ClusterQueue, "one", "n")
    with pytest.raises(ValueError, match="has a name"):
        calls.path(LocalQueue, "", "n")


def test_what_was_read_can_be_applied() -> None:
    made = LocalQueue.from_wire(queue("one") | {"status": {"pendingWorkloads": 3}})
    made.metadata.uid = "u"
    _, (asked,) = done(calls.apply(made, "me", force=True), (200, queue("one")))
    assert asked.content == APPLY_PATCH
    assert asked.body is not None
    assert "status" not in asked.body
    assert asked.body["metadata"] == {"name": "one", "namespace": "n"}
    assert dict(asked.query) == {"fieldManager": "me", "force": "true"}


def test_deleting_what_is_not_there_is_no_error() -> None:
    gone = (404, {"details": {"name": "one"}, "reason": "NotFound"})
    assert done(calls.delete(LocalQueue, "one", "n"), gone)[0] is False
    assert done(calls.delete(LocalQueue, "one", "n"), (200, {}))[0] is True
    other = (409, {"reason": "Conflict"})
    assert done(calls.delete(LocalQueue, "one", "n", uid="u"), other)[0] is False
    with pytest.raises(Conflict):
        done(calls.delete(LocalQueue, "one", "n"), other)


def test_positions_are_asked_for_until_a_page_is_not_full() -> None:
    def page(amount: int) -> tuple[int, Any]:
        one = {
            "priority": 0,
            "localQueueName": "q",
            "positionInClusterQueue": 0,
            "positionInLocalQueue": 0,
        }
        return 200, {"items": [one] * amount}

    found, asked = done(calls.pending("q", "n"), page(calls.PAGE), page(3))
    assert len(found) == calls.PAGE + 3
    assert [dict(one.query)["offset"] for one in asked] == ["0", str(calls.PAGE)]
    assert done(calls.pending("q", None), (200, {"items": None}))[0] == ()


@pytest.mark.parametrize("body", [b"<html>", b"[]", {"items": [{"metadata": 3}]}])
def test_an_answer_of_something_else_is_said_to_be_one(body: Any) -> None:
    with pytest.raises(Unexpected):
        done(calls.list_all(LocalQueue, None), (200, body))


async def _both(describe: Callable[[], Steps[str]], outcome: Answer | KueueError) -> list[str]:
    class Doer:
        def do(self, _action: Any) -> Answer:
            if isinstance(outcome, KueueError):
                raise outcome
            return outcome

    class AsyncDoer:
        async def do(self, action: Any) -> Answer:
            return Doer().do(action)

    return [run(describe(), Doer()), await arun(describe(), AsyncDoer())]


async def test_steps_are_told_of_answers_and_of_errors_by_both_kinds_of_client() -> None:
    def describe() -> Steps[str]:
        try:
            answer = yield Request("GET", "/")
        except Unreachable as error:
            return error.message
        return str(answer.body.decode())

    assert await _both(describe, Answer(200, b"yes")) == ["yes", "yes"]
    assert await _both(describe, Unreachable("away")) == ["away", "away"]
    with pytest.raises(Conflict):
        await _both(describe, Conflict("no"))


def test_a_workload_needs_its_namespace_to_be_created() -> None:
    with pytest.raises(ValueError, match="name it in its metadata"):
        done(calls.create(Workload(metadata=ObjectMeta(name="one")), "me"))
