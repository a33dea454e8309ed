"""The client of Kueue against the real one: a ticket's life, and what goes wrong in it."""

from __future__ import annotations

import inspect
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kueue_client import (
    HOSTNAME,
    AlreadyExists,
    AsyncKueue,
    AsyncTicket,
    Cause,
    Conflict,
    Event,
    EventType,
    Forbidden,
    Invalid,
    Kueue,
    LocalQueue,
    NotFound,
    ObjectMeta,
    Reason,
    StopPolicy,
    Ticket,
    TicketState,
    TicketStatus,
    Unreachable,
    VisibilityDown,
    WebhookDown,
    Workload,
    WorkloadPriorityClass,
    WrongState,
)
from kueue_client.calls import Listing
from kueue_client.visibility import PendingWorkload, PendingWorkloadsSummary
from tests.cluster import kueue as real
from tests.cluster.cluster import Cluster
from tests.cluster.farm import GPU, Farm, farm
from tests.support.platform import until

pytestmark = pytest.mark.cluster
T = TypeVar("T")
PATIENCE = 60.0


@pytest.fixture(scope="module")
def kubeconfig(with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """How this machine reaches the cluster's API server."""
    with real.reachable(with_kueue, tmp_path_factory.mktemp("reach")) as path:
        yield path


@pytest.fixture
def kueue(kubeconfig: Path) -> Iterator[Kueue]:
    """The client that blocks."""
    with Kueue.from_kubeconfig(kubeconfig) as client:
        yield client


@pytest.fixture
def site(kueue: Kueue, cluster: Cluster, namespace: str) -> Iterator[Farm]:
    """One node of two GPUs."""
    with farm(kueue, cluster, namespace) as made:
        made.node(1, 2)
        yield made


def reach(ticket: Ticket, *states: TicketState) -> TicketStatus:
    """Follow a ticket until it is in a state."""
    for status in ticket.watch(seconds=PATIENCE):
        if status.state in states:
            return status
    found = ticket.look()
    raise AssertionError(f"{ticket.name} is {found.state}: {found.workload.to_wire()}")


async def given(value: T | Awaitable[T]) -> T:
    """What an operation of either client comes to."""
    return await value if inspect.isawaitable(value) else value


@pytest.fixture(params=["blocking", "awaiting"])
async def either(request: pytest.FixtureRequest, kubeconfig: Path) -> AsyncIterator[Any]:
    """Each of the two clients."""
    if request.param == "blocking":
        with Kueue.from_kubeconfig(kubeconfig) as client:
            yield client
    else:
        async with await AsyncKueue.from_kubeconfig(kubeconfig) as client:
            yield client


async def follow(ticket: Ticket | AsyncTicket, state: TicketState) -> TicketStatus:
    """Follow a ticket of either client until it is in a state."""
    if isinstance(ticket, Ticket):
        return reach(ticket, state)
    async for status in ticket.watch(seconds=PATIENCE):
        if status.state is state:
            return status
    raise AssertionError(f"{ticket.name} is {(await ticket.look()).state}")


async def test_a_tickets_whole_life(either: Any, site: Farm) -> None:
    whole = site.queue("cms", 2)
    first = either.ticket("first", site.namespace)
    asked = site.asked("cms", 2)
    submitted = await given(first.submit(asked))
    assert submitted.state is TicketState.WAITING
    again = await given(first.submit(asked))
    assert again.workload.metadata.uid == submitted.workload.metadata.uid
    with pytest.raises(AlreadyExists, match="asks for something else"):
        await given(first.submit(site.asked("cms", 1)))
    admitted = await follow(first, TicketState.ADMITTED)
    assert admitted.admitted is not None
    assert admitted.admitted.cluster_queue == whole
    assert admitted.admitted.flavors[GPU] == site.name
    assert admitted.admitted.node == f"{site.name}-1"
    second = either.ticket("second", site.namespace)
    await given(second.submit(site.asked("cms")))
    with pytest.raises(WrongState, match="is not admitted"):
        await given(second.ready())
    status = await given(first.ready())
    assert status.ready
    assert (await given(first.ready())).ready
    released = await given(first.release())
    assert released.state is TicketState.WAITING
    assert released.admitted is None
    assert not released.ready
    await follow(first, TicketState.ADMITTED)  # before the younger one
    assert (await given(second.look())).state is TicketState.WAITING
    await given(first.finish())
    assert (await given(first.look())).state is TicketState.FINISHED
    with pytest.raises(WrongState, match="has finished"):
        await given(first.release())
    await follow(second, TicketState.ADMITTED)
    assert await given(second.leave())
    assert not await given(second.leave())
    with pytest.raises(NotFound):
        await given(second.look())


def test_a_released_ticket_stands_before_younger_ones(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    old = kueue.ticket("old", site.namespace)
    old.submit(site.asked("cms", 2))
    reach(old, TicketState.ADMITTED)
    time.sleep(1.1)  # Kueue tells ages to the second
    names = ["second", "third"]
    for name in names:
        kueue.ticket(name, site.namespace).submit(site.asked("cms", 2))
        time.sleep(1.1)
    until(lambda: len(kueue.pending("cms", site.namespace)) == 2, "both wait", PATIENCE)
    line = kueue.pending("cms", site.namespace)
    assert [one.metadata.name for one in line] == names
    assert [one.position_in_local_queue for one in line] == [0, 1]
    assert kueue.pending(f"{site.name}-cms") == line
    place = kueue.ticket("third", site.namespace).position()
    assert place is not None
    assert place.position_in_cluster_queue == 1
    assert old.position() is None
    site.stop("cms", StopPolicy.HOLD)
    old.release()
    site.stop("cms", StopPolicy.NONE)
    reach(old, TicketState.ADMITTED)
    assert kueue.ticket("second", site.namespace).look().state is TicketState.WAITING


def test_who_stands_aside_is_passed_by_and_keeps_the_place(kueue: Kueue, site: Farm) -> None:
    other = site.node(2, 2)
    site.queue("cms", 4)
    old = kueue.ticket("old", site.namespace)
    old.submit(site.asked("cms", 2))
    first = reach(old, TicketState.ADMITTED)
    with pytest.raises(WrongState, match="holds what it was given"):
        old.stand_in_line()
    aside = old.stand_aside("No use there")
    assert aside.state is TicketState.WAITING
    assert old.stand_aside("No use there") == aside
    why = old.why()
    assert (why.cause, why.sentence) == (Cause.ASIDE, "It stands aside: No use there.")
    time.sleep(1.1)  # Kueue tells ages to the second
    young = kueue.ticket("young", site.namespace)
    young.submit(site.asked("cms", 2))
    reach(young, TicketState.ADMITTED)
    # There is room for it, and it is given none.
    time.sleep(2)
    assert old.look().state is TicketState.WAITING
    assert first.admitted is not None
    nodes = {first.admitted.node, other, f"{site.name}-1"}
    (left,) = nodes - {young.look().admitted.node}  # type: ignore[union-attr]
    only = {"key": HOSTNAME, "operator": "In", "values": [left]}
    old.stand_in_line([{"matchExpressions": [only]}])
    again = reach(old, TicketState.ADMITTED)
    assert again.admitted is not None
    assert again.admitted.node == left
    old.stand_aside("No use there either")
    old.stand_in_line()
    assert reach(old, TicketState.ADMITTED).workload.metadata.uid == first.workload.metadata.uid
    old.finish()
    with pytest.raises(WrongState, match="has finished"):
        old.stand_aside("It is over")


def test_what_waits_can_ask_for_something_else_at_its_place(kueue: Kueue, site: Farm) -> None:
    site.node(1, 1)
    site.queue("cms", 2)
    ticket = kueue.ticket("one", site.namespace)
    asked = site.asked("cms", 20)
    made = ticket.submit(asked)
    less = site.asked("cms", 1)
    with pytest.raises(AlreadyExists):
        ticket.submit(less)
    assert ticket.ask_for(less).workload.metadata.uid == made.workload.metadata.uid
    found = reach(ticket, TicketState.ADMITTED)
    assert found.workload.metadata.uid == made.workload.metadata.uid
    with pytest.raises(WrongState, match="does not wait"):
        ticket.ask_for(asked)


def test_why_a_ticket_waits_is_told(kueue: Kueue, site: Farm) -> None:
    site.node(2, 1, cpu="4")
    site.queue("cms", 3)
    first = kueue.ticket("first", site.namespace)
    first.submit(site.asked("cms", 2))
    reach(first, TicketState.ADMITTED)
    assert first.why().cause is Cause.ADMITTED

    def why(name: str, **asked: Any) -> Any:
        ticket = kueue.ticket(name, site.namespace)
        ticket.submit(site.asked(asked.pop("queue", "cms"), **asked))
        until(lambda: ticket.why().cause is not Cause.NOT_CONSIDERED, name, PATIENCE)
        found = ticket.why()
        ticket.leave()
        return found

    quota = why("quota", gpus=2)
    assert quota.cause is Cause.QUOTA, quota
    assert quota.sentence == f"It waits for 1 more {GPU} of {site.name} to become free."
    assert why("large", gpus=9).cause is Cause.TOO_LARGE
    placement = why("placement", gpus=1, cpu="8")  # the GPU that is free has few cores beside it
    assert placement.cause is Cause.PLACEMENT, placement
    nowhere = why("nowhere", queue="none")
    assert nowhere.cause is Cause.LOCAL_QUEUE_MISSING
    site.stop("cms", StopPolicy.HOLD)
    assert why("stopped").cause is Cause.LOCAL_QUEUE_STOPPED


def test_what_was_borrowed_is_asked_back_and_held_until_it_is_released(
    kueue: Kueue, site: Farm
) -> None:
    site.queue("cms", 2)
    site.queue("batch", 0, borrow=2)
    borrower = kueue.ticket("borrower", site.namespace)
    borrower.submit(site.asked("batch", 2))
    reach(borrower, TicketState.ADMITTED)
    borrower.ready()
    owner = kueue.ticket("owner", site.namespace)
    owner.submit(site.asked("cms", 2))
    evicted = reach(borrower, TicketState.EVICTED)
    assert evicted.evicted is not None
    assert evicted.admitted is not None
    assert evicted.evicted.reason is Reason.PREEMPTED
    assert evicted.evicted.cause is Reason.IN_COHORT_RECLAMATION
    time.sleep(2)  # the time to save one's work; nothing is taken meanwhile
    assert owner.look().state is TicketState.WAITING
    assert borrower.look().state is TicketState.EVICTED
    assert owner.why().cause is Cause.PREEMPTION
    assert borrower.why().cause is Cause.RELEASE
    back = borrower.release()
    assert back.state is TicketState.WAITING
    reach(owner, TicketState.ADMITTED)
    until(lambda: borrower.position() is not None, "it stands in line", PATIENCE)
    owner.leave()
    again = reach(borrower, TicketState.ADMITTED)
    assert again.evicted is None
    assert again.workload.metadata.uid == evicted.workload.metadata.uid


def test_a_drained_queue_evicts_and_takes_back_when_it_goes_on(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    ticket = kueue.ticket("one", site.namespace)
    ticket.submit(site.asked("cms", 2))
    reach(ticket, TicketState.ADMITTED)
    site.stop("cms", StopPolicy.HOLD_AND_DRAIN)
    evicted = reach(ticket, TicketState.EVICTED).evicted
    assert evicted is not None
    assert evicted.reason is Reason.LOCAL_QUEUE_STOPPED
    ticket.release()
    until(lambda: ticket.why().cause is Cause.LOCAL_QUEUE_STOPPED, "it waits", PATIENCE)
    site.stop("cms", StopPolicy.NONE)
    reach(ticket, TicketState.ADMITTED)


def test_a_ticket_whose_time_is_up_can_ask_again(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    ticket = kueue.ticket("one", site.namespace)
    asked = site.asked("cms", 2)
    ticket.submit(type(asked)(asked.queue, asked.requests, topology=asked.topology, seconds=2))
    reach(ticket, TicketState.ADMITTED)
    evicted = reach(ticket, TicketState.EVICTED)
    assert evicted.evicted is not None
    assert evicted.evicted.cause is Reason.MAXIMUM_EXECUTION_TIME_EXCEEDED
    assert evicted.workload.spec.active is False
    ticket.release()
    reach(ticket, TicketState.ADMITTED)


def test_objects_are_applied_patched_listed_and_owned(kueue: Kueue, site: Farm) -> None:
    whole = site.queue("cms", 2)
    wanted = LocalQueue(metadata=ObjectMeta(name="more", namespace=site.namespace))
    wanted.spec.cluster_queue = whole
    wanted.metadata.labels = {"team": "cms"}
    made = kueue.local_queues.apply(wanted, manager="first")

    def version() -> str | None:
        return kueue.local_queues.apply(wanted, manager="first").metadata.resource_version

    # Kueue itself writes the new queue's status meanwhile; an apply that wrote would never agree.
    until(lambda: version() == version(), "an apply that changes nothing writes nothing", 30)
    other = LocalQueue.from_wire(wanted.to_wire())
    other.metadata.labels = {"team": "atlas"}
    with pytest.raises(Conflict, match="first"):
        kueue.local_queues.apply(other, manager="second")
    tried = kueue.local_queues.apply(other, manager="second", force=True, dry_run=True)
    assert tried.metadata.labels == {"team": "atlas"}
    assert kueue.local_queues.get("more", site.namespace).metadata.labels == {"team": "cms"}
    assert kueue.local_queues.apply(made, manager="first").metadata.uid == made.metadata.uid
    found = kueue.local_queues.list(site.namespace, labels="team=cms")
    assert [one.name for one in found.items] == ["more"]
    stale = {"metadata": {"resourceVersion": "1", "labels": {"team": "x"}}}
    with pytest.raises(Conflict):
        kueue.local_queues.patch("more", site.namespace, change=stale)
    assert kueue.local_queues.delete("more", site.namespace, uid="another") is False
    assert kueue.local_queues.delete("more", site.namespace) is True
    assert kueue.local_queues.find("more", site.namespace) is None
    name = f"{site.name}-high"
    urgent = WorkloadPriorityClass(metadata=ObjectMeta(name=name), value=1000, description="now")
    kueue.priority_classes.create(urgent)
    assert kueue.priority_classes.get(name).value == 1000
    assert kueue.priority_classes.delete(name)


def test_what_kueue_refuses_is_said_with_its_words(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    ticket = kueue.ticket("one", site.namespace)
    ticket.submit(site.asked("cms", 1))
    admitted = reach(ticket, TicketState.ADMITTED).workload
    half = {"status": {"admission": None}}
    with pytest.raises(Invalid, match="must be set while the QuotaReserved condition is true"):
        kueue.workloads.patch_status("one", site.namespace, change=half)
    wrong = Workload.from_wire(admitted.to_wire())
    wrong.metadata = ObjectMeta(name="Not A Name", namespace=site.namespace)
    with pytest.raises(Invalid):
        kueue.workloads.create(wrong)
    with pytest.raises(NotFound):
        kueue.pending("none", site.namespace)


def test_who_may_not_is_told_so(kubeconfig: Path, site: Farm) -> None:
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    user = f"system:serviceaccount:{site.namespace}:default"
    with Kueue(client.ApiClient(configuration, "Impersonate-User", user)) as nobody:
        with pytest.raises(Forbidden, match="cannot list resource"):
            nobody.workloads.list(site.namespace)
        with pytest.raises(Forbidden):
            next(iter(nobody.workloads.watch(site.namespace)))
        with pytest.raises(Forbidden):
            nobody.pending("cms", site.namespace)


def test_without_kueue_nothing_changes_and_that_is_said(
    kueue: Kueue, site: Farm, cluster: Cluster
) -> None:
    site.queue("cms", 2)
    held = kueue.ticket("held", site.namespace)
    held.submit(site.asked("cms", 2))
    reach(held, TicketState.ADMITTED)
    waiting = kueue.ticket("waiting", site.namespace)
    waiting.submit(site.asked("cms", 2))
    late = kueue.ticket("late", site.namespace)
    with real.stopped(cluster):
        with pytest.raises(WebhookDown, match=r"webhook \w+workload.kb.io does not answer"):
            late.submit(site.asked("cms", 2))
        with pytest.raises(NotFound):
            late.look()
        with pytest.raises(WebhookDown):
            held.release()
        assert held.look().state is TicketState.ADMITTED
        until(lambda: _down(kueue, site), "the visibility API is away", PATIENCE)
        assert waiting.why().position is None
        assert waiting.leave()  # deleting asks no webhook
    late.submit(site.asked("cms", 2))
    assert held.look().state is TicketState.ADMITTED
    held.leave()
    reach(late, TicketState.ADMITTED)


def _down(kueue: Kueue, site: Farm) -> bool:
    try:
        kueue.pending("cms", site.namespace)
    except VisibilityDown:
        return True
    return False


def test_a_watch_outlives_the_api_server(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    seen: list[Event[Workload]] = []
    watch = kueue.workloads.watch(site.namespace, seconds=120)

    def follow_it() -> None:
        for event in watch:
            seen.append(event)  # noqa: PERF402  # it goes on while this is looked at

    threading.Thread(target=follow_it, daemon=True).start()
    before = kueue.ticket("before", site.namespace)
    before.submit(site.asked("cms", 2))
    until(lambda: any(one.object.name == "before" for one in seen), "it is seen", PATIENCE)
    cluster = site.cluster
    cluster.stop("kube-apiserver")
    try:
        until(lambda: isinstance(watch.trouble, Unreachable), "it says so", PATIENCE)
        with pytest.raises(Unreachable):
            before.look()
    finally:
        cluster.start("kube-apiserver")
        cluster.settle()
    real.settle(cluster)
    after = kueue.ticket("after", site.namespace)
    until(lambda: _submitted(after, site), "it can be submitted", PATIENCE)
    until(lambda: any(one.object.name == "after" for one in seen), "it is seen", PATIENCE)
    assert watch.trouble is None
    added = [one.object.name for one in seen if one.type is EventType.ADDED]
    assert sorted(added) == ["after", "before"]


def _submitted(ticket: Ticket, site: Farm) -> bool:
    try:
        ticket.submit(site.asked("cms", 2))
    except (Unreachable, WebhookDown):
        return False
    return True


def test_a_version_too_old_is_listed_again(kueue: Kueue, site: Farm) -> None:
    site.queue("cms", 2)
    ticket = kueue.ticket("one", site.namespace)
    ticket.submit(site.asked("cms", 2))
    start = Listing[Workload]((), "1")
    events = kueue.workloads.watch(site.namespace, start=start, seconds=PATIENCE)
    event = next(iter(events))
    assert (event.type, event.object.name) == (EventType.ADDED, "one")


def test_the_visibility_api_is_as_it_is_modelled(with_kueue: Cluster) -> None:
    path = "/openapi/v3/apis/visibility.kueue.x-k8s.io/v1beta2"
    schemas = json.loads(with_kueue.run(["kubectl", "get", "--raw", path]))["components"]["schemas"]
    for model in (PendingWorkload, PendingWorkloadsSummary):
        (found,) = [one for name, one in schemas.items() if name.endswith(f".{model.__name__}")]
        fields = {field.alias: field.is_required() for field in model.model_fields.values()}
        assert fields.keys() == found["properties"].keys()
        assert {name for name, required in fields.items() if required} == set(found["required"])
