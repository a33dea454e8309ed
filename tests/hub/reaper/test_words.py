from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from arcetri_hub.reaper.decide import EndReason, Limits, Warned
from arcetri_hub.reaper.words import farewell, notice, spell
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import queueing
from arcetri_spawner.waiting import Back, Wanted

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
    own = (EndReason.IDLE, EndReason.LIFETIME)
    assert all("files are kept" in farewell(reason, LIMITS) for reason in own)


LENT = queueing.returned("NVIDIA T4")


@pytest.mark.parametrize(
    ("returns", "optional", "said"),
    [
        (True, True, "Your request then goes back to its place in line, and starts by itself"),
        (False, True, "Your request does not go back in line, as you wished."),
        (False, False, "save your work."),
    ],
)
def test_what_is_wanted_back_says_why_when_and_what_comes_then(
    returns: bool, optional: bool, said: str
) -> None:
    wanted = Wanted(Back.PREEMPTED, LENT, returns, optional)
    told = notice("", Warned(EndReason.PREEMPTED, AT), LIMITS, ZoneInfo("UTC"), wanted)
    assert (told.code, told.returns, told.optional) == ("preempted", returns, optional)
    assert told.sentence.startswith("Your group had borrowed this NVIDIA T4, and the group")
    assert "This session ends at 23:30 on 23 November (UTC): save your work." in told.sentence
    assert said in told.sentence
    assert ("back" in told.sentence) == optional
    ended = farewell(EndReason.PREEMPTED, LIMITS, wanted)
    assert ended.startswith("Your session was ended: your group had borrowed this NVIDIA T4")
    assert ended.endswith("Your request is back in line.") == returns


def test_an_end_of_its_own_is_told_as_that_whatever_is_wanted_back() -> None:
    wanted = Wanted(Back.DRAINED, queueing.drained(GroupPath("/lab/cms")), returns=True)
    said = notice("", Warned(EndReason.IDLE, AT), LIMITS, ZoneInfo("UTC"), wanted)
    assert (said.code, said.returns) == ("idle", False)
    assert "back in line" not in farewell(EndReason.LIFETIME, LIMITS, wanted)
