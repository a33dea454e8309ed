"""The queue of one machine: whose turn it is, over real leases, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_spawner.backends.base import Position, Ticket, TicketState
from arcetri_spawner.backends.local import LocalQueue
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Grant
from tests.spawner.local.world import World, catalog_text

LAB, ASTRO = GroupPath("/lab/cms"), GroupPath("/lab/astro")
QUOTAS = {LAB: 1, ASTRO: 2}


def two_groups(**simulated: int) -> str:
    """One group may hold one T4, the other two."""
    text = catalog_text(**simulated)
    cms = "/lab/cms: {flavors: {t4: {}, a100: {}"
    assert cms in text
    return text.replace(
        cms,
        f"{ASTRO}: {{flavors: {{t4: {{quota: 2}}, a100: {{}}}}}}\n"
        "  /lab/cms: {flavors: {t4: {quota: 1}, a100: {}",
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, two_groups(t4=2, a100=1))
    await made.backend.recover()
    yield made
    await made.close()


async def asked(world: World, name: str, **changes: Any) -> tuple[Grant, Ticket]:
    grant = await world.grant(name, **{"quota": 1, **changes})
    return grant, await world.queue.submit(grant)


async def states(queue: LocalQueue, *grants: Grant) -> list[str]:
    return [(await queue.submit(grant)).state.value for grant in grants]


async def test_the_oldest_is_next(world: World) -> None:
    _, ticket = await asked(world, "alice")
    assert ticket.placement is not None
    assert [device.uuid for device in ticket.placement.devices] == ["SIM-t4-1"]
    second, waits = await asked(world, "bob")
    third, _ = await asked(world, "carla")

    assert waits.state is TicketState.WAITING
    assert waits.reason is not None
    assert waits.reason.code == "busy_quota"
    places = [
        await world.queue.position(Ticket(g.request_id, TicketState.WAITING))
        for g in (second, third)
    ]
    assert [(p.ahead, p.provisional) for p in places if p] == [(0, False), (1, False)]

    await world.queue.finish(ticket)

    assert await states(world.queue, second, third) == ["admitted", "waiting"]
    assert [row.state for row in await world.store.live_requests()][1:] == ["admitted", "waiting"]
    assert await world.queue.position(Ticket(second.request_id, TicketState.WAITING)) is None


async def test_whose_group_is_at_its_quota_is_passed_by_and_keeps_their_place(world: World) -> None:
    _, ticket = await asked(world, "alice")
    second, _ = await asked(world, "bob")
    _, theirs = await asked(world, "zoe", group=ASTRO, quota=2)

    assert theirs.state is TicketState.ADMITTED
    later, _ = await asked(world, "yves", group=ASTRO, quota=2)

    place = await world.queue.position(Ticket(later.request_id, TicketState.WAITING))
    assert place == Position(0, others=1)
    place = await world.queue.position(Ticket(second.request_id, TicketState.WAITING))
    assert place == Position(0)

    await world.queue.finish(ticket)

    # One T4 is free: the older one of another group has it.
    assert await states(world.queue, second, later) == ["admitted", "waiting"]


async def test_a_person_at_their_limit_is_passed_by_and_keeps_their_place(world: World) -> None:
    mine = {"group": ASTRO, "sessions_limit": 1}
    a100 = {"flavor": "a100", "group": ASTRO, "quota": None}
    _, first = await asked(world, "xenia", **a100)
    more, _ = await asked(world, "zoe", **{**a100, **mine}, server_name="two")
    await world.store.mark(more.request_id, "waiting")
    _, holds = await asked(world, "zoe", quota=2, **mine)
    assert holds.state is TicketState.ADMITTED
    other, theirs = await asked(world, "yves", **a100)
    await world.queue.finish(first)
    assert await states(world.queue, more, other) == ["waiting", "admitted"]

    await world.queue.finish(theirs)
    assert await states(world.queue, more) == ["waiting"]
    await world.queue.finish(holds)

    assert await states(world.queue, more) == ["admitted"]


async def test_a_released_one_waits_at_its_old_place(world: World) -> None:
    _, ticket = await asked(world, "alice")
    second, _ = await asked(world, "bob")
    third, _ = await asked(world, "carla")
    await world.queue.finish(ticket)

    await world.queue.release(Ticket(second.request_id, TicketState.EVICTED), requeue=True)

    # Nobody is before it, so it is its turn again.
    assert await states(world.queue, second, third) == ["admitted", "waiting"]


async def test_a_raised_quota_and_a_new_device_let_in_who_waits(world: World) -> None:
    await asked(world, "alice")
    second, _ = await asked(world, "bob")
    third, _ = await asked(world, "carla")
    told: list[Ticket] = []

    async def watch() -> None:
        async for ticket in world.queue.watch():
            told.append(ticket)  # noqa: PERF401 - it is looked at while this goes on

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    world.edit(two_groups(t4=2, a100=1).replace("{quota: 1}", "{quota: 9}"))
    await until(lambda: admitted(told, second))
    assert not admitted(told, third)
    world.edit(two_groups(t4=3, a100=1).replace("{quota: 1}", "{quota: 9}"))
    await until(lambda: admitted(told, third))
    watcher.cancel()


async def test_nobody_is_admitted_to_what_is_under_maintenance(world: World) -> None:
    text = two_groups(t4=2, a100=1)
    world.edit(text.replace("title: NVIDIA T4,", "title: NVIDIA T4, maintenance: {message: dust},"))
    grant, ticket = await asked(world, "alice")
    assert ticket.state is TicketState.WAITING

    world.edit(text)
    await world.queue.advance()

    assert await states(world.queue, grant) == ["admitted"]


async def test_after_a_restart_everyone_is_in_their_place(tmp_path: Path) -> None:
    before = World(tmp_path, two_groups(t4=1), instance_id="same")
    await before.backend.recover()
    grants = [(await asked(before, name))[0] for name in ("alice", "bob", "carla", "dora")]
    await before.close()

    world = World(tmp_path, two_groups(t4=1), instance_id="same")
    await world.backend.recover()
    rows = await world.store.live_requests()
    assert [row.grant.username for row in rows] == ["alice", "bob", "carla", "dora"]
    tickets = [await world.queue.submit(row.grant) for row in rows]

    assert [t.state.value for t in tickets] == ["admitted", "waiting", "waiting", "waiting"]
    ahead = [await world.queue.position(ticket) for ticket in tickets]
    assert [place.ahead if place else None for place in ahead] == [None, 0, 1, 2]
    await world.queue.finish(tickets[2])
    await world.store.mark(grants[2].request_id, "ended")
    last = await world.queue.position(tickets[3])
    assert last is not None
    assert last.ahead == 1
    await world.close()


def admitted(told: list[Ticket], grant: Grant) -> bool:
    return any(t.request_id == grant.request_id and t.state is TicketState.ADMITTED for t in told)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


# Any history: who asks, who ends, in any order.

ASK = st.tuples(st.just("ask"), st.sampled_from(["t4", "a100"]), st.sampled_from([LAB, ASTRO]))
END = st.tuples(st.just("end"), st.integers(0, 20))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.one_of(ASK, END), max_size=14), st.integers(1, 3))
async def test_any_history_is_fair(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]], devices: int
) -> None:
    world = World(tmp_path_factory.mktemp("any"), two_groups(t4=devices, a100=1))
    await world.backend.recover()
    live: list[Grant] = []
    try:
        for number, step in enumerate(steps):
            if step[0] == "ask":
                _, flavor, group = step
                quota = QUOTAS[group] if flavor == "t4" else None
                grant, _ = await asked(
                    world, f"user{number}", flavor=flavor, group=group, quota=quota
                )
                live.append(grant)
            elif live:
                gone = live.pop(step[1] % len(live))
                await world.queue.finish(Ticket(gone.request_id, TicketState.GONE))
                await world.store.mark(gone.request_id, "ended")
            await check_fair(world, live, {"t4": devices, "a100": 1})
    finally:
        await world.close()


async def check_fair(world: World, live: list[Grant], total: dict[str, int]) -> None:
    """No device twice, nobody above a quota, and nobody passed by who could have started."""
    tickets = {grant.request_id: await world.queue.submit(grant) for grant in live}
    held = [
        device.uuid
        for ticket in tickets.values()
        if ticket.placement
        for device in ticket.placement.devices
    ]
    assert len(held) == len(set(held))
    assert set(held) == set(await world.store.leases())
    free = dict(total)
    use: dict[tuple[str, str], int] = {}
    for grant in live:
        if tickets[grant.request_id].state is TicketState.ADMITTED:
            free[grant.flavor] -= 1
            key = (grant.group, grant.flavor)
            use[key] = use.get(key, 0) + 1
    assert min(free.values()) >= 0
    for grant in live:
        key = (grant.group, grant.flavor)
        if grant.quota is not None:
            assert use.get(key, 0) <= grant.quota
        if tickets[grant.request_id].state is TicketState.WAITING:
            at_quota = grant.quota is not None and use.get(key, 0) >= grant.quota
            assert at_quota or free[grant.flavor] == 0
    # Of one group and flavour, nobody runs who asked later than somebody who waits and would fit.
    for key in {(grant.group, grant.flavor) for grant in live}:
        order = [tickets[g.request_id].state for g in live if (g.group, g.flavor) == key]
        assert order == sorted(order, key=lambda state: state is TicketState.WAITING)
