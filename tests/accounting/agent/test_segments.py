"""The arithmetic of segments: cutting changes no sum, and no part is more than the whole."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.agent.readings import FULL, Device, Reading, Track
from arcetri_accounting.agent.segments import (
    CUT_MS,
    NOTHING,
    Piece,
    advance,
    cut_off,
    trimmed,
)
from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.contract.usage import Usage

KEY = "0" * 32
GPU = Device("GPU")
shares = st.sampled_from([10_080, 5_040, 1_440, 1_260, 630, 210, 1])


def checked(piece: Piece, share_u: int) -> Usage:
    """A piece as the contract has it; every rule of the contract is checked on the way."""
    usage = Usage.model_validate(piece.usage(KEY, share_u))
    if usage.used_u is not None:
        assert usage.used_u <= share_u * usage.util_ms
    return usage


@dataclass(frozen=True)
class Sums:
    dur: int
    util: int
    used: int
    occupied: int
    unobserved: int
    energy: int
    peak: int


def sums(usages: list[Usage]) -> Sums:
    return Sums(
        sum(u.dur_ms for u in usages),
        sum(u.util_ms for u in usages),
        sum(u.used_u or 0 for u in usages),
        sum(u.occupied_ms for u in usages),
        sum(u.unobserved_ms for u in usages),
        sum(u.energy_mj or 0 for u in usages),
        max((u.mem_peak or 0 for u in usages), default=0),
    )


def run(
    track: Track, stops: list[int], share_u: int, offset: int, *, extra_cuts: bool = False
) -> list[Usage]:
    """Account from 0 to the last stop, stopping at each one."""
    piece = Piece.begin(0, offset)
    done: list[Usage] = []
    for stop in stops:
        for finished, after in advance(piece, stop, track, share_u, began=0):
            done.append(checked(finished, share_u))
            piece = after
        if extra_cuts:
            done.append(checked(piece, share_u))
            piece = cut_off(piece, share_u)
    return [*done, checked(piece, share_u)]


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    track = Track()
    at = draw(st.integers(-5000, 5000))
    for _ in range(draw(st.integers(0, 12))):
        begin = at
        at += draw(st.integers(1, 120_000))
        inner = sorted(draw(st.lists(st.integers(begin, at), max_size=4)))
        busy = [
            (a, b, draw(st.integers(0, FULL)))
            for a, b in zip([begin, *inner], [*inner, at], strict=True)
            if draw(st.booleans())
        ]
        track.add(
            Reading(
                GPU,
                at,
                busy,
                draw(st.one_of(st.none(), st.just(begin), st.integers(begin, at))),
                draw(st.booleans()),
                draw(st.one_of(st.none(), st.integers(0, 2**40))),
                draw(st.one_of(st.none(), st.just((begin, at, draw(st.integers(0, 10**9)))))),
            )
        )
    return track


stops = st.lists(st.integers(1, 2_000_000), min_size=1, max_size=20).map(sorted)
offsets = st.integers(1_700_000_000_000, 1_700_000_000_000 + QUARTER_MS)


@given(tracks(), stops, shares, offsets)
def test_stopping_on_the_way_changes_nothing(
    track: Track, stops: list[int], share_u: int, offset: int
) -> None:
    assert run(track, stops, share_u, offset) == run(track, stops[-1:], share_u, offset)


@given(tracks(), stops, shares, offsets)
def test_cutting_on_the_way_changes_no_sum(
    track: Track, stops: list[int], share_u: int, offset: int
) -> None:
    whole = sums(run(track, stops[-1:], share_u, offset))
    cut = sums(run(track, stops, share_u, offset, extra_cuts=True))

    # What is below one unit is carried, and lost only with the very last piece.
    assert whole == cut
    assert whole.dur == stops[-1]


@given(tracks(), stops, shares, offsets)
def test_sums_are_those_of_each_millisecond(
    track: Track, stops: list[int], share_u: int, offset: int
) -> None:
    end = stops[-1]
    util = busy = occupied = 0
    covered: set[tuple[int, int]] = set()
    for a, b, value in track.busy:
        a, b = max(a, 0), min(b, end)
        util += max(b - a, 0)
        busy += max(b - a, 0) * value
        covered.add((a, b))
    for look in track.looks:
        if look.seen_from is None:
            continue
        a, b = max(look.seen_from, 0), min(look.at, end)
        occupied += max(b - a, 0) * look.occupied
        covered.add((a, b))
    edges = sorted({0, end, *(min(max(x, 0), end) for span in covered for x in span)})
    seen = sum(y - x for x, y in pairwise(edges) if any(a <= x and y <= b for a, b in covered))

    found = sums(run(track, stops, share_u, offset))

    assert (found.util, found.occupied, found.unobserved) == (util, occupied, end - seen)
    assert found.used == share_u * busy // FULL


@given(tracks(), stops, shares, offsets)
def test_no_piece_crosses_a_quarter_hour(
    track: Track, stops: list[int], share_u: int, offset: int
) -> None:
    usages = run(track, stops, share_u, offset)
    for usage in usages:
        assert usage.dur_ms <= CUT_MS
        if usage.dur_ms:
            assert usage.t0 // QUARTER_MS == (usage.t1 - 1) // QUARTER_MS
    for before, after in pairwise(usages):
        assert (before.t1, before.b0 + before.dur_ms) == (after.t0, after.b0)


@given(tracks(), st.integers(1, 290_000), st.integers(-1000, 300_000), shares)
def test_an_end_that_is_learned_late_leaves_a_piece_that_holds(
    track: Track, stop: int, end: int, share_u: int
) -> None:
    piece = Piece.begin(0, 0)
    assert list(advance(piece, stop, track, share_u, began=0)) == []

    usage = checked(trimmed(piece, min(end, stop)), share_u)

    assert usage.dur_ms == max(min(end, stop), 0)


def test_without_readings_everything_is_unobserved() -> None:
    piece = Piece.begin(100, 0)
    assert list(advance(piece, 5100, NOTHING, 10_080, began=100)) == []

    usage = checked(piece, 10_080)

    assert (usage.dur_ms, usage.unobserved_ms, usage.util_ms) == (5000, 5000, 0)
    assert (usage.used_u, usage.energy_mj, usage.mem_peak) == (None, None, None)


def look(at: int, since: int, *, occupied: bool) -> Reading:
    return Reading(GPU, at, (), since, occupied)


@pytest.mark.parametrize(
    ("began", "end", "occupied", "unobserved"),
    [
        (0, 14_000, 14_000, 0),  # the last look within the session holds up to its end
        (12_000, 14_000, 0, 2_000),  # no look within: those before and after are others'
        (0, 20_000, 10_000, 0),  # a look at the very end is its own
        (0, 29_000, 10_000, 0),  # nothing after 20 s, and it was empty then
        (0, 40_000, 10_000, 5_000),  # a look holds for 15 s, no longer
    ],
)
def test_presence_at_the_end_of_an_allocation(
    began: int, end: int, occupied: int, unobserved: int
) -> None:
    track = Track()
    track.add(look(10_000, 0, occupied=True))
    track.add(look(20_000, 10_000, occupied=False))
    piece = Piece.begin(began, 0)

    for _ in advance(piece, end, track, 10_080, began=began, ends=True, hold=15_000):
        raise AssertionError

    usage = checked(piece, 10_080)
    assert (usage.occupied_ms, usage.unobserved_ms) == (occupied, unobserved)


def test_use_is_counted_for_the_one_who_held_the_device() -> None:
    track = Track()
    track.add(Reading(GPU, 10_000, [(0, 4_000, FULL), (4_000, 10_000, 0)]))
    first, second = Piece.begin(0, 0), Piece.begin(4_000, 0)
    for piece, to in ((first, 4_000), (second, 10_000)):
        assert list(advance(piece, to, track, 1_440, began=piece.b0)) == []

    assert checked(first, 1_440).used_u == 4_000 * 1_440
    assert checked(second, 1_440).used_u == 0


def test_energy_is_shared_out_by_time_and_adds_up() -> None:
    track = Track()
    track.add(Reading(GPU, 3, energy=(0, 3, 100), energy_method="split"))
    parts = []
    for begin, end in ((0, 1), (1, 2), (2, 3)):
        piece = Piece.begin(begin, 0)
        assert list(advance(piece, end, track, 10_080, began=begin)) == []
        parts.append(checked(piece, 10_080).energy_mj)
        assert piece.energy_method == "split"

    assert parts == [33, 33, 34]
