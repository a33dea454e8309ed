from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.pages.admin.message import MAX_MESSAGE, clean_message, told_to_user
from arcetri_spawner.errors import Denied


def test_a_message_becomes_one_line() -> None:
    assert clean_message("  The T4s\r\n\tgo to the  school.\x00 ") == "The T4s go to the school."


def test_text_cannot_be_turned_around() -> None:
    assert clean_message("moc.live\u202e") == "moc.live"


def test_none_means_no_message() -> None:
    assert clean_message(None) == clean_message("") == ""


@pytest.mark.parametrize("bad", [5, ["a"], {"a": 1}, True, "x" * (MAX_MESSAGE + 1)])
def test_what_is_no_message_is_refused(bad: object) -> None:
    with pytest.raises(Denied) as refused:
        clean_message(bad)
    assert refused.value.code == "invalid_message"
    assert refused.value.remedy


@given(st.text(max_size=MAX_MESSAGE))
def test_cleaning_is_stable_and_bounded(text: str) -> None:
    once = clean_message(text)
    assert clean_message(once) == once
    assert len(once) <= MAX_MESSAGE
    assert not any(character in once for character in "\n\r\x00\u202e\u2028")


def test_the_user_reads_who_ended_the_session_and_why() -> None:
    assert told_to_user("The room is too hot.", "Carla").endswith("session: The room is too hot.")
    assert told_to_user("", "Carla").startswith("Carla, who administers this platform")
