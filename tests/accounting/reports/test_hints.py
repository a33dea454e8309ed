from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.contract.witness import GroupTerms
from arcetri_accounting.reports.hints import Observed, hints, idle, low_percent, size
from arcetri_accounting.reports.numbers import Sums
from tests.accounting.reports.world import CATALOG, CMS, GIB

HOUR = 10_080 * 3_600_000
GRANTED = {CMS: CATALOG.groups[CMS].startable}
FLAVORS = CATALOG.flavors


def seen(
    session: str = "s", *, hours: float = 4, used: float | None = 0.2, **more: Any
) -> Observed:
    """A session on a T4, watched all the time unless said otherwise."""
    alloc = round(hours * HOUR)
    values: dict[str, Any] = {
        "session": session, "person": "alice", "group": CMS, "flavor": "t4", "model": "T4",
        "share_u": 10_080, "simulated": False, "started": 0, "mem_peak": 3 * GIB,
        "sums": Sums(
            alloc_u=alloc,
            util_u=alloc if used is not None else 0,
            used_u=round(alloc * (used or 0)),
            occupied_u=alloc,
        ),
    }  # fmt: skip
    return Observed(**{**values, **more})


def unseen(one: Observed) -> Observed:
    """The same session, of which nothing was observed."""
    return replace(
        one, mem_peak=None, sums=Sums(alloc_u=one.sums.alloc_u, unobserved_u=one.sums.alloc_u)
    )


def test_a_smaller_device_is_suggested_with_its_evidence() -> None:
    [hint] = hints([seen(f"s{n}") for n in range(14)], FLAVORS, GRANTED)
    assert (hint.code, hint.suggested, hint.sessions, hint.peak) == (
        "smaller_device", "a100-1g", 14, 3 * GIB,
    )  # fmt: skip
    assert hint.sentence == (
        "Peak memory 3 GiB in 14 sessions on NVIDIA T4, mean utilisation 20% where measured:"
        " A100 slice (5 GiB, 1/7 of a device) would have done."
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mem_peak": 4.6 * GIB}, "it would leave no room"),
        ({"mem_peak": None}, "memory was never read"),
        ({"group": "/lab/astro"}, "the group is not granted the smaller one"),
        ({"used": 0.8}, "the device is busy"),
        ({"flavor": "a100-1g", "share_u": 1440}, "there is none smaller"),
    ],
)
def test_no_smaller_device_is_suggested(change: dict[str, Any], why: str) -> None:
    found = hints([seen(f"s{n}", **change) for n in range(9)], FLAVORS, GRANTED)
    assert [hint.code for hint in found] == [], why


def test_a_flavour_granted_without_a_quota_is_suggested() -> None:
    terms = GroupTerms(quotas={"t4": 2}, granted=("t4", "a100-1g"))
    some = [seen(f"s{n}") for n in range(3)]
    [hint] = hints(some, FLAVORS, {CMS: terms.startable})
    assert hint.suggested == "a100-1g"
    only = GroupTerms(quotas={"t4": 2, "a100-1g": 0}, granted=("t4",))
    assert hints(some, FLAVORS, {CMS: only.startable}) == []


def test_what_older_catalogs_say_of_a_group_is_still_read() -> None:
    terms = GroupTerms.model_validate({"quotas": {"t4": 2, "a100-1g": 0}})
    assert terms.startable == {"t4"}


def test_two_sessions_are_no_evidence() -> None:
    assert hints([seen("a"), seen("b")], FLAVORS, GRANTED) == []


def test_sessions_whose_memory_was_not_read_are_said() -> None:
    some = [seen(f"s{n}") for n in range(5)] + [seen("x", mem_peak=None)]
    [hint] = hints(some, FLAVORS, GRANTED)
    assert "in 5 sessions on NVIDIA T4; in 1 more it could not be read" in hint.sentence


def test_sessions_without_any_process_are_told() -> None:
    nothing = Sums(alloc_u=5 * HOUR, util_u=5 * HOUR)
    some = [seen(f"s{n}", sums=nothing) for n in range(4)] + [seen("busy")]
    [hint] = hints(some, FLAVORS, GRANTED)
    assert (hint.code, hint.sessions, hint.gpu_u) == ("no_process", 4, 20 * HOUR)
    assert hint.sentence.startswith(
        "In 4 of 5 sessions no process used the device (20.0 GPU-hours)"
    )


def test_a_device_that_waits_is_told() -> None:
    [hint] = hints(
        [seen(f"s{n}", used=0.02, mem_peak=15 * GIB) for n in range(3)], FLAVORS, GRANTED
    )
    assert hint.code == "low_utilisation"
    assert "Mean utilisation 2.0% over 12.0 GPU-hours measured in 3 sessions" in hint.sentence


def test_a_session_that_held_its_device_unused_is_found() -> None:
    whole = seen("idle", hours=10, sums=Sums(alloc_u=10 * HOUR, util_u=10 * HOUR))
    low = seen("low", hours=8, used=0.01)
    slice_ = seen(
        "slice", share_u=1440,
        sums=Sums(alloc_u=5 * HOUR // 7, occupied_u=HOUR // 7, unobserved_u=HOUR // 7),
    )  # fmt: skip
    found = idle([seen("fine"), slice_, low, whole])
    assert [(one.of.session, round(one.unused_hours), one.no_process) for one in found] == [
        ("idle", 10, True),
        ("low", 8, False),
        ("slice", 3, True),
    ]


def test_a_short_pause_is_not_held_against_anybody() -> None:
    assert idle([seen(sums=Sums(alloc_u=5 * HOUR, util_u=5 * HOUR, used_u=2 * HOUR,
                                occupied_u=4 * HOUR))]) == []  # fmt: skip


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=8))
def test_what_was_not_observed_is_never_called_idle(hours: list[float]) -> None:
    some = [unseen(seen(f"s{n}", hours=one)) for n, one in enumerate(hours)]
    assert idle(some) == []
    assert hints(some, FLAVORS, GRANTED) == []


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Fraction(0), "0.0%"),
        (Fraction(1, 10_000), "<0.1%"),
        (Fraction(45, 1000), "4.5%"),
        (Fraction(49_999, 1_000_000), "4.9%"),
    ],
)
def test_what_is_below_a_limit_is_shown_below_it(part: Fraction, text: str) -> None:
    assert low_percent(part) == text


def test_sizes() -> None:
    assert size(0) == "0 MiB"
    assert size(300 << 20) == "300 MiB"
    assert size(round(3.14 * GIB)) == "3.14 GiB"
