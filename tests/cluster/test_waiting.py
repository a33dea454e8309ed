"""Requests in the queues of the real Kueue: who is next, why one waits, and what breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from kubernetes.aio import client, config

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.base import Placement, Position, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue.asking import ticket_name
from arcetri_spawner.backends.kubernetes.kueue.lines import LINE_KEPT
from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.policy.model import FlavorInventory, Grant, Inventory
from arcetri_spawner.returning import successor
from kueue_client import NotFound, StopPolicy, Workload
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.installation import DEVICES, Installation, installation, simulate
from tests.support.builders import EVERYONE, GIB, grant

pytestmark = pytest.mark.cluster
PATIENCE = 60.0
INSTANCE = "0123456789abcdef"


@pytest.fixture(scope="module")
def farm(with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Four T4 and the queues to them, for the tests of this file one after the other."""
    namespace = f"test-{uuid4().hex[:12]}"
    with_kueue.run(["kubectl", "create", "namespace", namespace])
    with installation(with_kueue, namespace, tmp_path_factory.mktemp("farm")) as made:
        made.catalog(cms={"quota": 2}, atlas={"quota": 1, "borrow": 1}, lhcb={"quota": 1})
        made.sync()
        yield made
    with_kueue.run(["kubectl", "delete", "namespace", namespace, "--wait=false", "--now"])


@dataclass(slots=True)
class Hub:
    """A hub's queue, and what it says."""

    farm: Installation
    queue: KueueQueue
    catalogs: CatalogHolder
    told: dict[UUID, Ticket] = field(default_factory=dict)
    total: int = DEVICES
    asked: Counter[str] = field(default_factory=Counter)
    """Questions to the API server, by the end of their path."""
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def inventory(self) -> Inventory:
        """What there is, as the backend would say."""
        return Inventory({"t4": FlavorInventory(self.total, self.total)}, datetime.now(UTC))

    async def listen(self) -> None:
        """Follow the tickets."""
        async for ticket in self.queue.watch():
            self.told[ticket.request_id] = ticket
            self._moved.set()
            self._moved = asyncio.Event()

    async def reach(self, one: Grant, state: TicketState, code: str = "") -> Ticket:
        """The ticket, once it is in a state, for a reason."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    found = self.told.get(one.request_id)
                    if found and found.state is state and code in ("", _code(found)):
                        return found
                    await self._moved.wait()
        except TimeoutError:
            raise AssertionError(f"{self.told.get(one.request_id)}, not {state} {code}") from None

    def workload(self, one: Grant) -> Workload:
        """What Kueue has of a request."""
        name = ticket_name(one.request_id)
        return self.farm.kueue.workloads.get(name, self.farm.names.namespace)


def _code(ticket: Ticket) -> str:
    return ticket.reason.code if ticket.reason else ""


@asynccontextmanager
async def hub(farm: Installation) -> AsyncIterator[Hub]:
    """A hub's process, as far as its queue goes."""

    async def connect() -> client.ApiClient:
        found = client.Configuration()
        await config.load_kube_config(str(farm.kubeconfig), client_configuration=found)
        api = client.ApiClient(found)
        call = api.call_api

        async def counted(method: str, url: str, *more: Any, **options: Any) -> Any:
            made[0].asked[url.partition("?")[0].rpartition("/")[2]] += 1
            return await call(method, url, *more, **options)

        api.call_api = counted
        return api

    catalogs = CatalogHolder(farm.folder / "profiles.yaml")
    made: list[Hub] = []
    queue = KueueQueue(connect, farm.names, INSTANCE, catalogs, lambda: made[0].inventory())
    made.append(Hub(farm, queue, catalogs))
    listening = asyncio.create_task(made[0].listen())
    try:
        yield made[0]
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await queue.close()


@pytest.fixture
async def desk(farm: Installation) -> AsyncIterator[Hub]:
    """A hub whose requests are all gone in the end."""
    async with hub(farm) as made:
        yield made
        for request in list(made.told):
            await made.queue.finish(Ticket(request, TicketState.GONE))
    left = farm.kueue.workloads.list(farm.names.namespace).items
    assert left == ()


def asks(group: str, flavor: str = "t4", **more: Any) -> Grant:
    """A granted request for a notebook."""
    path = group if group == EVERYONE else f"/{group}"
    kind = "cpu" if flavor == "cpu" else "gpu"
    values: dict[str, Any] = {"flavor_type": kind, "flavor_title": "T4", "memory": 4 * GIB}
    return grant(flavor=flavor, group=path, **{**values, **more})


