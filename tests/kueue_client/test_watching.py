"""What a watch does when lines come, break off, or are too old."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kueue_client import Event, EventType, LocalQueue
from kueue_client.calls import Listing
from kueue_client.errors import Forbidden, Gone, KueueError, Unexpected, Unreachable
from kueue_client.watching import LONGEST_PAUSE, Progress


def queue(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "metadata": metadata}


def line(what: str, found: dict[str, Any]) -> bytes:
    return json.dumps({"type": what, "object": found}).encode()


def listing(version: int, *found: dict[str, Any]) -> Listing[LocalQueue]:
    return Listing(tuple(LocalQueue.from_wire(one) for one in found), str(version))


def said(events: list[Event[LocalQueue]]) -> list[tuple[str, str]]:
    return [(one.type.value, one.object.name) for one in events]


def progress(**options: Any) -> Progress[LocalQueue]:
    return Progress(LocalQueue, "n", **options)


def test_it_lists_and_follows_from_there() -> None:
    watch = progress()
    assert watch.must_list
    assert said(watch.listed(listing(5, queue("a", 1)))) == [("ADDED", "a")]
    assert not watch.must_list
    assert dict(watch.request().query)["resourceVersion"] == "5"
    event = watch.line(line("MODIFIED", queue("a", 6)))
    assert event is not None
    assert said([event]) == [("MODIFIED", "a")]
    assert dict(watch.request().query)["resourceVersion"] == "6"
    bookmark = {"kind": "LocalQueue", "metadata": {"resourceVersion": "9"}}
    assert watch.line(line("BOOKMARK", bookmark)) is None
    assert dict(watch.request().query)["resourceVersion"] == "9"


def test_what_was_missed_is_told_when_it_lists_again() -> None:
    watch = progress()
    watch.listed(listing(5, queue("a", 1), queue("b", 2), queue("c", 3), queue("d", 4, "old")))
    too_old = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    with pytest.raises(Gone) as gone:
        watch.line(line("ERROR", too_old))
    watch.failed(gone.value)
    assert watch.must_list
    assert watch.rest() is None
    assert watch.trouble is None
    again = listing(9, queue("a", 1), queue("b", 7), queue("d", 8, "new"), queue("e", 9))
    assert said(watch.listed(again)) == [
        ("DELETED", "c"),
        ("DELETED", "d"),
        ("MODIFIED", "b"),
        ("ADDED", "d"),
        ("ADDED", "e"),
    ]


def test_a_server_that_calls_every_version_too_old_is_not_asked_in_a_hurry() -> None:
    watch = progress()
    watch.failed(Gone("too old"))
    assert watch.rest() is None
    watch.failed(Gone("too old"))
    assert watch.rest() is not None


def test_it_goes_on_from_a_listing_and_says_nothing_of_it() -> None:
    watch = progress()
    watch.start(listing(5, queue("a", 1)))
    assert not watch.must_list
    watch.failed(Gone("too old"))
    assert said(watch.listed(listing(8, queue("a", 1)))) == []


def test_it_waits_longer_and_longer_and_says_what_for() -> None:
    watch = progress()
    watch.listed(listing(5))
    pauses = []
    for _ in range(12):
        watch.failed(Unreachable("away"))
        assert isinstance(watch.trouble, Unreachable)
        pause = watch.rest()
        assert pause is not None
        pauses.append(pause.seconds)
    assert pauses[0] < 1
    assert LONGEST_PAUSE / 2 <= pauses[-1] <= LONGEST_PAUSE
    assert not watch.must_list  # from where it was
    watch.line(line("MODIFIED", queue("a", 6)))
    assert watch.trouble is None


def test_what_will_not_help_is_said_at_the_beginning_and_waited_for_later() -> None:
    with pytest.raises(Forbidden):
        progress().failed(Forbidden("no"))
    later = progress()
    later.listed(listing(5))
    later.failed(Forbidden("no"))
    assert isinstance(later.trouble, Forbidden)


@pytest.mark.parametrize(
    "text", [b"<html>", b"[]", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": {"spec": 3}}']
)
def test_a_line_that_is_no_event_makes_it_list_again(text: bytes) -> None:
    watch = progress()
    watch.listed(listing(5))
    with pytest.raises(Unexpected) as found:
        watch.line(text)
    watch.failed(found.value)
    assert watch.must_list


def test_it_ends_when_its_time_is_up() -> None:
    now = [0.0]
    watch = progress(deadline=10.0, clock=lambda: now[0])
    watch.listed(listing(5))
    assert dict(watch.request().query)["timeoutSeconds"] == "10"
    now[0] = 9.9
    watch.failed(Unreachable("away"))
    pause = watch.rest()
    assert pause is not None
    assert pause.seconds <= 0.11
    assert not watch.over
    now[0] = 10.0
    assert watch.over


NAMES = st.sampled_from("abc")
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "cut", "old"]), NAMES), min_size=1, max_size=30
)


@given(CHANGES)
def test_who_keeps_the_events_always_has_what_the_server_has(
    changes: list[tuple[str, str]],
) -> None:
    server: dict[str, dict[str, Any]] = {}
    version, uid, seen, connected = 0, 0, 0, True
    log: list[tuple[int, bytes]] = []
    kept: dict[str, LocalQueue] = {}
    watch = progress()

    def keep(event: Event[LocalQueue] | None) -> None:
        if event is None:
            return
        if event.type is EventType.DELETED:
            del kept[event.object.name]
        else:
            assert (event.type is EventType.ADDED) == (event.object.name not in kept)
            kept[event.object.name] = event.object

    def catch_up() -> None:
        nonlocal seen
        if watch.must_list:
            for event in watch.listed(listing(version, *server.values())):
                keep(event)
        seen = int(dict(watch.request().query)["resourceVersion"])
        for at, text in log:
            if at > seen:
                keep(watch.line(text))

    watch.start(listing(1))
    version = 1
    for what, name in changes:
        before = server.get(name)
        if what == "put":
            version += 1
            uid += before is None
            found = queue(name, version, before["metadata"]["uid"] if before else f"u{uid}")
            server[name] = found
            log.append((version, line("MODIFIED" if before else "ADDED", found)))
        elif what == "remove" and before:
            version += 1
            del server[name]
            gone = queue(name, version, before["metadata"]["uid"])
            log.append((version, line("DELETED", gone)))
        elif what == "cut":
            connected = not connected
            if not connected:
                error: KueueError = Unreachable("away")
                watch.failed(error)
        elif what == "old":
            watch.failed(Gone("too old"))
        if connected:
            catch_up()
    catch_up()
    assert {name: one.to_wire() for name, one in kept.items()} == server
