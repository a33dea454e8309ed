"""What is said of a session whose node gives no answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from arcetri_hub.away import away_notice
from arcetri_spawner.backends.base import Away

NOW = datetime(2026, 11, 28, 7, 3, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=2)


@pytest.mark.parametrize(
    ("until", "said", "at"),
    [
        (NOW + timedelta(minutes=3), "If it is back by about 08:06, the session goes on", True),
        (NOW - timedelta(seconds=1), "about to be given up", False),
        (None, "goes on when the node is back, however long that takes", False),
    ],
)
def test_what_will_happen_and_when(until: datetime | None, said: str, at: bool) -> None:
    told = away_notice("lab", Away("gpu-7", SINCE, until), "Europe/Rome", NOW)
    assert (told.server_name, told.code) == ("lab", "node_away")
    assert "(gpu-7) has not answered since 08:01:" in told.sentence
    assert said in told.sentence
    assert "You may stop it" in told.sentence
    assert told.at == (until if at else None), "nothing is counted down that nobody knows"


def test_a_node_that_says_itself_that_it_is_in_trouble() -> None:
    told = away_notice("", Away("gpu-7", SINCE, None, refuses=True), "UTC", NOW)
    assert "(gpu-7) says since 07:01 that it is in trouble" in told.sentence


def test_a_node_that_is_not_known_any_more() -> None:
    told = away_notice("", Away("gpu-7", None, None), "UTC", NOW)
    assert "(gpu-7) has not answered:" in told.sentence