async def test_who_can_start_at_once_does_and_the_next_when_there_is_room(desk: Hub) -> None:
    first, second, third = asks("cms"), asks("cms"), asks("cms")
    node = desk.farm.names.instance
    for one in (first, second):
        admitted = await desk.queue.submit(one)
        assert admitted == Ticket(one.request_id, TicketState.ADMITTED, Placement(node=node))
    assert await desk.queue.position(Ticket(first.request_id, TicketState.ADMITTED)) is None
    waits = await desk.queue.submit(third)
    assert (waits.state, _code(waits)) == (TicketState.WAITING, "busy_quota")
    assert waits.reason is not None
    assert waits.reason.sentence == "/cms uses 2 of its 2 T4."
    # Somebody else's queue is not in the way.
    assert (await desk.queue.submit(asks("lhcb"))).state is TicketState.ADMITTED
    without = await desk.queue.submit(asks(EVERYONE, "cpu", cpu=0.1, memory=64 << 20))
    assert without.state is TicketState.ADMITTED
    await desk.queue.ready(Ticket(first.request_id, TicketState.ADMITTED))
    await desk.queue.finish(Ticket(first.request_id, TicketState.ADMITTED))
    assert (await desk.reach(third, TicketState.ADMITTED)).placement == Placement(node=node)
    assert desk.told[first.request_id].state is TicketState.GONE
    await desk.queue.finish(Ticket(first.request_id, TicketState.GONE))


async def test_places_are_in_order_and_outlive_the_hub(desk: Hub) -> None:
    running = [asks("cms"), asks("cms")]
    line = [asks("cms") for _ in range(3)]
    for one in running:
        await desk.queue.submit(one)
    for one in line:
        await desk.queue.submit(one)
        await asyncio.sleep(1.1)  # Kueue tells ages to the second
    # The answer to the first was lost: it is asked for again, and takes no second place.
    again = await desk.queue.submit(line[0])
    assert again.state is TicketState.WAITING

    async def places(of: Hub) -> list[Position | None]:
        return [await of.queue.position(of.told[one.request_id]) for one in line]

    assert await places(desk) == [Position(number, provisional=True) for number in range(3)]
    async with hub(desk.farm) as restarted:
        for one in running:
            await restarted.reach(one, TicketState.ADMITTED)
        for one in line:
            await restarted.reach(one, TicketState.WAITING, "busy_quota")
        # Everybody is submitted again, and of nobody the cluster is asked.
        restarted.asked.clear()
        for one in (*running, *line):
            await restarted.queue.submit(one)
        assert not restarted.asked
        assert await places(restarted) == [Position(n, provisional=True) for n in range(3)]
        # Whoever looks at their place, however many they are, it is one question for the queue.
        await asyncio.sleep(LINE_KEPT)
        restarted.asked.clear()
        await asyncio.gather(*(places(restarted) for _ in range(20)))
        assert restarted.asked == {"pendingworkloads": 1}
        await restarted.queue.finish(Ticket(running[0].request_id, TicketState.ADMITTED))
        await restarted.reach(line[0], TicketState.ADMITTED)
        assert await places(restarted) == [None, *(Position(n, provisional=True) for n in range(2))]


async def test_what_was_borrowed_is_asked_back_and_its_place_kept(desk: Hub) -> None:
    own, borrowed = asks("atlas"), asks("atlas")
    assert (await desk.queue.submit(own)).state is TicketState.ADMITTED
    await asyncio.sleep(1.1)  # who came last goes first
    assert (await desk.queue.submit(borrowed)).state is TicketState.ADMITTED
    theirs = [asks("cms"), asks("cms"), asks("lhcb")]
    waiting = [one for one in theirs if (await desk.queue.submit(one)).state is TicketState.WAITING]
    (short,) = waiting
    evicted = await desk.reach(borrowed, TicketState.EVICTED, "evicted_returned")
    assert evicted.placement is not None
    assert (await desk.reach(short, TicketState.WAITING, "queue_lent")).reason is not None
    await asyncio.sleep(1.1)  # Kueue tells ages to the second
    younger = asks("atlas")
    assert (await desk.queue.submit(younger)).state is TicketState.WAITING
    # The quota stays held until the work is saved.
    assert desk.told[short.request_id].state is TicketState.WAITING
    await desk.queue.release(evicted, requeue=True)
    await desk.reach(short, TicketState.ADMITTED)
    back = await desk.reach(borrowed, TicketState.WAITING)
    assert (await desk.queue.position(back)) == Position(0, provisional=True)
    assert (await desk.queue.position(desk.told[younger.request_id])) == Position(1, True)
    await desk.queue.release(desk.told[short.request_id], requeue=False)
    await desk.reach(borrowed, TicketState.ADMITTED)
    with pytest.raises(NotFound):
        desk.workload(short)


