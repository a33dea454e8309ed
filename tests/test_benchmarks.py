"""What the benchmarks count with, and when what they find is not as promised."""

from __future__ import annotations

import os

import psutil
import pytest

from benchmarks.bounds import crowd_faults, following_faults
from benchmarks.processes import resident_mb


@pytest.mark.component
def test_a_megabyte_is_a_million_bytes() -> None:
    expected = psutil.Process(os.getpid()).memory_info().rss / 1e6

    # A mebibyte would be five percent off.
    assert resident_mb(os.getpid()) == pytest.approx(expected, rel=0.02)


def test_a_crowd_of_whom_one_start_fails_is_not_as_promised() -> None:
    found = {"asked": 3, "ready": 3, "pods": 3, "failures": []}
    assert crowd_faults(found) == []
    assert crowd_faults({**found, "ready": 2, "failures": ["no room"]}) == [
        "a start failed: no room",
        "2 of 3 ready",
    ]
    assert crowd_faults({**found, "pods": 4}) == ["4 of 3 pods"]


def test_a_page_that_follows_too_late_is_not_as_promised() -> None:
    cpu = {"hub_cpu_of_a_core": 0.01, "hub_cpu_of_a_core_while_replaced": 0.05}
    found = {"events": 5, "seconds_to_follow_longest": 9.9, **cpu}
    assert following_faults(found) == []
    (fault,) = following_faults({**found, "hub_cpu_of_a_core": 0.06})
    assert "hub_cpu_of_a_core is 0.060" in fault
    (fault,) = following_faults({**found, "seconds_to_follow_longest": 10.1})
    assert "after 10.1 s" in fault
    assert following_faults({**found, "events": 0})
