"""What the benchmarks count with."""

from __future__ import annotations

import os

import psutil
import pytest

from benchmarks.processes import resident_mb


@pytest.mark.component
def test_a_megabyte_is_a_million_bytes() -> None:
    expected = psutil.Process(os.getpid()).memory_info().rss / 1e6

    # A mebibyte would be five percent off.
    assert resident_mb(os.getpid()) == pytest.approx(expected, rel=0.02)
