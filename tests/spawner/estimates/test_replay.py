"""Estimates against what then happened, on traces with known truth."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.waits.__main__ import main
from benchmarks.waits.line import Asking, serve
from benchmarks.waits.regimes import BEGIN, DAY, HOUR, REGIMES
from benchmarks.waits.replay import Look, replay, score
from benchmarks.waits.traces import BadTrace, Trace, generate, read

SEED = 1
WEEKS = 4
EVERY = 32
"""One moment in so many, so that the suite stays short; `make bench ARGS=waits` takes more."""


@pytest.fixture(scope="module")
def looks() -> dict[str, list[Look]]:
    return {
        regime.name: [
            look
            for seed in (SEED, SEED + 1)
            for look in replay(generate(regime, seed, WEEKS), every=EVERY)
        ]
        for regime in REGIMES
    }


@pytest.fixture(scope="module")
def together(looks: dict[str, list[Look]]) -> list[Look]:
    return [look for those in looks.values() for look in those]


def test_most_of_the_gap_to_an_oracle_is_closed(together: list[Look]) -> None:
    assert len(together) > 4000
    found = score(together)
    assert found.closed >= 0.7
    # Also of the sharper mean, from which is taken what was waited already.
    assert found.closed_of_less_waited >= 0.7


def test_the_range_holds_the_truth_as_often_as_it_says(together: list[Look]) -> None:
    assert 0.75 <= score(together).inside <= 0.85


def test_seldom_nothing_is_said(together: list[Look]) -> None:
    assert score(together).abstained <= 0.1


@pytest.mark.parametrize("name", [regime.name for regime in REGIMES])
def test_in_no_regime_it_is_worse_than_the_mean(name: str, looks: dict[str, list[Look]]) -> None:
    found = score(looks[name])
    assert found.oracle < found.error < found.naive
    assert 0.6 < found.inside < 0.95


def test_what_comes_later_is_not_known() -> None:
    """Nothing said until a moment changes when all that happens after it does."""
    trace = generate(REGIMES[0], SEED, 1)
    moment = BEGIN + 2 * DAY + 14 * HOUR
    other = tuple(
        replace(one, begun=later(one.begun, moment), ended=later(one.ended, moment))
        for one in trace.records
        if one.asked <= moment
    )
    whole = [look for look, at in _timed(trace) if at <= moment]
    cut = [look for look, at in _timed(replace(trace, records=other)) if at <= moment]
    assert len(whole) == len(cut) > 20
    assert [look.ours for look in whole] == [look.ours for look in cut]
    assert [look.naive for look in whole] == [look.naive for look in cut]
    assert [look.truth for look in whole] != [look.truth for look in cut]


def later(at: float, moment: float) -> float:
    return at if at <= moment else moment + 3 * (at - moment)


def _timed(trace: Trace) -> list[tuple[Look, float]]:
    return [(look, look.at) for look in replay(trace)]


def test_the_oracle_is_right_where_nobody_leaves_or_passes() -> None:
    found = list(replay(generate(REGIMES[1], SEED, 1), every=10))
    assert found
    assert all(look.oracle == pytest.approx(look.truth, abs=1e-3) for look in found)


def test_a_line_is_served_in_turn_within_quotas() -> None:
    lengths = {0: 10.0, 1: 4.0, 2: 1.0, 3: 1.0}
    asking = [Asking(0, "a", 0), Asking(1, "a", 1), Asking(2, "a", 2), Asking(3, "b", 3)]
    found = serve(asking, 3, {"a": 2}, lambda one, _: lengths[one.name])
    begun = {one.asking.name: one.begun for one in found}
    # The third waits for its own group, while the fourth has a place.
    assert begun == {0: 0, 1: 1, 2: 5, 3: 3}


def test_who_has_no_patience_leaves() -> None:
    asking = [Asking(0, "a", 0), Asking(1, "a", 1, patience=3), Asking(2, "a", 2)]
    found = serve(asking, 1, {}, lambda *_: 10.0)
    assert {one.asking.name: one.begun for one in found} == {0: 0, 1: None, 2: 10}


def test_a_trace_is_the_same_each_time_and_for_each_seed_another() -> None:
    once, again, other = (generate(REGIMES[4], seed, 1) for seed in (1, 1, 2))
    assert once == again != other


GOOD = """\
group,asked,admitted,ended,reason,lifetime
/lab/cms,2026-11-02T09:00:00+01:00,2026-11-02T09:00:00+01:00,2026-11-02T11:00:00+01:00,lifetime,7200
/lab/cms,2026-11-02T08:30:00Z,2026-11-02T10:00:00Z,2026-11-02T12:00:00Z,stopped,
/lab/cms,2026-11-02T08:40:00Z,,2026-11-02T09:00:00Z,,
"""


def test_a_trace_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "t4.csv"
    file.write_text(GOOD)
    trace = read(file, 1, {"/lab/cms": 1})
    first, second, third = trace.records
    assert (first.natural, first.lifetime) == (False, 7200)
    assert second.begun - second.asked == 1.5 * HOUR
    assert math.isinf(third.begun)
    assert [look.truth / HOUR for look in replay(trace)] == [1.5, 1.0, 0.5]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",lifetime\n", "\n", "lacks lifetime"),
        ("2026-11-02T08:30:00Z", "2026-11-02T08:30:00", "t4.csv:3: .* has no offset"),
        ("2026-11-02T08:30:00Z", "yesterday", "t4.csv:3: "),
        (",7200", ",two hours", "t4.csv:2: .*lifetime is seconds"),
        ("2026-11-02T12:00:00Z", "2026-11-02T09:00:00Z", "t4.csv:3: .*must follow"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    file = tmp_path / "t4.csv"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadTrace, match=says):
        read(file, 1, {})


def test_a_trace_of_ones_own_is_judged(tmp_path: Path) -> None:
    file = tmp_path / "t4.csv"
    rows = [
        f"/lab/cms,{_at(one.asked)},{_at(one.begun)},{_at(one.ended)},,"
        for one in generate(REGIMES[1], SEED, 1).records[:120]
    ]
    file.write_text("\n".join([GOOD.splitlines()[0], *rows, ""]))
    said = CliRunner().invoke(main, [str(file), "--places", "8"])
    assert said.exit_code == 0, said.output
    assert "gap closed: " in said.output
    file.write_text(GOOD)
    said = CliRunner().invoke(main, [str(file), "--places", "8", "--quota", "/lab/cms=1"])
    assert said.exit_code == 1
    assert "nobody waited in it after enough sessions were over" in said.output


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
