from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.reaper.answers import Answers, Unreadable, read_activity

EARLY = "2026-11-23T10:00:00.000000Z"
LATE = "2026-11-23T11:00:00.000000Z"
STATUS = {"started": EARLY, "last_activity": EARLY, "kernels": 1, "connections": 0}


def answers(status: object = STATUS, kernels: object = (), terminals: object = ()) -> Answers:
    return Answers(
        json.dumps(status).encode(), json.dumps(kernels).encode(), json.dumps(terminals).encode()
    )


def kernel(state: str, stamp: str) -> dict[str, object]:
    return {"id": "k1", "name": "python3", "last_activity": stamp, "execution_state": state}


def test_the_latest_of_everything_counts() -> None:
    latest = datetime(2026, 11, 23, 11, tzinfo=UTC)
    for told in (
        answers({**STATUS, "last_activity": LATE}),
        answers(kernels=[kernel("idle", LATE)]),
        answers(terminals=[{"name": "1", "last_activity": LATE}]),
    ):
        activity = read_activity(told)
        assert activity.last == latest
        assert not activity.busy


@pytest.mark.parametrize(
    ("state", "busy"), [("busy", True), ("starting", True), ("idle", False), ("dead", False)]
)
def test_a_computing_kernel_is_busy(state: str, busy: bool) -> None:
    assert read_activity(answers(kernels=[kernel(state, EARLY)])).busy is busy


def test_a_session_without_terminals_can_be_read() -> None:
    activity = read_activity(Answers(json.dumps(STATUS).encode(), b"[]", None))
    assert activity.last == datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_signs_change_with_any_stamp_even_one_that_is_not_the_latest() -> None:
    before = read_activity(answers({**STATUS, "last_activity": LATE}, [kernel("idle", EARLY)]))
    after = read_activity(
        answers({**STATUS, "last_activity": LATE}, [kernel("idle", "2026-11-23T10:30:00Z")])
    )
    assert before.last == after.last
    assert before.signs != after.signs


@pytest.mark.parametrize(
    "bad",
    [
        answers(status=[]),
        answers(status={}),
        answers(status={"last_activity": 5}),
        answers(status={"last_activity": "yesterday"}),
        answers(status={"last_activity": "0001-01-01T00:00:00+14:00"}),
        answers(kernels={}),
        answers(kernels=["k"]),
        answers(kernels=[{"id": "k"}]),
        answers(terminals=[[]]),
        Answers(b"<html>", b"[]", b"[]"),
        Answers(b"[" * 100_000, b"[]", b"[]"),
        Answers(b"\xff", b"[]", b"[]"),
    ],
)
def test_what_is_no_answer_is_refused(bad: Answers) -> None:
    with pytest.raises(Unreadable):
        read_activity(bad)


@given(st.binary(), st.binary(), st.none() | st.binary())
def test_no_bytes_do_worse_than_being_unreadable(a: bytes, b: bytes, c: bytes | None) -> None:
    with pytest.raises(Unreadable):
        read_activity(Answers(a, b, c))
