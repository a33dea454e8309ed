"""The contract about usage: shares are exact, journal lines are read strictly."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from arcetri_accounting.contract import (
    SHARE_UNITS,
    LeaseEnded,
    LeaseStarted,
    Share,
    parse_journal_line,
)
from arcetri_accounting.contract.journal import JournalRecord
from arcetri_accounting.contract.usage import Batch, Record
from arcetri_accounting.contract.witness import WitnessBatch


class Holder(BaseModel):
    share: Share


@given(st.integers(min_value=1, max_value=SHARE_UNITS))
def test_every_unit_survives_json(units: int) -> None:
    holder = Holder(share=Fraction(units, SHARE_UNITS))

    assert Holder.model_validate_json(holder.model_dump_json()).share * SHARE_UNITS == units


@pytest.mark.parametrize("denominator", [2, 4, 7, 8, 9, 10, 16, 32, 48])
def test_the_parts_of_a_device_add_up(denominator: int) -> None:
    share = Holder.model_validate({"share": f"1/{denominator}"}).share

    assert share * denominator == 1


@pytest.mark.parametrize("value", [0, -1, 2, "1/11", "1/0", "x", True, None, "0.3333333333", []])
def test_a_share_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"share": value})


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "value",
    [
        "1e-999999999",
        "1E-3",
        "1e0",
        "0." + "3" * 10_000_000,
        "1/" + "9" * 10_000_000,
        " " * 10_000_000 + "x",
        10**100_000,
        "1_0/70",
        "0.5/1",
        "\u0661/\u0667",
        "nan",
        float("nan"),
        float("inf"),
        1e-300,
        "1/7\n/1",
    ],
    ids=lambda value: str(type(value)),
)
def test_a_share_is_refused_before_anybody_computes_with_it(value: object) -> None:
    """A journal line must not be able to stop who reads it."""
    with pytest.raises(ValidationError):
        Holder.model_validate({"share": value})


@pytest.mark.parametrize("value", ["1/7", " 1 / 7 ", "01/07", Fraction(1, 7)])
def test_a_share_may_be_spelled_in_several_ways(value: object) -> None:
    assert Holder.model_validate({"share": value}).share == Fraction(1, 7)


START = {
    "v": 1,
    "type": "start",
    "seq": 1,
    "session": "0f0e",
    "account": "a1",
    "username": "alice",
    "group": "/lab/cms",
    "flavor": "a100-1g",
    "flavor_type": "gpu",
    "share": "1/7",
    "catalog": "0" * 64,
    "cpu": 2,
    "memory": 8 << 30,
    "devices": [{"uuid": "MIG-1", "model": "A100 MIG 1g.5gb"}],
    "pid": 12,
    "pid_start_ticks": 34,
    "boot_id": "b",
    "at": "2026-11-23T09:00:00Z",
    "boottime_ms": 5,
}
END = {
    "v": 1,
    "type": "end",
    "seq": 2,
    "session": "0f0e",
    "reason": "idle",
    "boot_id": "b",
    "at": "2026-11-23T10:00:00Z",
    "boottime_ms": 3_600_005,
}


def test_a_line_becomes_what_its_type_says() -> None:
    start = parse_journal_line(json.dumps(START))
    end = parse_journal_line(json.dumps(END))

    assert isinstance(start, LeaseStarted)
    assert start.share == Fraction(1, 7)
    assert not start.devices[0].simulated
    assert isinstance(end, LeaseEnded)
    assert not end.at_is_estimate


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"seq": 0},
        {"type": "pause"},
        {"at": "2026-11-23T10:00:00"},
        {"surprise": 1},
    ],
)
def test_a_line_of_another_version_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        parse_journal_line(json.dumps(END | change))


def unbounded(schema: object, at: str) -> Iterator[str]:
    """Where a JSON schema lets a number be of any size."""
    if isinstance(schema, list):
        for place, entry in enumerate(schema):
            yield from unbounded(entry, f"{at}[{place}]")
    elif isinstance(schema, dict):
        if schema.get("type") in ("integer", "number") and "const" not in schema:
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            if low is None or high is None or low < -(2**63) or high >= 2**63:
                yield at
        for key, entry in schema.items():
            yield from unbounded(entry, f"{at}.{key}")


@pytest.mark.parametrize("kind", [Batch, Record, WitnessBatch, JournalRecord])
def test_every_number_that_is_sent_has_room_in_a_database(kind: object) -> None:
    schema = TypeAdapter(kind).json_schema()

    assert list(unbounded(schema, "")) == []


def test_the_reasons_of_ends_are_the_documented_ones() -> None:
    """One list, in the record's description and in the table of its documentation."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "lease-journal.md"
    (row,) = [line for line in page.read_text().splitlines() if line.startswith("| `reason`")]
    documented = set(re.findall(r"`([a-z_]+)`", row)) - {"reason"}
    source = inspect.getsource(LeaseEnded)
    said = source.split('"""A stable code: ')[1].split('"""')[0]
    words = re.sub(r"\([^)]*\)|on a cluster also", ",", " ".join(said.split()))
    assert {word.strip(" .;") for word in re.split(r"[,;]", words)} - {""} == documented
