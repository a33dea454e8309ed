"""What the real Kueue wants back by itself: of starts that take long, and on nodes lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from arcetri_spawner.backends.base import Placement, Position, TicketState
from arcetri_spawner.policy.model import Grant
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.installation import Installation, installation, simulate
from tests.cluster.test_waiting import Hub, asks, hub

pytestmark = pytest.mark.cluster
TIMEOUT = 6.0
"""Seconds that Kueue gives a start here; its own default is half an hour."""


@pytest.fixture(scope="module")
def farm(with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Four T4 and the queues to them."""
    namespace = f"test-{uuid4().hex[:12]}"
    with_kueue.run(["kubectl", "create", "namespace", namespace])
    with installation(with_kueue, namespace, tmp_path_factory.mktemp("farm")) as made:
        made.catalog(cms={"quota": 2}, lhcb={"quota": 1})
        made.sync()
        yield made
    with_kueue.run(["kubectl", "delete", "namespace", namespace, "--wait=false", "--now"])


@pytest.fixture
async def desk(farm: Installation) -> AsyncIterator[Hub]:
    """A hub whose requests are all gone in the end."""
    async with hub(farm) as made:
        yield made
        for ticket in list(made.told.values()):
            await made.queue.finish(ticket)


@pytest.fixture
def impatient(with_kueue: Cluster) -> Iterator[None]:
    """A Kueue that waits seconds for a start, and considers it again soon after."""
    again = {"backoffBaseSeconds": 1, "backoffMaxSeconds": 2}
    ready = {"timeout": f"{TIMEOUT:.0f}s", "blockAdmission": False, "requeuingStrategy": again}
    with real.configured(with_kueue, waitForPodsReady=ready):
        yield


async def doctor(desk: Hub, one: Grant, *, status: int = 0) -> dict[str, Any]:
    """What an admin is told of a request."""
    said = await asyncio.to_thread(desk.farm.doctor, str(one.request_id), status=status)
    return next(f for f in said["findings"] if f["about"] == f"request {one.request_id}")


@pytest.mark.usefixtures("impatient")
async def test_a_start_that_takes_too_long_is_asked_back_and_has_its_turn_again(
    desk: Hub,
) -> None:
    slow, soon, waits = asks("lhcb"), asks("cms"), asks("lhcb")
    for one in (slow, soon):
        assert (await desk.queue.submit(one)).state is TicketState.ADMITTED
    await desk.queue.ready(desk.told[soon.request_id])
    assert (await desk.queue.submit(waits)).state is TicketState.WAITING

    evicted = await desk.reach(slow, TicketState.EVICTED, "evicted_silent")

    # What its user sees, and an admin; it holds its place until it is given back.
    assert evicted.reason is not None
    assert evicted.reason.sentence.startswith("The session did not start in the time")
    found = await doctor(desk, slow, status=1)
    assert found["code"] == "release"
    assert "Exceeded the PodsReady timeout" in found["sentence"]
    await asyncio.sleep(1)
    assert desk.told[waits.request_id].state is TicketState.WAITING
    await desk.queue.release(evicted, requeue=True)
    # The next one has its turn while it is kept back for a moment, and then it is first in line.
    await desk.reach(waits, TicketState.ADMITTED)
    await desk.queue.ready(desk.told[waits.request_id])
    back = await desk.reach(slow, TicketState.WAITING)
    assert (await desk.queue.position(back) or Position(9)).ahead == 0
    await desk.queue.finish(desk.told[waits.request_id])
    again = await desk.reach(slow, TicketState.ADMITTED)
    await desk.queue.ready(again)
    # Who said in time that it runs is left alone, however long that is ago.
    await asyncio.sleep(TIMEOUT + 2)
    assert {desk.told[one.request_id].state for one in (soon, slow)} == {TicketState.ADMITTED}
    assert (await doctor(desk, slow, status=1))["code"] == "admitted"
    # By Kueue's own configuration an admin is told that this is bound to happen.
    said = await asyncio.to_thread(desk.farm.doctor, status=1)
    (wrong,) = [one for one in said["findings"] if one["wrong"]]
    assert wrong["code"] == "ready_too_soon"
    assert wrong["sentence"].startswith("It wants back what has not started after 6s")


async def test_a_node_lost_before_the_start_gives_the_place_back(desk: Hub) -> None:
    node = desk.farm.names.instance
    one = asks("lhcb")
    admitted = await desk.queue.submit(one)
    assert admitted.placement == Placement(node=node)
    desk.farm.cluster.run(["kubectl", "delete", "node", node, "--wait=false"])
    desk.total = 0

    evicted = await desk.reach(one, TicketState.EVICTED, "evicted_node")

    # An admin is told that there is less than was promised, and why this request waits.
    assert (await doctor(desk, one, status=1))["code"] == "release"
    await desk.queue.release(evicted, requeue=True)
    waits = await desk.reach(one, TicketState.WAITING, "capacity_none")
    assert waits.reason is not None
    assert (await doctor(desk, one, status=1))["code"] == "placement"
    assert (await desk.queue.position(waits) or Position(9)).ahead == 0
    await asyncio.to_thread(simulate, desk.farm.cluster, node)
    assert (await desk.reach(one, TicketState.ADMITTED)).placement == Placement(node=node)
