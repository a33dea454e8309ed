"""How the whole time of devices divides: against a count by hand, and through a ledger."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.ledger.cli import Group, with_database
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.retention import QUARTERS_SETTING
from arcetri_accounting.ledger.tables import SettingRow
from arcetri_accounting.reports.capacity import Doubt, Held, Seen, divide
from arcetri_accounting.reports.cli import add_commands
from tests.accounting.ledger.builders import allocation, batch, segment
from tests.accounting.ledger.harness import Ledger
from tests.accounting.reports.world import Use, at, build, client, fill

MINUTE = 60_000
QUARTERS = 3
WHOLE = 10_080
START = at("2026-11-20T00:00")
DAY = {"from": "2026-11-20", "to": "2026-11-20"}
LAYOUTS = ({"GPU": WHOLE}, {"GPU": 0, "M1": 4320, "M2": 4320}, {"GPU": 0, "M1": 1440, "M2": 2880})

minutes = st.integers(-5, 15 * QUARTERS + 5)
spans = st.tuples(minutes, minutes).map(sorted).filter(lambda one: one[0] < one[1])


@st.composite
def stories(draw: st.DrawFn) -> Any:
    """What agents said, what they did not know, and what was held, in minutes."""
    layout = draw(st.sampled_from(LAYOUTS))
    seen = [
        (device, down, *span)
        for device in layout
        for span in draw(st.lists(spans, max_size=3))
        for down in [draw(st.sampled_from([False, False, True]))]
    ]
    holder = st.sampled_from([*layout, "M3"] if len(layout) > 1 else [*layout])
    held = draw(
        st.lists(
            st.tuples(
                holder, st.integers(0, QUARTERS - 1), st.integers(0, 15), st.booleans(),
                st.sampled_from([720, 1440, 4320, WHOLE]), st.booleans(),
            ),
            max_size=4,
        )
    )  # fmt: skip
    return layout, seen, draw(st.lists(spans, max_size=2)), held


def by_hand(layout: Any, seen: Any, doubts: Any, held: Any) -> list[int]:
    """Quarter by quarter and minute by minute: allocated, free, stranded, down, unreported."""
    sums = [0] * 6
    for quarter in range(QUARTERS):
        down = stranded = unreported = 0
        left = dict.fromkeys([*layout, "M3"], 0)
        heard = dict.fromkeys(left, 0)
        for minute in range(quarter * 15, quarter * 15 + 15):
            known = not any(begin <= minute < end for begin, end in doubts)
            states: dict[str, set[bool]] = {}
            for device, lost, begin, end in seen:
                if known and begin <= minute < end:
                    states.setdefault(device, set()).add(lost)
                    heard[device] = layout[device]
            if not states:
                unreported += WHOLE
            elif True in states.get("GPU", ()):
                down += WHOLE
            elif layout["GPU"]:
                left["GPU"] += WHOLE
            else:
                rest = WHOLE
                for device in states.keys() - {"GPU"}:
                    rest -= layout[device]
                    if True in states[device]:
                        down += layout[device]
                    else:
                        left[device] += layout[device]
                if "GPU" in states:
                    stranded += rest
                else:
                    unreported += rest
        allocated = over = 0
        mine = [one for one in held if one[1] == quarter]
        for device, _, length, _, share, waits in mine:
            if not waits:
                taken = min(left[device], length * share)
                left[device] -= taken
                allocated += taken
                over += length * share - taken
        for name in ("unreported", "down", "stranded"):
            pool = {"unreported": unreported, "down": down, "stranded": stranded}[name]
            taken = min(pool, over)
            allocated, over = allocated + taken, over - taken
            if name == "unreported":
                unreported -= taken
            elif name == "down":
                down -= taken
            else:
                stranded -= taken
        for device in sorted(left):
            taken = min(left[device], over)
            left[device] -= taken
            allocated, over = allocated + taken, over - taken
        for device, _, length, shared, share, waits in mine:
            if waits:
                taken = min(left[device], length * share)
                left[device] -= taken
                unreported += taken
            elif not shared:
                taken = min(left[device], max(0, heard[device] - share) * length)
                left[device] -= taken
                stranded += taken
        parts = (allocated, sum(left.values()), stranded, down, unreported, over)
        assert sum(parts[:5]) == WHOLE * 15
        sums = [one + more for one, more in zip(sums, parts, strict=True)]
    return [one * MINUTE for one in sums]


@given(stories())
def test_every_unit_is_counted_once_and_as_by_hand(story: Any) -> None:
    layout, seen, doubts, held = story
    parents = {"M1": "GPU", "M2": "GPU", "M3": "GPU"}
    found = divide(
        [
            Seen("n", device, parents.get(device, ""), layout[device], down,
                 START + a * MINUTE, START + b * MINUTE)
            for device, down, a, b in seen
        ],
        [Doubt("n", START + a * MINUTE, START + b * MINUTE) for a, b in doubts],
        [
            Held(device, START // 900_000 + quarter, shared=shared or waits, share_u=share,
                 **({"waiting_u": share * length * MINUTE} if waits
                    else {"alloc_u": share * length * MINUTE, "dur_ms": length * MINUTE}))
            for device, quarter, length, shared, share, waits in held
        ],
        parents,
        (START // 900_000, START // 900_000 + QUARTERS),
    )  # fmt: skip
    if not found:
        return
    made = found["GPU"]
    assert found.keys() == {"GPU"}
    assert made.whole == WHOLE * 900_000 * QUARTERS
    assert made.reserved == 0
    parts = [made.allocated, made.free, made.stranded, made.down, made.unreported, made.beyond]
    assert parts == by_hand(*story)


def _seen(seq: int, device: str, minute: int, until: int, **more: Any) -> dict[str, Any]:
    said = {
        "type": "presence", "seq": seq, "device": device, "weight": WHOLE, "model": "A100",
        "t0": START + minute * MINUTE, "dur_ms": (until - minute) * MINUTE, "b0": 1,
    }  # fmt: skip
    return said | more


def _an_hour(database: Database) -> None:
    """Of a GPU in MIG mode, a T4 lost for a while, an FPGA, a simulated device, and a silence."""
    slices = {"parent": "GPU-A", "profile": "3g.20gb", "weight": 4320, "model": "A100 MIG 3g.20gb"}
    one = allocation("s1", "MIG-1", share="3/7", model="A100 MIG 3g.20gb")
    two = allocation("s2", "GPU-T", model="T4")
    records = [
        _seen(1, "GPU-A", 0, 60, weight=0),
        _seen(2, "MIG-1", 0, 60, **slices),
        _seen(3, "MIG-2", 0, 60, **slices),
        _seen(4, "GPU-T", 0, 30, model="T4"),
        _seen(5, "GPU-T", 30, 60, model="T4", state="down"),
        segment(6, one, START, 30 * MINUTE),
        segment(7, two, START, 15 * MINUTE),
        {"type": "gap", "seq": 8, "code": "spool_lost", "t0": START + 50 * MINUTE,
         "t1": START + 60 * MINUTE},
    ]  # fmt: skip
    Ledger(database).take(batch(records, one, two, sent_at=START + 60 * MINUTE))
    fill(
        database,
        Use("f", "carla", flavor="v70", device="FPGA-1", start=START, dur_ms=30 * MINUTE),
        Use("s", "carla", device="SIM-1", start=START, dur_ms=30 * MINUTE, simulated=True),
        zone="UTC",
    )


NOW = int(datetime(2026, 11, 20, 1, 7, tzinfo=UTC).timestamp() * 1000)


def test_a_ledger_says_how_each_device_spent_its_hour(database: Database) -> None:
    _an_hour(database)
    dario = client(build(database, now=NOW), "dario")
    found = dario.json("capacity", **DAY)
    assert found["until"] == "2026-11-20T01:00:00Z"
    rows = {
        row["key"]: [row[f"{name}_hours"][:5] for name in
                     ("whole", "allocated", "reserved", "free", "stranded", "down", "unreported")]
        for row in found["rows"]
    }  # fmt: skip
    assert rows == {
        "GPU-A": ["1.000", "0.214", "0.000", "0.500", "0.119", "0.000", "0.166"],
        "GPU-T": ["1.000", "0.250", "0.000", "0.250", "0.000", "0.333", "0.166"],
        "FPGA-1": ["1.000", "0.500", "0.000", "0.000", "0.000", "0.000", "0.500"],
    }
    totals = {one["type"]: one["whole_hours"] for one in found["totals"]}
    assert totals == {"gpu": "2.000000", "fpga": "1.000000"}
    pretended = dario.json("capacity", simulated="only", by="model", **DAY)
    assert [row["devices"] for row in pretended["rows"]] == [1]
    assert pretended["totals"][0]["allocated_hours"] == "0.500000"


def test_what_is_not_final_or_no_longer_kept_is_never_free(database: Database) -> None:
    held = allocation("s1", "GPU-T", model="T4")
    tail = {"allocation": held.key(), "t0": START, "dur_ms": 5 * MINUTE, "b0": 1}
    told = batch([_seen(1, "GPU-T", 0, 60)], held, sent_at=START + 60 * MINUTE, open=[tail])
    Ledger(database).take(told)
    fill(database, zone="UTC")
    dario = client(build(database, now=NOW), "dario")

    def parts() -> tuple[str, str]:
        (row,) = dario.json("capacity", **DAY)["rows"]
        return row["free_hours"], row["unreported_hours"]

    assert parts() == ("0.916667", "0.083333")
    kept_from = SettingRow(name=QUARTERS_SETTING, value=str(START // 900_000 + 2))
    database.write(lambda db: db.add(kept_from))
    assert parts() == ("0.500000", "0.500000")


def test_only_those_who_read_everything_see_it(ledger: Database) -> None:
    app = build(ledger)
    for name, status in (("alice", 403), ("bruno", 403), ("dario", 200)):
        for path in ("api/v1/capacity", "capacity"):
            answer = client(app, name).get(path, **DAY)
            assert answer.status_code == status, (name, path)
        assert ('capacity"' in client(app, name).get("").text) == (status == 200)


def test_what_cannot_be_asked_is_said(ledger: Database) -> None:
    dario = client(build(ledger), "dario")
    long = dario.get("api/v1/capacity", **{"from": "2024-01-01", "to": "2026-01-01"})
    assert long.status_code == 422
    assert "366 days" in long.json()["message"]
    assert dario.get("api/v1/capacity", by="moon").status_code == 422


@pytest.mark.parametrize("by", ["device", "model"])
def test_the_command_says_the_same(ledger: Database, by: str) -> None:
    _an_hour(ledger)
    group: click.Group = Group("arcetri-ledger")
    add_commands(group, with_database)

    def said(style: str) -> str:
        options = ["--from", "2026-11-20", "--to", "2026-11-20", "--by", by, "--format", style]
        ran = CliRunner().invoke(group, ["capacity", "--database", str(ledger.url), *options])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    rows = json.loads(said("json"))
    web = client(build(ledger), "dario").json("capacity", by=by, **DAY)
    assert rows == web["rows"]
    assert [row["key"] for row in csv.DictReader(io.StringIO(said("csv")))] == [
        row["key"] for row in rows
    ]
    assert "stranded" in said("table")
