"""From NVML's counters to spans of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.agent.sampler.samples import compute_slices, spans, split

OFFSET_US = 1_700_000_000_000_000


def stamped(*points: tuple[int, int]) -> list[tuple[int, int]]:
    return [(at * 1000 + OFFSET_US, percent) for at, percent in points]


def test_each_sample_is_the_mean_since_the_one_before() -> None:
    found = spans(stamped((1000, 10), (1200, 30), (1400, 30)), OFFSET_US, 1450, 900)

    assert found == [(900, 1000, 1000), (1000, 1400, 3000)]


def test_the_first_sample_stands_for_no_longer_than_others() -> None:
    found = spans(stamped((1000, 10), (1200, 30)), OFFSET_US, 1300, None)

    assert found == [(800, 1000, 1000), (1000, 1200, 3000)]


def test_where_samples_are_missing_nothing_is_made_up() -> None:
    found = spans(stamped((60_000, 10), (60_200, 20)), OFFSET_US, 60_300, 1_000)

    assert found == [(59_800, 60_000, 1000), (60_000, 60_200, 2000)]


def test_samples_already_taken_are_not_taken_again() -> None:
    assert spans(stamped((1000, 10), (1200, 30)), OFFSET_US, 1300, 1200) == []


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
def test_stamps_of_a_clock_that_was_set_are_about_now(step_ms: int) -> None:
    found = spans(stamped((1000, 10), (1200, 30)), OFFSET_US + step_ms * 1000, 1300, None)

    assert found == [(900, 1100, 1000), (1100, 1300, 3000)]


def test_no_samples_are_no_spans() -> None:
    assert spans([], OFFSET_US, 1, None) == []
    assert spans([(0, 50)], OFFSET_US, 1, None) == []


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10_080), max_size=8))
def test_parts_add_up_to_the_whole(total: int, weights: list[int]) -> None:
    parts = split(total, weights)

    assert sum(parts) == (total if sum(weights) else 0)
    whole = sum(weights) or 1
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / whole) <= 1 + total / 2**50


@pytest.mark.parametrize(
    ("profile", "slices"),
    [
        ("1g.5gb", 1),
        ("3g.20gb", 3),
        ("7g.80gb", 7),
        ("1c.3g.20gb", 1),
        ("1g.5gb.me", 1),
        ("x", None),
    ],
)
def test_compute_slices_of_a_profile(profile: str, slices: int | None) -> None:
    assert compute_slices(profile) == slices
