"""Who holds, who waits and who is before whom, counted as Workloads change; without a cluster."""

from __future__ import annotations

from arcetri_spawner.backends.base import Position
from arcetri_spawner.backends.kubernetes.kueue import places
from arcetri_spawner.backends.kubernetes.kueue.asking import handed_over, ticket_name, whose
from arcetri_spawner.backends.kubernetes.kueue.roster import Roster
from kueue_client import Workload
from tests.spawner.kubernetes.test_kueue import admission, condition, workload
from tests.support.builders import CMS, grant

HOLDS = {
    "conditions": [
        condition("QuotaReserved", True, "QuotaReserved"),
        condition("Admitted", True, "Admitted"),
    ],
    "admission": admission("node"),
}


def test_who_is_admitted_waits_no_more_and_holds_until_it_is_gone() -> None:
    roster = Roster()
    first, second = grant(), grant()
    older, younger = workload(first, age=20), workload(second, age=10)
    who = whose(younger)
    assert who is not None
    for one in (older, younger):
        roster.note(one)
    assert roster.behind(who, younger)
    assert not roster.behind(who, older)
    assert roster.apart == set()
    admitted = workload(first, age=20, **HOLDS)
    roster.forget(older)
    roster.note(admitted)
    assert roster.held(who) == 1
    assert not roster.behind(who, younger)
    assert roster.apart == {admitted.name}
    ((key, names),) = roster.waiting()
    assert (key, set(names)) == ((CMS, second.flavor), {younger.name})
    roster.forget(admitted)
    assert (roster.held(who), roster.apart) == (0, set())


def test_who_waits_for_another_size_is_in_nobodys_way() -> None:
    roster = Roster()
    large, small = workload(grant(cpu=8.0), age=20), workload(grant(), age=10)
    who = whose(small)
    assert who is not None
    for one in (large, small):
        roster.note(one)
    assert not roster.behind(who, small)
    roster.note(workload(grant(), age=15))
    assert roster.behind(who, small)


def test_who_has_gone_back_in_line_is_known_by_the_first_ones_name() -> None:
    roster = Roster()
    before, after = grant(), grant()
    found = workload(before)
    wire = found.to_wire()
    change = handed_over(after.request_id)["metadata"]
    assert isinstance(change, dict)
    wire["metadata"]["labels"] |= change["labels"]
    roster.note(found)
    roster.forget(found)
    roster.note(Workload.from_wire(wire))
    assert roster.name_of(after.request_id) == ticket_name(before.request_id)
    assert roster.name_of(before.request_id) == ticket_name(before.request_id)


def test_the_place_of_who_is_not_in_line_yet_counts_those_who_are_and_came_before() -> None:
    one, other, third = grant(), grant(), grant()
    elsewhere = grant(flavor="a100")
    waiting = [workload(grant()), workload(grant(flavor="cpu", flavor_type="cpu"))]
    unsent = [other, elsewhere, one, third]
    assert places.unsent_place(one, waiting, unsent) == Position(2, provisional=True)