async def test_a_stopped_queue_says_so_and_goes_on(desk: Hub) -> None:
    farm = desk.farm
    name, where = farm.names.local_queue("/lhcb"), farm.names.namespace
    running, waits = asks("lhcb"), asks("lhcb")
    await desk.queue.submit(running)
    farm.kueue.local_queues.patch(name, where, change={"spec": {"stopPolicy": "HoldAndDrain"}})
    await desk.reach(running, TicketState.EVICTED, "evicted_closed")
    await desk.queue.submit(waits)
    await desk.reach(waits, TicketState.WAITING, "queue_closed")
    await desk.queue.finish(Ticket(running.request_id, TicketState.EVICTED))
    go_on = {"spec": {"stopPolicy": StopPolicy.NONE.value}}
    farm.kueue.local_queues.patch(name, where, change=go_on)
    await desk.reach(waits, TicketState.ADMITTED)


async def test_a_missing_or_inactive_queue_says_so_until_it_is_mended(desk: Hub) -> None:
    farm = desk.farm
    name, where = farm.names.local_queue("/cms"), farm.names.namespace
    farm.kueue.local_queues.delete(name, where)
    one = asks("cms")
    await desk.queue.submit(one)
    await desk.reach(one, TicketState.WAITING, "queue_unready")
    await doctor_says(desk, one, "local_queue_missing", f"There is no LocalQueue {name} in")
    assert await desk.queue.position(desk.told[one.request_id]) == Position(0, provisional=True)
    await asyncio.to_thread(farm.sync)
    await desk.reach(one, TicketState.ADMITTED)
    await desk.queue.finish(Ticket(one.request_id, TicketState.ADMITTED))

    pool = farm.names.cluster_queue("/cms")
    found = farm.kueue.cluster_queues.get(pool).to_wire()["spec"]["resourceGroups"]
    found[0]["flavors"][0]["name"] = "gone"
    farm.kueue.cluster_queues.patch(pool, change={"spec": {"resourceGroups": found}})
    other = asks("cms")
    await desk.queue.submit(other)
    await desk.reach(other, TicketState.WAITING, "queue_unready")
    await doctor_says(desk, other, "cluster_queue_inactive", pool)
    await asyncio.to_thread(farm.sync)
    await desk.reach(other, TicketState.ADMITTED)


async def test_what_is_deleted_or_deactivated_by_hand(desk: Hub) -> None:
    farm = desk.farm
    running, waits, gone = asks("lhcb"), asks("lhcb"), asks("lhcb")
    await desk.queue.submit(running)
    for one in (waits, gone):
        assert (await desk.queue.submit(one)).state is TicketState.WAITING
    farm.kueue.workloads.delete(ticket_name(gone.request_id), farm.names.namespace)
    await desk.reach(gone, TicketState.GONE)
    await doctor_says(desk, gone, "not_there", "No request of this name stands in a queue of")
    await desk.queue.release(Ticket(gone.request_id, TicketState.WAITING), requeue=True)
    aside = {"spec": {"active": False}}
    for one in (waits, running):
        name = ticket_name(one.request_id)
        farm.kueue.workloads.patch(name, farm.names.namespace, change=aside)
    await desk.reach(waits, TicketState.WAITING, "queue_set_aside")
    await doctor_says(desk, waits, "deactivated", "It was deactivated")
    evicted = await desk.reach(running, TicketState.EVICTED, "evicted_operator")
    await desk.queue.release(evicted, requeue=True)
    await desk.reach(running, TicketState.ADMITTED)


