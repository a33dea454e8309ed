"""What a request asks of Kueue, and what Kueue's words come to; without a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from arcetri_spawner.backends.base import Placement, Position, Ticket, TicketState
from arcetri_spawner.backends.kubernetes.kueue import places, telling, words
from arcetri_spawner.backends.kubernetes.kueue.asking import (
    ASIDE,
    asked,
    handed_over,
    need_of,
    nodes_of,
    only_on,
    place_name,
    selector,
    ticket_name,
    whose,
)
from arcetri_spawner.backends.kubernetes.kueue.faults import fault
from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
from arcetri_spawner.backends.kubernetes.kueue.reserve import Reserve, Verdict
from arcetri_spawner.backends.kubernetes.kueue.watching import Watching
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.site import Need, Site
from arcetri_spawner.backends.ticketnews import TicketNews
from arcetri_spawner.errors import failure_codes
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.policy import queueing
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.policy.reasons import WAITING_CODES
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.plan import ANYWHERE
from arcetri_spawner.returning import successor
from kueue_client import (
    Asked,
    Cause,
    Evicted,
    Explanation,
    Forbidden,
    NotInstalled,
    Unreachable,
    WebhookDown,
    Workload,
)
from kueue_client import Reason as Kueues
from kueue_client.asked import affinity
from tests.spawner.kubernetes.cluster import T4
from tests.spawner.kubernetes.cluster import node as cluster_node
from tests.spawner.kubernetes.plans import cluster_catalog
from tests.spawner.kubernetes.stocks import claims, stock
from tests.support.builders import CMS, GIB, catalog, grant, inventory, section

NAMES = Names("farm", "sessions")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def workload(of: Grant, age: int = 0, **status: Any) -> Workload:
    """The Workload of a request, asked so many seconds ago."""
    made = asked(of, Offering.of(cluster_catalog()), NAMES, "farm")
    wire = made.workload(ticket_name(of.request_id), "sessions").to_wire()
    wire["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=age)).isoformat()
    return Workload.from_wire({**wire, "status": status})


def condition(kind: str, holds: bool, reason: str, message: str = "so it is") -> dict[str, Any]:
    """A condition of a Workload."""
    return {
        "type": kind,
        "status": str(holds),
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW.isoformat(),
    }


def admission(node: str) -> dict[str, Any]:
    """What Kueue gives an admitted Workload."""
    places = {"levels": ["kubernetes.io/hostname"], "slices": [
        {"domainCount": 1, "podCounts": {"universal": 1}, "valuesPerLevel": [{"universal": node}]}
    ]}  # fmt: skip
    one = {"name": "main", "flavors": {"cpu": "farm-t4"}, "topologyAssignment": places}
    return {"clusterQueue": "farm-cms", "podSetAssignments": [one]}


def test_a_request_asks_for_what_its_pod_takes_on_the_flavors_nodes() -> None:
    one = grant(cpu=0.5, memory=3 * GIB)
    made = asked(one, Offering.of(cluster_catalog()), NAMES, "farm")
    assert made.requests == {"cpu": "500m", "memory": "3Gi", "nvidia.com/gpu": "1"}
    assert made.node_selector == {"nvidia.com/gpu.product": "Tesla-T4"}
    assert made.queue == NAMES.local_queue(CMS)
    assert (made.priority_class, made.priority) == ("farm-notebook", 1000)
    assert made.topology == "kubernetes.io/hostname"
    without = grant(flavor="cpu", group=EVERYONE, flavor_type="cpu")
    made = asked(without, Offering.of(cluster_catalog()), NAMES, "farm")
    assert set(made.requests) == {"cpu", "memory"}
    assert made.node_selector == ANYWHERE
    assert made.queue == NAMES.local_queue(EVERYONE)


def test_a_request_asks_for_what_a_site_adds_to_its_pod() -> None:
    beside = {"name": "proxy", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
    before = {"name": "init", "resources": {"requests": {"memory": "9Gi", "example.com/key": "1"}}}
    notebook = {"name": "notebook", "resources": {"limits": {"ephemeral-storage": "2Gi"}}}
    taint = {"key": "users", "operator": "Exists"}
    site = Site.of(
        {
            "metadata": {},
            "spec": {
                "containers": [notebook, beside],
                "initContainers": [before],
                "nodeSelector": {"role": "users"},
                "tolerations": [taint],
            },
        }
    )
    offering = Offering.of(cluster_catalog(), site)
    made = asked(grant(), offering, NAMES, "farm")
    # What no queue covers would have it wait for ever.
    assert made.requests == {
        "cpu": "2500m",
        "memory": "9Gi",
        "ephemeral-storage": "2Gi",
        "nvidia.com/gpu": "1",
    }
    assert made.node_selector == {"nvidia.com/gpu.product": "Tesla-T4", "role": "users"}
    assert taint in made.tolerations
    without = asked(grant(flavor="cpu", flavor_type="cpu"), offering, NAMES, "farm")
    assert without.node_selector == {**ANYWHERE, "role": "users"}
    wire = made.workload("request-x", "sessions")
    assert need_of(wire) == Need(2500, 9 * GIB, {"ephemeral-storage": 2 * GIB})


def test_a_request_can_be_bound_to_nodes_beside_what_the_site_demands() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    terms = [{"matchExpressions": [zone]}, {"matchFields": [{"key": "metadata.name"}]}]
    made = Asked("cms", {"cpu": "1"}, node_terms=terms).workload("x", "sessions")
    assert nodes_of(made) is None
    bound = only_on(terms, ["n1", "n2"])
    only = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1", "n2"]}
    assert [one["matchExpressions"] for one in bound] == [[zone, only], [only]]
    assert bound[1]["matchFields"] == [{"key": "metadata.name"}]
    made = Asked("cms", {"cpu": "1"}, node_terms=bound).workload("x", "sessions")
    assert nodes_of(made) == {"n1", "n2"}
    assert nodes_of(Asked("cms", {"cpu": "1"}).workload("x", "sessions")) is None
    assert only_on((), ["n1"]) == [{"matchExpressions": [{**only, "values": ["n1"]}]}]


def given(of: Grant, node: str, **status: Any) -> Workload:
    """The Workload of a request that Kueue gave a node."""
    kinds = ("QuotaReserved", "Admitted")
    conditions = [condition(kind, True, "x") for kind in kinds]
    return workload(of, admission=admission(node), conditions=conditions, **status)


def test_what_kueue_gives_to_a_cpu_only_session_stands_only_beside_the_reserve() -> None:
    kept = stock(cluster_node(labels=T4, cpu="12", **{"nvidia.com/gpu": "4"}))
    seen: set[UUID] = set()
    reserve = Reserve(claims(kept, seen))

    def judge(made: Workload) -> Verdict:
        found = whose(made)
        assert found is not None
        return reserve.judge(found, made)

    cpu = {"flavor": "cpu", "flavor_type": "cpu"}
    first, second, third = grant(**cpu), grant(**cpu), grant(**cpu)
    assert judge(workload(first)) is Verdict.STANDS
    assert judge(given(first, "n1.farm")) is Verdict.STANDS
    assert judge(given(second, "n1.farm")) is Verdict.STANDS
    # Eight of twelve cores are kept for four GPUs.
    assert judge(given(third, "n1.farm")) is Verdict.IN_VAIN
    assert judge(given(first, "n1.farm")) is Verdict.STANDS
    # A session with a device takes nothing of the reserve but its own.
    gpu = grant()
    assert judge(given(gpu, "n1.farm")) is Verdict.STANDS
    assert kept.room("t4", Need(2000, 8 * GIB)) == 3
    assert judge(given(third, "n1.farm")) is Verdict.IN_VAIN
    # What runs is not taken back, whatever is kept.
    seen.add(third.request_id)
    assert judge(given(third, "n1.farm")) is Verdict.STANDS
    # Who gives back makes room.
    seen.discard(third.request_id)
    assert judge(workload(third)) is Verdict.STANDS
    assert judge(workload(first)) is Verdict.STANDS
    assert judge(given(third, "n1.farm")) is Verdict.STANDS
    stale = Reserve(claims(kept, fresh=False))
    found = whose(given(first, "n1.farm"))
    assert found is not None
    assert stale.judge(found, given(first, "n1.farm")) is Verdict.UNKNOWN
    assert Reserve(None).judge(found, given(first, "n1.farm")) is Verdict.STANDS


def test_a_device_that_kueue_takes_for_free_and_is_not_is_given_in_vain() -> None:
    kept = stock(cluster_node(labels=T4, **{"nvidia.com/gpu": "1"}))
    seen: set[UUID] = set()
    reserve = Reserve(claims(kept, seen))

    def judge(made: Workload, by: Reserve = reserve) -> Verdict:
        found = whose(made)
        assert found is not None
        return by.judge(found, made)

    runs, waits = grant(), grant()
    assert judge(given(runs, "n1.farm")) is Verdict.STANDS
    seen.add(runs.request_id)
    # Its Workload is deleted, and its pod is there still: here, what it takes is.
    pod = uuid4()
    kept.hold(pod, "n1.farm", "t4", Need(2000, 8 * GIB))
    reserve.forget(runs.request_id)
    assert judge(given(waits, "n1.farm")) is Verdict.IN_VAIN
    # What runs has its own, on the node where it is.
    assert judge(given(runs, "n1.farm")) is Verdict.STANDS
    # A node of which nothing is known is not judged, nor anything while nobody can say.
    assert judge(given(waits, "n2.farm")) is Verdict.STANDS
    stale, third = Reserve(claims(kept, fresh=False)), grant()
    assert judge(given(third, "n1.farm"), stale) is Verdict.STANDS
    stale.forget(third.request_id)
    # It ends.
    reserve.forget(waits.request_id)
    reserve.forget(runs.request_id)
    kept.drop(pod)
    seen.discard(runs.request_id)
    assert judge(given(waits, "n1.farm")) is Verdict.STANDS


def test_what_runs_is_not_offered_another_node() -> None:
    kept = stock(cluster_node(labels=T4, **{"nvidia.com/gpu": "1"}))
    one = grant()
    bound = workload(one)
    only = affinity(only_on((), ["gone"]))
    bound.spec.pod_sets[0].template["spec"]["affinity"] = only["affinity"]
    assert [who.request for who, _ in Reserve(claims(kept)).moves([bound])] == [one.request_id]
    assert not list(Reserve(claims(kept, {one.request_id})).moves([bound]))


def test_no_more_are_put_in_line_again_than_have_room_the_oldest_first() -> None:
    kept = stock(cluster_node(labels=T4, cpu="12", **{"nvidia.com/gpu": "4"}))
    reserve = Reserve(claims(kept))
    cpu = {"flavor": "cpu", "flavor_type": "cpu"}
    aside = condition("Requeued", False, "StandsAside")
    line = [workload(grant(**cpu), age, conditions=[aside]) for age in (10, 30, 20)]
    others = [workload(grant(**cpu), 40), workload(grant(), 50)]
    found = list(reserve.moves([*line, *others]))
    assert found == [(whose(line[1]), ("n1.farm",)), (whose(line[2]), ("n1.farm",))]
    # One that waits for nodes that have no room any more is told the others.
    bound = workload(grant(**cpu), 60)
    bound.spec.pod_sets[0].template["spec"]["affinity"] = affinity(only_on((), ["gone"]))[
        "affinity"
    ]
    assert list(reserve.moves([bound])) == [(whose(bound), ("n1.farm",))]
    assert not list(Reserve(claims(kept, fresh=False)).moves(line))


async def test_who_follows_is_told_of_nothing_that_is_not_so_any_more() -> None:
    async def listed() -> None:
        """At once."""

    none: Any = None
    queue = KueueQueue(none, NAMES, "farm", none, none)
    news, now = TicketNews(), dict[UUID, Ticket]()
    here: Any = SimpleNamespace(workloads=SimpleNamespace(listed=listed), news=news, told=now)
    queue._open = here

    def say(ticket: Ticket) -> None:
        now[ticket.request_id] = ticket
        if ticket.state is TicketState.GONE:
            del now[ticket.request_id]
        news.tell(ticket)

    told = cast("AsyncGenerator[Ticket]", queue.watch())
    first, second = uuid4(), uuid4()
    say(Ticket(second, TicketState.ADMITTED))
    assert await anext(told) == Ticket(second, TicketState.ADMITTED)
    for state in (TicketState.WAITING, TicketState.ADMITTED):
        say(Ticket(first, state))
    say(Ticket(second, TicketState.GONE))
    # Its place was asked for anew, and is there, before anybody heard that it was not.
    say(Ticket(second, TicketState.WAITING))
    say(Ticket(first, TicketState.GONE))
    assert await anext(told) == Ticket(second, TicketState.WAITING)
    assert await anext(told) == Ticket(first, TicketState.GONE)
    await told.aclose()


async def test_of_what_could_not_be_said_only_what_is_before_it_in_its_queue_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none: Any = None
    queue = KueueQueue(none, NAMES, "farm", none, none)
    here: Any = SimpleNamespace(workloads=SimpleNamespace(there={}))
    queue._open = here
    told: list[Grant] = []

    async def place(_here: Any, one: Grant) -> None:
        told.append(one)

    monkeypatch.setattr(queue, "_place", place)
    monkeypatch.setattr(queue, "_insist", lambda: None)
    first, second, third = (grant(group="/cms") for _ in range(3))
    other, fourth = grant(group="/lhcb"), grant(group="/cms")
    queue._unsent = {one.request_id: one for one in (first, second, other)}
    # Who asks while others of the queue have yet to be told of comes after them.
    said = await queue.submit(third)
    assert said.reason == queueing.silent()
    assert told == []

    await queue._send_first(here)

    assert {one.request_id for one in told} == {first.request_id, other.request_id}
    await queue._send_first(here)
    assert told[2:] == [second]
    # Of whom Kueue knows is not put in line again.
    known = grant(group="/cms")
    here.workloads.there[place_name(known)] = object()
    assert queue._comes_after_unsent(here, fourth)
    assert not queue._comes_after_unsent(here, third)
    assert not queue._comes_after_unsent(here, known)
    assert not queue._comes_after_unsent(here, grant(group="/lhcb"))


def test_a_workload_says_whose_it_is_and_others_say_nothing() -> None:
    one = grant()
    made = workload(one)
    found = whose(made)
    assert found is not None
    assert (found.request, found.group, found.flavor) == (one.request_id, CMS, "t4")
    name, _, value = selector("farm").partition("=")
    assert made.metadata.labels[name] == value
    # A label alone is anybody's to write: the name must be the request's too.
    made.metadata.name = "job-of-somebody"
    assert whose(made) is None
    assert whose(Workload.from_wire({"metadata": {"name": ticket_name(uuid4())}})) is None


def test_who_goes_back_in_line_has_the_workload_of_the_first_at_the_place() -> None:
    first = grant()
    second = successor(first)
    third = successor(second)
    assert third.earlier == (first.request_id, second.request_id)
    assert len({first.request_id, second.request_id, third.request_id}) == 3
    name = ticket_name(first.request_id)
    assert place_name(first) == place_name(second) == place_name(third) == name
    wire = workload(first).to_wire()
    change = dict(handed_over(third.request_id))["metadata"]
    wire["metadata"]["labels"] |= change["labels"]
    found = whose(Workload.from_wire(wire))
    assert found is not None
    assert (found.request, found.group, found.flavor) == (third.request_id, CMS, "t4")


def line(*ages: int) -> list[Workload]:
    """Requests for a T4 that were asked so many seconds ago."""
    return [workload(grant(), age) for age in ages]


def test_a_place_counts_the_groups_own_requests_for_the_flavor() -> None:
    first, second, third = line(30, 20, 10)
    other = workload(grant(flavor="rtx"), 40)
    admitted = workload(
        grant(),
        50,
        admission=admission("n"),
        conditions=[condition("QuotaReserved", True, "x"), condition("Admitted", True, "x")],
    )
    everybody = [third, other, admitted, first, second]
    names = [one.name for one in (other, second, first, third)]
    # Kueue's order holds, whatever the ages.
    assert places.place(first, everybody, names, contested=False) == Position(1)
    assert places.place(second, everybody, names, contested=True) == Position(0, provisional=True)
    # Where it says nothing, the order of asking does, and is called provisional.
    for number, one in enumerate((first, second, third)):
        found = places.place(one, everybody, None, contested=False)
        assert found == Position(number, provisional=True)
    assert places.place(third, everybody, names[:-1], contested=False).provisional


def test_who_stands_in_no_line_while_there_is_maintenance_keeps_the_place() -> None:
    waiting = line(30, 20, 10)
    for one in waiting:
        one.spec.active = False
        one.metadata.annotations[ASIDE] = "maintenance"
    for number, one in enumerate(waiting):
        found = places.place(one, waiting, [], contested=False)
        assert found == Position(number, provisional=True)
    # One of whom Kueue has not heard yet that she stands in no line.
    (late,) = line(15)
    assert places.place(late, [*waiting, late], [late.name], contested=False) == Position(2)


@pytest.mark.parametrize(
    ("groups", "everyone", "expected"),
    [
        ({CMS: {"quota": 2}, "/lab/astro": {"quota": 1}}, (), False),
        ({CMS: {"quota": 2}, "/lab/astro": {"quota": 1, "borrow": 1}}, (), True),
        ({CMS: {"quota": 2, "borrow": 1}, "/lab/astro": {"quota": 1}}, (), True),
        ({CMS: {}}, (), False),
        ({CMS: {}, "/lab/astro": {}}, (), True),
        ({CMS: {"quota": 2}}, ("t4",), True),
    ],
)
def test_a_place_is_provisional_where_other_groups_can_change_it(
    groups: dict[str, Any], everyone: tuple[str, ...], expected: bool
) -> None:
    made = catalog(
        groups={name: {"flavors": {"t4": one}} for name, one in groups.items()},
        everyone={"flavors": ("cpu", *everyone)},
    )
    assert places.contested(made, CMS, "t4") is expected


def here(**changes: Any) -> words.Situation:
    """CMS, whose quota of two T4 is in use, of eight."""
    values: dict[str, Any] = {
        "group": CMS,
        "flavor": "t4",
        "title": "NVIDIA T4",
        "offered": True,
        "quota": 2,
        "borrow": 0,
        "held": 2,
        "total": 8,
        "free": 3,
        **changes,
    }
    return words.Situation(**values)


@pytest.mark.parametrize(
    ("cause", "around", "code", "sentence"),
    [
        (Cause.QUOTA, {}, "busy_quota", "/lab/cms uses 2 of its 2 NVIDIA T4."),
        (Cause.TOO_LARGE, {"quota": 0, "held": 0}, "busy_quota", "no NVIDIA T4 of its own"),
        (Cause.QUOTA, {"held": 1, "free": 0}, "busy_capacity", "All 8 NVIDIA T4 are in use."),
        (Cause.QUOTA, {"quota": None}, "queue_kept", "3 NVIDIA T4 are free, but belong to"),
        (Cause.QUOTA, {"quota": None, "free": 1}, "queue_kept", "1 NVIDIA T4 is free, but belongs"),
        (Cause.QUOTA, {"quota": None, "total": None, "free": None}, "queue_busy", "to become free"),
        (Cause.QUOTA, {"held": 0, "total": 0, "free": 0}, "capacity_none", "No node that has"),
        (
            Cause.QUOTA,
            {"held": 0, "total": 0, "free": 0, "device": False},
            "busy_room",
            "or they are kept for free GPUs",
        ),
        (Cause.QUOTA, {"offered": False}, "queue_no_flavor", "does not give out NVIDIA T4"),
        (Cause.LOCAL_QUEUE_MISSING, {"offered": False}, "queue_no_flavor", "does not give out"),
        (Cause.PLACEMENT, {"held": 1}, "queue_size", "No node has room for a session of this size"),
        (Cause.PLACEMENT, {"held": 1, "free": 0}, "busy_capacity", "All 8"),
        (Cause.TOO_LARGE, {"held": 1}, "queue_too_large", "no NVIDIA T4 to give"),
        (Cause.PREEMPTION, {}, "queue_lent", "asked to give back"),
        (Cause.NO_FLAVOR, {}, "queue_no_flavor", "does not give out NVIDIA T4"),
        (Cause.OTHERS_START, {}, "queue_starting", "still starting"),
        (Cause.NOT_CONSIDERED, {"held": 1}, "queue_new", "is in the queue"),
        (Cause.NOT_CONSIDERED, {}, "busy_quota", "/lab/cms uses 2 of its 2 NVIDIA T4."),
        (Cause.NOT_CONSIDERED, {"held": 1, "behind": True}, "queue_behind", "before you"),
        (
            Cause.NOT_CONSIDERED,
            {"held": 1, "behind": True, "free": 0},
            "busy_capacity",
            "All 8 NVIDIA T4",
        ),
        (Cause.KUEUE_SILENT, {}, "queue_silent", "does not answer"),
        (Cause.LOCAL_QUEUE_STOPPED, {}, "queue_closed", "The queue of /lab/cms is closed"),
        (Cause.CLUSTER_QUEUE_STOPPED, {"group": EVERYONE}, "queue_closed", "everyone's share"),
        (Cause.LOCAL_QUEUE_MISSING, {}, "queue_unready", "is not ready"),
        (Cause.CLUSTER_QUEUE_INACTIVE, {}, "queue_unready", "is not ready"),
        (Cause.DEACTIVATED, {}, "queue_set_aside", "set your request aside"),
        (Cause.CHECKS, {}, "queue_checks", "waits for a check"),
        (Cause.BACKOFF, {}, "queue_backoff", "looked at again soon"),
        (Cause.ASIDE, {}, "queue_reserved", "beside what is kept for free GPUs"),
        (Cause("news"), {}, "queue_other", "The queue says: It rains."),
    ],
)
def test_why_one_waits_is_said_in_plain_words(
    cause: Cause, around: dict[str, Any], code: str, sentence: str
) -> None:
    found = words.waiting(Explanation(cause, "It rains."), here(**around))
    assert found.code == code
    assert sentence in found.sentence
    assert found.remedy
    assert code in (*queueing.QUEUE_CODES, *WAITING_CODES)


def test_when_it_is_looked_at_again_is_said_by_the_clock_of_the_site() -> None:
    why = Explanation(Cause.BACKOFF, "", again=datetime(2026, 11, 27, 10, 5, tzinfo=UTC))
    found = words.waiting(why, here(timezone="Europe/Rome"))
    assert found.sentence == "It is looked at again at 11:05:00."


@pytest.mark.parametrize(
    ("reason", "cause", "code"),
    [
        (Kueues.PREEMPTED, Kueues.IN_COHORT_RECLAMATION, "evicted_returned"),
        (Kueues.PREEMPTED, Kueues.IN_CLUSTER_QUEUE, "evicted_priority"),
        (Kueues.PREEMPTED, Kueues.IN_COHORT_FAIR_SHARING, "evicted_shared"),
        (Kueues.LOCAL_QUEUE_STOPPED, None, "evicted_closed"),
        (Kueues.CLUSTER_QUEUE_STOPPED, None, "evicted_closed"),
        (Kueues.PODS_READY_TIMEOUT, None, "evicted_silent"),
        (Kueues.NODE_FAILURES, None, "evicted_node"),
        (Kueues.DEACTIVATED, Kueues.MAXIMUM_EXECUTION_TIME_EXCEEDED, "evicted_lifetime"),
        (Kueues.DEACTIVATED, None, "evicted_operator"),
        (Kueues("Whatever"), None, "evicted_other"),
    ],
)
def test_why_something_is_wanted_back_is_said_in_plain_words(
    reason: Kueues, cause: Kueues | None, code: str
) -> None:
    found = words.evicted(Evicted(reason, cause, "It rains", NOW), here(), "node-7", 7200)
    assert found.code == code
    assert found.code in queueing.EVICTED_CODES
    if code == "evicted_lifetime":
        assert "of 2 hours" in found.sentence
    if code == "evicted_node":
        assert "node-7" in found.sentence


def told(one: Grant, **status: Any) -> Any:
    """The ticket that a Workload is."""
    made = workload(one, **status)
    who = whose(made)
    assert who is not None
    around = telling.situation(who, cluster_catalog(), inventory({"t4": (3, 8)}), 2, NOW)
    return telling.ticket(one.request_id, made, around, {}, {}, known=False)


def test_a_workload_is_a_ticket() -> None:
    one = grant()
    said = condition("QuotaReserved", False, "Pending", "insufficient unused quota for x in flavor")
    waits = told(one, conditions=[said])
    assert waits.state is TicketState.WAITING
    assert waits.placement is None
    holds = [condition("QuotaReserved", True, "x"), condition("Admitted", True, "x")]
    given = {"admission": admission("node-7")}
    admitted = told(one, conditions=holds, **given)
    assert (admitted.state, admitted.placement) == (TicketState.ADMITTED, Placement(node="node-7"))
    evicted = told(one, conditions=[*holds, condition("Evicted", True, "Preempted")], **given)
    assert (evicted.state, evicted.placement) == (TicketState.EVICTED, Placement(node="node-7"))
    assert evicted.reason.code == "evicted_returned"
    reserved = told(one, conditions=holds[:1], **given)
    assert (reserved.state, reserved.reason.code) == (TicketState.WAITING, "queue_checks")
    done = told(one, conditions=[condition("Finished", True, "Succeeded")])
    assert done.state is TicketState.GONE


def test_a_flavor_that_the_catalog_took_away_still_has_a_name() -> None:
    who = whose(workload(grant()))
    assert who is not None
    gone = catalog(flavors=section("flavors", t4=None), groups={}, environments=section(
        "environments", torch=None), sizes=section("sizes", large=None))  # fmt: skip
    around = telling.situation(who, gone, None, 0, NOW)
    assert (around.title, around.offered, around.total) == ("t4", False, None)


def test_what_goes_wrong_has_a_code_that_the_docs_list() -> None:
    errors = (Unreachable("x"), WebhookDown("x"), NotInstalled("x"), Forbidden("x"))
    codes = [fault(one).code for one in errors]
    assert codes == ["queue_away", "queue_away", "queue_missing", "queue_denied"]
    assert set(codes) <= set(failure_codes())
    assert fault(errors[0]).status == 503


def test_after_a_maintenance_the_first_is_in_line_first_whatever_a_list_is_ordered_by() -> None:
    waiting = [workload(grant(request_id=uuid4()), age=30 - number) for number in range(6)]
    for one in waiting:
        one.spec.active = False
        one.metadata.annotations[ASIDE] = "maintenance"
    listed = {one.name: one for one in sorted(waiting, key=lambda one: one.name)}
    platform = SimpleNamespace(maintains=lambda _: False)
    here: Any = SimpleNamespace(workloads=SimpleNamespace(there=listed), _platform=platform)
    assert list(Watching._over(here)) == waiting
