"""What is said of a start that took too long."""

from __future__ import annotations

from typing import Any

from arcetri_spawner.backends.kubernetes.late import too_late

POD: dict[str, Any] = {"metadata": {"uid": "one"}, "status": {"phase": "Pending"}}


def event(reason: str, second: int) -> dict[str, Any]:
    at = f"2026-11-28T10:00:{second:02}Z"
    times = {"firstTimestamp": at, "lastTimestamp": at}
    return {"reason": reason, "message": reason, "involvedObject": {"uid": "one"}, **times}


def test_an_image_that_is_still_fetched_is_what_it_waited_for() -> None:
    found = too_late(POD, [event("Pulling", 1)], 180)
    assert found.code == "image_slow"
    assert "After 180 seconds the node was still fetching" in found.sentence
    # That of what prepares the session is there, the notebook's is not.
    several = [event("Pulling", 5), event("Pulled", 3), event("Pulling", 1)]
    assert too_late(POD, several, 180).code == "image_slow"


def test_a_server_that_never_answers_is_said_to_be_silent() -> None:
    for events in ([], [event("Pulling", 1), event("Pulled", 2)]):
        assert too_late(POD, events, 180).code == "server_silent"
    assert too_late(None, [], 180).code == "server_silent"