async def test_the_catalog_gives_less_or_nothing_any_more(desk: Hub) -> None:
    farm = desk.farm
    running = [asks("cms"), asks("cms")]
    for one in running:
        await desk.queue.ready(await desk.queue.submit(one))
    waits = asks("cms")
    assert (await desk.queue.submit(waits)).state is TicketState.WAITING
    text = (farm.folder / "profiles.yaml").read_text(encoding="utf-8")
    try:
        farm.catalog(atlas={"quota": 1, "borrow": 1}, lhcb={"quota": 1}, cms={"quota": 1})
        await asyncio.to_thread(farm.sync)
        # What runs beyond a quota that was lowered runs on.
        assert all(desk.told[one.request_id].state is TicketState.ADMITTED for one in running)
        await desk.queue.finish(Ticket(running[0].request_id, TicketState.ADMITTED))
        await asyncio.sleep(1)
        assert desk.told[waits.request_id].state is TicketState.WAITING
        await doctor_says(
            desk, waits, "quota", "It waits for 1 more nvidia.com/gpu", wrong=False, well=True
        )
        await doctor_says(desk, running[1], "admitted", "It is admitted.", wrong=False, well=True)
        # The group has nothing any more: who waits is told so, and who runs runs on.
        farm.catalog(atlas={"quota": 1, "borrow": 1}, lhcb={"quota": 1})
        await asyncio.to_thread(farm.sync)
        desk.catalogs.reload()
        await desk.reach(waits, TicketState.WAITING, "queue_no_flavor")
        assert desk.told[running[1].request_id].state is TicketState.ADMITTED
        await doctor_says(desk, waits, "cluster_queue_stopped", "is stopped: it admits nothing")
    finally:
        (farm.folder / "profiles.yaml").write_text(text, encoding="utf-8")
        desk.catalogs.reload()
        await asyncio.to_thread(farm.sync)
    await desk.reach(waits, TicketState.ADMITTED)


async def test_who_waits_asks_for_what_the_catalog_says_now_at_their_place(desk: Hub) -> None:
    profiles = desk.farm.folder / "profiles.yaml"
    running, line = [asks("cms"), asks("cms")], [asks("cms"), asks("cms")]
    for one in [*running, *line]:
        await desk.queue.submit(one)
    before = [desk.workload(one) for one in line]
    text = profiles.read_text(encoding="utf-8")
    made = yaml.safe_load(text)
    made["flavors"]["t4"]["tolerations"].append("example.org/moved")
    try:
        profiles.write_text(yaml.safe_dump(made), encoding="utf-8")
        desk.catalogs.reload()
        # Whether the hub was restarted with the other catalog or runs on, it submits them again.
        for one in [*running, *line]:
            await desk.queue.submit(one)
        after = [desk.workload(one) for one in line]
        assert [one.metadata.uid for one in after] == [one.metadata.uid for one in before]
        for one in after:
            asked = one.spec.pod_sets[0].template["spec"]["tolerations"]
            assert "example.org/moved" in [each["key"] for each in asked]
        assert all(desk.told[one.request_id].state is TicketState.ADMITTED for one in running)
        for one in running:
            await desk.queue.finish(Ticket(one.request_id, TicketState.ADMITTED))
        for one in line:
            await desk.reach(one, TicketState.ADMITTED)
    finally:
        profiles.write_text(text, encoding="utf-8")
        desk.catalogs.reload()


async def test_a_flavor_is_removed_that_some_have_and_some_wait_for(desk: Hub) -> None:
    farm, profiles = desk.farm, desk.farm.folder / "profiles.yaml"
    runs, waits = asks("lhcb"), asks("lhcb")
    await desk.queue.ready(await desk.queue.submit(runs))
    await desk.queue.submit(waits)
    flavor = farm.names.flavor("t4")
    text = profiles.read_text(encoding="utf-8")
    made = yaml.safe_load(text)
    try:
        del made["flavors"]["t4"]
        for group in made["groups"].values():
            group["flavors"] = {"cpu": {}}
        profiles.write_text(yaml.safe_dump(made), encoding="utf-8")
        shown = await asyncio.to_thread(farm.sync, "--dry-run")
        assert f"remove ResourceFlavor {flavor}" in shown
        await asyncio.to_thread(farm.sync)
        desk.catalogs.reload()
        # Who waits is told that it is no longer given out; who has one keeps it.
        said = await desk.reach(waits, TicketState.WAITING, "queue_no_flavor")
        assert said.reason is not None
        assert "does not give out t4 now" in said.reason.sentence
        assert "Choose another flavour." in said.reason.remedy
        await doctor_says(desk, waits, "no_flavor", "No flavor of its queue fits")
        await doctor_says(desk, runs, "admitted", "It is admitted.", wrong=False)
        assert desk.told[runs.request_id].state is TicketState.ADMITTED

        async def gone() -> bool:
            return await asyncio.to_thread(farm.kueue.resource_flavors.find, flavor) is None

        await _until(gone)
        assert await asyncio.to_thread(farm.sync) == "Nothing to change.\n"
    finally:
        profiles.write_text(text, encoding="utf-8")
        desk.catalogs.reload()
        await asyncio.to_thread(farm.sync)
    # It comes back: the place was kept, and what ran holds what it had.
    await asyncio.sleep(1)
    assert desk.told[waits.request_id].state is TicketState.WAITING
    await desk.queue.finish(Ticket(runs.request_id, TicketState.ADMITTED))
    await desk.reach(waits, TicketState.ADMITTED)


