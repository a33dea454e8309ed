"""Quantities, and words that nobody knows yet."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kueue_client import Quantity, Reason, ResourceQuota, Workload
from kueue_client.lines import Lines

AMOUNTS = st.decimals(-(10**6), 10**6, places=3)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", "2"),
        (7, "7"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("8Gi", str(8 * 2**30)),
        ("100M", "100000000"),
        ("2e3", "2000"),
        ("1E", str(10**18)),
        ("1Ei", str(2**60)),
        ("-3k", "-3000"),
        ("250n", "0.00000025"),
    ],
)
def test_an_amount_is_what_kubernetes_says(text: str | int, amount: str) -> None:
    assert Quantity(text).amount == Decimal(amount)


@pytest.mark.parametrize("text", ["", "two", "1 Gi", "1gi", "Gi", "1KiB", "0x10", "1e", "--1"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        Quantity(text)


@given(AMOUNTS, AMOUNTS)
def test_amounts_are_compared_however_they_are_written(one: Decimal, other: Decimal) -> None:
    assert (Quantity(one) == Quantity(other)) == (one == other)
    assert (Quantity(one) < Quantity(other)) == (one < other)
    assert Quantity(f"{int(one * 1000)}m") == Quantity(one)
    assert hash(Quantity(f"{int(one * 1000)}m")) == hash(Quantity(one))


def test_a_quota_keeps_the_way_it_was_written() -> None:
    quota = ResourceQuota.from_wire({"name": "memory", "nominalQuota": "1024Mi"})
    assert quota.nominal_quota == Quantity("1Gi")
    assert quota.to_wire() == {"name": "memory", "nominalQuota": "1024Mi"}
    with pytest.raises(ValidationError, match="no quantity"):
        ResourceQuota(name="memory", nominal_quota="much")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="a text or a whole number"):
        ResourceQuota(name="memory", nominal_quota=0.5)  # type: ignore[arg-type]


def test_words_that_nobody_knows_yet_are_taken_and_compared() -> None:
    new = Reason("EvictedByAliens")
    assert not new.known
    assert Reason.PREEMPTED.known
    assert new == Reason("EvictedByAliens") == "EvictedByAliens"
    assert {new, Reason("EvictedByAliens")} == {new}
    assert copy.deepcopy(new) == pickle.loads(pickle.dumps(new)) == new  # noqa: S301  # its own
    assert new not in list(Reason)


def test_the_cause_in_an_evictions_reason_is_found() -> None:
    reason = Reason("DeactivatedDueToMaximumExecutionTimeExceeded")
    assert reason.base is Reason.DEACTIVATED
    assert reason.cause is Reason.MAXIMUM_EXECUTION_TIME_EXCEEDED
    assert Reason.PREEMPTED.base is Reason.PREEMPTED
    assert Reason.PREEMPTED.cause is None


def test_what_is_changed_in_place_is_written_and_what_was_never_set_is_not() -> None:
    workload = Workload()
    assert workload.to_wire() == {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload"}
    workload.metadata.labels["team"] = "cms"
    workload.spec.active = False
    assert workload.to_wire()["metadata"] == {"labels": {"team": "cms"}}
    assert workload.to_wire()["spec"] == {"active": False}


@given(
    st.lists(st.binary(max_size=8).map(lambda one: one.replace(b"\n", b".")), max_size=6), st.data()
)
def test_lines_are_whole_however_they_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    taker, found = Lines(), []
    while text:
        size = data.draw(st.integers(1, len(text)))
        found += list(taker.take(text[:size]))
        text = text[size:]
    assert found == [line for line in lines if line.strip()]
