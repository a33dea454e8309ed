from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from arcetri_hub.pages.sessions import session_cards
from arcetri_hub.pages.wording import ENDS, ended, newest_end
from arcetri_spawner.backends.base import Session
from arcetri_spawner.live import LiveRow
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store.records import Ended
from tests.support.builders import CMS, NOW, catalog, device, grant

NBSP = "\N{NO-BREAK SPACE}"


def row(granted: Grant, *, running: bool = True) -> LiveRow:
    started = NOW - timedelta(hours=2)
    session = Session(
        id=granted.request_id,
        username=granted.username,
        server_name=granted.server_name,
        url="http://127.0.0.1:1",
        devices=(device(7),),
        started=started,
    )
    return LiveRow(
        grant=granted,
        state="running" if running else "starting",
        session=session if running else None,
        asked=started,
    )


def test_only_ones_own_sessions_are_shown() -> None:
    rows = [row(grant()), row(grant(username="bob", account_id="b"))]
    assert len(session_cards(rows, "alice", catalog(), NOW)) == 1


def test_a_running_session_says_what_it_cost_and_when_it_ends() -> None:
    granted = grant(flavor="t4", share=Fraction(1, 7), lifetime=timedelta(hours=3))
    (card,) = session_cards([row(granted)], "alice", catalog(), NOW)
    assert card.title == "NVIDIA T4"
    assert card.allocated == "0.29 GPU-hours"
    assert card.since == f"09:00 (2{NBSP}h)"
    assert card.ends == f"12:00 (in 1{NBSP}h)"
    assert card.simulated
    assert card.devices == ("Tesla T4 SIM-00000007",)
    assert card.charged == "CMS"


def test_a_session_that_starts_has_cost_nothing_and_ends_at_no_time_yet() -> None:
    (card,) = session_cards([row(grant(), running=False)], "alice", catalog(), NOW)
    assert (card.allocated, card.ends, card.devices, card.running) == ("", "", (), False)


def test_a_session_outlives_its_flavour_in_the_catalog() -> None:
    granted = grant(flavor="gone", environment="gone", size="gone", group="/lab/gone")
    (card,) = session_cards([row(granted)], "alice", catalog(), NOW)
    assert (card.title, card.environment, card.charged) == ("gone", "gone", "/lab/gone")
    assert CMS not in card.charged


def test_an_end_that_was_asked_for_is_no_news() -> None:
    assert ended(Ended("stopped", "", NOW), "UTC", NOW) is None
    assert ended(None, "UTC", NOW) is None


def test_an_admins_message_comes_before_our_own_words() -> None:
    told = ended(Ended("admin", "The node is needed.", NOW), "UTC", NOW)
    assert told is not None
    assert told.sentence == "The node is needed."


def test_every_unwanted_end_has_a_sentence() -> None:
    for reason in ("idle", "lifetime", "killed", "lost", "interrupted", "shutdown"):
        told = ended(Ended(reason, "", NOW), "UTC", NOW)
        assert told is not None
        assert told.sentence == ENDS[reason]


@pytest.mark.parametrize("code", ["busy_capacity", "busy_quota", "flavor_limit", "busy"])
def test_a_refusal_is_told_as_past_and_only_while_it_is_news(code: str) -> None:
    refused = Ended(code, "All 2 NVIDIA T4 are in use.", NOW)
    told = ended(refused, "UTC", NOW + timedelta(seconds=50))
    assert told is not None
    assert told.sentence == "Your last start was refused. All 2 NVIDIA T4 are in use."
    assert (told.code, told.at) == (code, "10:00")
    assert ended(refused, "UTC", NOW + timedelta(seconds=70)) is None


def test_a_refusal_when_it_was_ones_turn_stays_told() -> None:
    """Who waited was away: nobody else tells them what became of their place."""
    refused = Ended("flavor_not_granted", "T4 is not yours.", NOW, had_turn=True)
    told = ended(refused, "UTC", NOW + timedelta(days=1))
    assert told is not None
    assert told.sentence == "It was your turn, and your request was refused. T4 is not yours."


def test_a_maintenance_ends_what_ran_and_refuses_what_did_not() -> None:
    message = "Your session was ended: NVIDIA T4 goes into maintenance."
    for had_turn in (False, True):
        last = Ended("maintenance", message, NOW, ran=True, had_turn=had_turn)
        told = ended(last, "UTC", NOW + timedelta(days=1))
        assert told is not None
        assert told.sentence == message
    refused = ended(Ended("maintenance", "T4 is under maintenance.", NOW), "UTC", NOW)
    assert refused is not None
    assert refused.sentence.startswith("Your last start was refused. ")


def test_the_end_of_what_ran_stays_told() -> None:
    later = NOW + timedelta(days=1)
    assert ended(Ended("killed", "", NOW), "UTC", later) is not None
    assert ended(Ended("start_failed", "It broke.", NOW), "UTC", later) is not None


def test_a_start_one_cancelled_is_no_failure_and_soon_no_news() -> None:
    told = ended(Ended("cancelled", "", NOW), "UTC", NOW)
    assert told is not None
    assert told.sentence == "You cancelled the start."
    assert ended(Ended("cancelled", "", NOW), "UTC", NOW + timedelta(seconds=70)) is None


def test_a_start_that_somebody_else_cancelled_stays_told() -> None:
    message = "Your last start was cancelled by dario."
    told = ended(Ended("cancelled", message, NOW), "UTC", NOW + timedelta(days=1))
    assert told is not None
    assert (told.code, told.sentence) == ("cancelled", message)


def test_of_all_servers_the_newest_end_that_is_news_is_told() -> None:
    ends = [
        ("quiet", Ended("stopped", "", NOW)),
        ("refused", Ended("busy_quota", "All are in use.", NOW - timedelta(minutes=2))),
        ("session-2", Ended("admin", "The node is needed.", NOW - timedelta(hours=1))),
        ("", Ended("killed", "", NOW - timedelta(hours=2))),
    ]
    told = newest_end(ends, "UTC", NOW)
    assert told is not None
    assert (told.server_name, told.sentence) == ("session-2", "The node is needed.")
    assert newest_end(ends[:2], "UTC", NOW) is None
    assert newest_end([], "UTC", NOW) is None


def test_the_details_are_told_only_to_who_may_read_them() -> None:
    last = Ended("out_of_memory", "", NOW, "container notebook: OOMKilled")
    told = ended(last, "UTC", NOW, raw=True)
    assert told is not None
    assert told.details == "container notebook: OOMKilled"
    for hidden in (ended(last, "UTC", NOW), newest_end([("", last)], "UTC", NOW)):
        assert hidden is not None
        assert hidden.details == ""
    (newest,) = [newest_end([("lab", last)], "UTC", NOW, raw=True)]
    assert newest is not None
    assert (newest.server_name, newest.details) == ("lab", last.details)
