"""What ended long ago is forgotten, a little at a time, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from arcetri_spawner.store import Account, SessionRecord, Store, grants
from tests.support.builders import CMS, device, grant

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEEP = timedelta(days=90)


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[Store]:
    store = Store.open(url, clock=clock)
    yield store
    store.close()


async def ended(store: Store, account: Account, server: str = "") -> UUID:
    """A session that ran and has ended."""
    asked = grant(account_id=account.id, username=account.name, server_name=server)
    await store.open_request(asked)
    await store.save_session(
        SessionRecord(
            id=asked.request_id,
            username=account.name,
            account_id=account.id,
            server_name=server,
            group=asked.group,
            flavor=asked.flavor,
            devices=[],
            pid=1,
            pid_start_ticks=1,
            boot_id=str(uuid4()),
            port=40_001,
            base_url="/",
            state={},
            started=BEGIN,
            grant=grants.dump(asked),
        )
    )
    await store.mark(asked.request_id, "ended", reason="killed", details="its last words")
    return asked.request_id


async def test_an_ended_request_goes_when_its_time_is_over(
    store: Store, clock: Clock, alice: Account
) -> None:
    first = await ended(store, alice)
    clock.now += timedelta(days=1)
    second = await ended(store, alice)

    clock.now = BEGIN + KEEP
    assert await store.prune_ended(KEEP) == 0
    clock.now += timedelta(seconds=1)
    assert await store.prune_ended(KEEP) == 1

    assert await store.standing(first) is None
    assert await store.session(first) is None
    assert await store.session(second) is not None
    assert await store.last_ended(alice.id, "") is not None
    assert await store.prune_ended(KEEP) == 0


async def test_what_lives_stays_however_old(store: Store, clock: Clock, alice: Account) -> None:
    asked = grant(account_id=alice.id, username=alice.name)
    await store.open_request(asked)
    await store.mark(asked.request_id, "running")
    clock.now += timedelta(days=1000)

    assert await store.prune_ended(KEEP) == 0
    assert [row.id for row in await store.live_requests()] == [asked.request_id]


async def test_who_somebody_is_and_what_they_chose_stays(
    store: Store, clock: Clock, alice: Account
) -> None:
    ranges = {"users": range(200_000, 200_010), "groups_range": range(300_000, 300_010)}
    before = await store.posix_ids(alice.id, alice.name, [CMS], **ranges)
    request = await ended(store, alice)
    await store.started(request, alice.id, {"flavor": "t4"})
    clock.now += timedelta(days=1000)

    assert await store.prune_ended(KEEP) == 1
    assert await store.account(alice.id) is not None
    assert await store.last_choice(alice.id) == {"flavor": "t4"}
    assert await store.posix_ids(alice.id, alice.name, [CMS], **ranges) == before


async def test_a_request_that_still_holds_a_device_stays(
    store: Store, clock: Clock, alice: Account
) -> None:
    asked = grant(account_id=alice.id, username=alice.name)
    await store.open_request(asked)
    await store.lease(asked.request_id, "t4", [device(1)], quota=None)
    await store.mark(asked.request_id, "ended", reason="lost")
    clock.now += timedelta(days=1000)

    assert await store.prune_ended(KEEP) == 0
    await store.free(asked.request_id)
    assert await store.prune_ended(KEEP) == 1


async def test_much_is_forgotten_in_bounded_steps_the_oldest_first(
    store: Store, clock: Clock, alice: Account
) -> None:
    requests = []
    for number in range(7):
        requests.append(await ended(store, alice, f"s{number}"))
        clock.now += timedelta(minutes=1)
    clock.now += timedelta(days=1000)

    assert await store.prune_ended(KEEP, limit=3) == 3
    left = [request for request in requests if await store.session(request) is not None]
    assert left == requests[3:]
    assert [await store.prune_ended(KEEP, limit=3) for _ in range(3)] == [3, 1, 0]