async def test_who_goes_back_in_line_takes_over_the_place(desk: Hub) -> None:
    own, borrowed = asks("atlas"), asks("atlas")
    assert (await desk.queue.submit(own)).state is TicketState.ADMITTED
    await asyncio.sleep(1.1)
    assert (await desk.queue.submit(borrowed)).state is TicketState.ADMITTED
    short = [asks("cms"), asks("cms"), asks("lhcb")]
    for one in short:
        await desk.queue.submit(one)
    await desk.reach(borrowed, TicketState.EVICTED, "evicted_returned")
    await asyncio.sleep(1.1)  # Kueue tells ages to the second
    younger, again = asks("atlas"), successor(borrowed)
    await desk.queue.submit(younger)

    back = await desk.queue.submit(again)

    assert back.state is TicketState.WAITING
    await desk.reach(borrowed, TicketState.GONE)
    for one in short:
        await desk.reach(one, TicketState.ADMITTED)
    assert await desk.queue.position(back) == Position(0, provisional=True)
    assert await desk.queue.position(desk.told[younger.request_id]) == Position(1, True)
    # What is the new one's is not taken away with the old one's end, nor by another submission.
    await desk.queue.finish(Ticket(borrowed.request_id, TicketState.GONE))
    assert (await desk.queue.submit(again)).state is TicketState.WAITING
    name, where = ticket_name(borrowed.request_id), desk.farm.names.namespace
    kept = desk.farm.kueue.workloads.get(name, where)
    assert kept.metadata.labels[podmarks.SESSION] == str(again.request_id)
    found = await asyncio.to_thread(desk.farm.doctor, str(again.request_id))
    assert [one["about"] for one in found["findings"]] == [f"request {again.request_id}"]
    # A hub that is killed after it was written, and before Kueue was told, submits it anew.
    third = successor(again)
    async with hub(desk.farm) as restarted:
        await restarted.reach(again, TicketState.WAITING)
        await restarted.queue.submit(third)
        await restarted.reach(third, TicketState.WAITING)
        assert await restarted.queue.position(restarted.told[third.request_id]) == Position(0, True)
        await restarted.queue.finish(Ticket(short[0].request_id, TicketState.ADMITTED))
        await restarted.reach(third, TicketState.ADMITTED)
        await restarted.queue.ready(restarted.told[third.request_id])
        await restarted.queue.finish(Ticket(third.request_id, TicketState.ADMITTED))
    with pytest.raises(NotFound):
        desk.farm.kueue.workloads.get(name, where)


async def test_what_is_under_maintenance_waits_at_its_place_until_it_is_over(desk: Hub) -> None:
    farm = desk.farm
    one, waits = asks("lhcb"), asks("lhcb")
    admitted = await desk.queue.submit(one)
    await asyncio.sleep(1.1)  # ages are told to the second
    assert (await desk.queue.submit(waits)).state is TicketState.WAITING
    profiles = farm.folder / "profiles.yaml"
    text = profiles.read_text(encoding="utf-8")
    try:
        made = yaml.safe_load(text)
        made["flavors"]["t4"]["maintenance"] = {"message": "dust"}
        profiles.write_text(yaml.safe_dump(made), encoding="utf-8")
        desk.catalogs.reload()
        await desk.queue.release(admitted, requeue=True)
        said = await desk.reach(one, TicketState.WAITING, "queue_maintenance")
        assert said.reason is not None
        assert said.reason.sentence == "T4 is under maintenance: dust."
        later = await desk.reach(waits, TicketState.WAITING, "queue_maintenance")
        await asyncio.sleep(2)
        assert desk.told[one.request_id].state is TicketState.WAITING
        # Who had waited before is admitted no more than who was sent back, and is behind them.
        assert desk.told[waits.request_id] == later
        for place, ticket in enumerate((said, later)):
            assert await desk.queue.position(ticket) == Position(place, provisional=True)
        found = await asyncio.to_thread(farm.doctor, str(one.request_id))
        assert [each["code"] for each in found["findings"]] == ["maintenance"]
    finally:
        profiles.write_text(text, encoding="utf-8")
        desk.catalogs.reload()
    await desk.reach(one, TicketState.ADMITTED)
    assert desk.told[waits.request_id].state is TicketState.WAITING


