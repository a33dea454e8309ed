"""A session's request that ends, and the one that goes back to its place in line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from arcetri_spawner.policy.model import Grant
from arcetri_spawner.returning import successor
from arcetri_spawner.store import Account, Store
from tests.support.builders import device, grant


def _grant(account: Account, **others: Any) -> Grant:
    values = {"account_id": account.id, "username": account.name, "requests_limit": 2, **others}
    return grant(**values)


async def test_the_successor_has_the_place_and_what_was_held_is_free(
    store: Store, alice: Account, bob: Account
) -> None:
    first, younger = _grant(alice), _grant(bob)
    other = _grant(alice, server_name="other")
    for one in (first, younger, other):
        await store.open_request(one)
    await store.lease(first.request_id, "t4", [device(1)], quota=None)
    await store.mark(first.request_id, "running")
    place = await store.in_line(first.request_id)
    again = successor(first)

    # She has as many requests as she may, and it is none more.
    asked = await store.go_back(first.request_id, again, "preempted", "Its owner needs it.")

    rows = {row.id: row for row in await store.live_requests()}
    assert set(rows) == {again.request_id, younger.request_id, other.request_id}
    assert next(iter(rows)) == again.request_id
    row = rows[again.request_id]
    assert (row.state, row.grant, row.asked) == ("waiting", again, asked)
    assert (await store.in_line(again.request_id)).place == place.place
    assert await store.leases() == {}
    ended = await store.last_ended(alice.id, "")
    assert ended is not None
    assert (ended.reason, ended.message) == ("preempted", "Its owner needs it.")
    # It is told of while she waits for it, and not when it runs again.
    assert [name for name, _ in await store.recent_ends(alice.id)] == [""]
    await store.mark(again.request_id, "running")
    assert await store.recent_ends(alice.id) == []


async def test_going_back_twice_is_going_back_once_and_an_ended_one_stays(
    store: Store, alice: Account
) -> None:
    first = _grant(alice)
    await store.open_request(first)
    again = successor(first)
    asked = await store.go_back(first.request_id, again, "preempted", "")
    assert asked is not None
    assert await store.go_back(first.request_id, again, "drained", "late") == asked
    assert await store.go_back(first.request_id, successor(first), "drained", "late") is None
    assert await store.go_back(successor(first).request_id, successor(first), "x", "") is None
    (row,) = await store.live_requests()
    assert row.id == again.request_id
    ended = await store.last_ended(alice.id, "")
    assert ended is not None
    assert (ended.reason, ended.message) == ("preempted", "")


async def test_a_wish_is_kept_and_true_is_written_with_the_end_alone(
    store: Store, alice: Account
) -> None:
    first = _grant(alice)
    await store.open_request(first)

    async def written() -> bool | None:
        (row,) = await store.live_requests()
        return row.returns

    assert await written() is None
    await store.wish(first.request_id, returns=False)
    assert await written() is False
    await store.wish(first.request_id, returns=True)
    assert await written() is None
    await store.announce(first.request_id, "preempted", "Its owner needs it.", returns=True)
    assert await written() is True
    await store.announce(first.request_id, "", "")
    assert await written() is None


async def test_a_new_request_of_the_same_server_makes_an_end_past(
    store: Store, alice: Account
) -> None:
    first = _grant(alice)
    await store.open_request(first)
    await store.mark(first.request_id, "ended", reason="idle", message="It did nothing.")
    assert [name for name, _ in await store.recent_ends(alice.id)] == [""]
    await store.open_request(replace(first, request_id=successor(first).request_id))
    assert await store.recent_ends(alice.id) == []
