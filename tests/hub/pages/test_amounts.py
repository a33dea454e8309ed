from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from arcetri_hub.pages import amounts


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (16 << 30, "16 GiB"),
        (3 << 39, "1.5 TiB"),
    ],
)
def test_bytes_come_in_the_largest_fitting_unit(amount: int, shown: str) -> None:
    assert amounts.size_of(amount) == shown


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [
        (-5, "less than a minute"),
        (0, "less than a minute"),
        (59, "59 min"),
        (60, "1 h"),
        (61, "1 h 1 min"),
        (1440, "1 d"),
        (1440 + 119, "1 d 1 h"),
    ],
)
def test_durations_keep_two_units(minutes: int, shown: str) -> None:
    text = amounts.span(timedelta(minutes=minutes))
    assert text.replace("\N{NO-BREAK SPACE}", " ") == shown


def test_a_slice_costs_its_share() -> None:
    assert amounts.allocated("gpu", Fraction(1, 7), 2, 3.5) == "0.50 GPU-hours"
    assert amounts.allocated("fpga", Fraction(1), 2, 2) == "2.00 FPGA-hours"
    assert amounts.allocated("cpu", Fraction(1), 4, 0.5) == "2.00 core-hours"


def test_hundredths_are_not_shown_of_what_has_hardly_begun() -> None:
    assert amounts.allocated("gpu", Fraction(1), 2, 20 / 3600) == "less than 0.1 GPU-hours"
    assert amounts.allocated("gpu", Fraction(1), 2, 0.19) == "0.19 GPU-hours"


def test_the_day_is_named_unless_it_is_today_where_the_site_is() -> None:
    now = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
    assert amounts.moment(now, "Europe/Rome", now) == "23:30"
    assert amounts.moment(now + timedelta(hours=1), "Europe/Rome", now) == "Tue 24 Nov, 00:30"
    assert amounts.moment(now + timedelta(hours=1), "UTC", now) == "23:30"