async def test_a_lost_node_is_said_and_the_place_kept(desk: Hub) -> None:
    one = asks("lhcb")
    admitted = await desk.queue.submit(one)
    await desk.queue.ready(admitted)
    node = desk.farm.names.instance
    desk.farm.cluster.run(["kubectl", "delete", "node", node, "--wait=false"])
    desk.total = 0
    evicted = await desk.reach(one, TicketState.EVICTED, "evicted_node")
    assert evicted.reason is not None
    assert evicted.reason.sentence == f"The node {node} that your session was given has failed."
    await desk.queue.release(evicted, requeue=True)
    await desk.reach(one, TicketState.WAITING, "capacity_none")
    await asyncio.to_thread(simulate, desk.farm.cluster, node)
    assert (await desk.reach(one, TicketState.ADMITTED)).placement == Placement(node=node)


async def test_without_kueue_requests_are_kept_and_asked_again(desk: Hub) -> None:
    running, line = asks("lhcb"), [asks("lhcb"), asks("lhcb")]
    for one in (running, *line):
        await desk.queue.submit(one)
        await asyncio.sleep(1.1)  # Kueue tells ages to the second

    async def places() -> list[Position | None]:
        return [await desk.queue.position(desk.told[one.request_id]) for one in line]

    before = await places()
    assert before == [Position(0, provisional=True), Position(1, provisional=True)]
    kept, given_up, elsewhere = [asks("cms"), asks("cms")], asks("cms"), asks("atlas")
    with real.stopped(desk.farm.cluster):
        for one in (*kept, given_up, elsewhere):
            said = await desk.queue.submit(one)
            assert (said.state, _code(said)) == (TicketState.WAITING, "queue_silent")
        last = Ticket(given_up.request_id, TicketState.WAITING)
        assert await desk.queue.position(last) == Position(2, provisional=True)
        found = await asyncio.to_thread(desk.farm.doctor, status=1)
        assert "webhook_down" in {one["code"] for one in found["findings"] if one["wrong"]}
        # A session that answers meanwhile is not ended for it; one may leave the queue, too.
        await desk.queue.ready(Ticket(running.request_id, TicketState.ADMITTED))
        await desk.queue.finish(last)
        assert await places() == before
    for one in (*kept, elsewhere):
        await desk.reach(one, TicketState.ADMITTED)
    assert given_up.request_id not in desk.told
    # They were told in the order of each queue, and no queue waited for another.
    first, second, other = (
        desk.workload(one).metadata.creation_timestamp for one in (*kept, elsewhere)
    )
    assert first is not None
    assert second is not None
    assert other is not None
    assert first < second
    assert other <= second

    async def told_ready() -> bool:
        found = await asyncio.to_thread(desk.workload, running)
        return any(one.type == "PodsReady" and one.holds for one in found.status.conditions)

    await _until(told_ready)
    # The Kueue of now has the line that the one before had.
    assert await places() == before
    assert desk.told[running.request_id].state is TicketState.ADMITTED
    await desk.queue.finish(Ticket(running.request_id, TicketState.ADMITTED))
    await desk.reach(line[0], TicketState.ADMITTED)
    assert await places() == [None, Position(0, provisional=True)]


async def doctor_says(
    desk: Hub, one: Grant, code: str, words: str, *, wrong: bool = True, well: bool = False
) -> None:
    """See what an admin reads of a request.

    Args:
        desk: The hub's.
        one: The request.
        code: The finding's.
        words: In its sentence.
        wrong: Whether it is something that somebody has to mend.
        well: Whether nothing at all is.
    """
    request, status = str(one.request_id), 0 if well else 1
    found = await asyncio.to_thread(desk.farm.doctor, request, status=status)
    (said,) = [each for each in found["findings"] if each["about"] == f"request {request}"]
    assert (said["code"], said["wrong"], bool(said["remedy"])) == (code, wrong, wrong)
    assert words in said["sentence"]


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.2)
