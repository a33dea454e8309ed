from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from arcetri_hub.reaper.decide import EndReason, Limits, Warned
from arcetri_hub.reaper.words import farewell, notice, spell

LIMITS = Limits(timedelta(hours=1), timedelta(days=3), timedelta(minutes=5))
AT = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(hours=1), "1 hour"),
        (timedelta(minutes=90), "1 hour 30 minutes"),
        (timedelta(days=3), "3 days"),
        (timedelta(days=1, minutes=1, seconds=5), "1 day 1 minute"),
        (timedelta(seconds=45), "45 seconds"),
        (timedelta(0), "0 seconds"),
    ],
)
def test_durations_in_words(duration: timedelta, words: str) -> None:
    assert spell(duration) == words


def test_notices_tell_the_sites_time_of_day() -> None:
    said = notice("lab", Warned(EndReason.IDLE, AT), LIMITS, ZoneInfo("Europe/Rome"))
    assert (said.server_name, said.code, said.at) == ("lab", "idle", AT)
    assert "00:30 on 24 November (Europe/Rome)" in said.sentence
    assert "unless it is used" in said.sentence


def test_a_lifetime_cannot_be_prolonged_by_use() -> None:
    said = notice("", Warned(EndReason.LIFETIME, AT), LIMITS, ZoneInfo("UTC"))
    assert said.code == "lifetime"
    assert "3 days" in said.sentence
    assert "unless" not in said.sentence


def test_farewells_say_why_and_that_files_are_kept() -> None:
    assert "1 hour" in farewell(EndReason.IDLE, LIMITS)
    assert "3 days" in farewell(EndReason.LIFETIME, LIMITS)
    assert all("files are kept" in farewell(reason, LIMITS) for reason in EndReason)
