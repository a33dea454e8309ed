"""What can be had at the same time, on farms whose flavours share devices."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.queues.farm import Farm, Pool
from arcetri_spawner.queues.plan import Plan, plan
from arcetri_spawner.queues.promises import rests, shortages
from tests.spawner.queues.catalogs import GPU, NAMES, T4, catalog, node

ANY = {"title": "Any GPU", "resource": GPU}
FLAVORS = {"t4": {"title": "T4", "resource": GPU, "nodes": T4}, "gpu": ANY}


def on(path: Path, nodes: Sequence[Any], flavors: Mapping[str, Any], **groups: Any) -> Plan:
    """The plan for groups' flavours on nodes."""
    entitled = {f"/{name}": {"flavors": one} for name, one in groups.items()}
    made = catalog(path, flavors={**flavors, "cpu": {"title": "None"}}, groups=entitled)
    return plan(made, Offering.of(made), Farm.of(nodes, Offering.of(made)), NAMES)


def test_devices_that_two_flavours_share_are_promised_once(tmp_path: Path) -> None:
    wanted = {"cms": {"t4": {"quota": 4}}, "atlas": {"gpu": {"quota": 4}}}
    (found,) = on(tmp_path, [node("one", 4, T4)], FLAVORS, **wanted).overcommitted
    assert found.sentence == (
        f"gpu and t4 share {GPU}: quotas of 8 in all (gpu 4, t4 4), and the farm has 4."
    )
    assert found.remedy == (
        "Lower groups./atlas.flavors.gpu.quota (4) or groups./cms.flavors.t4.quota (4):"
        " 4 fewer in all."
    )
    more = [node("one", 4, T4), node("two", 4, {"nvidia.com/gpu.product": "A30"})]
    assert on(tmp_path, more, FLAVORS, **wanted).overcommitted == ()


def test_only_the_flavours_to_which_it_is_due_are_named(tmp_path: Path) -> None:
    nodes = [node("one", 4, T4), node("two", 8, {"nvidia.com/gpu.product": "A30"})]
    wanted = {"cms": {"t4": {"quota": 5}}, "atlas": {"gpu": {"quota": 8}}}
    (found,) = on(tmp_path, nodes, FLAVORS, **wanted).overcommitted
    assert (found.flavors, found.total, found.capacity) == (("t4",), 5, 4)


def test_of_hundreds_of_quotas_the_largest_are_named(tmp_path: Path) -> None:
    wanted = {f"g{number}": {"t4": {"quota": number}} for number in range(1, 8)}
    (found,) = on(tmp_path, [node("one", 4, T4)], FLAVORS, **wanted).overcommitted
    assert "g7.flavors.t4.quota (7), " in found.remedy
    assert found.remedy.endswith(" or 3 more: 24 fewer in all.")


def test_without_a_device_the_room_of_nodes_is_shared(tmp_path: Path) -> None:
    """Eight cores are four sessions of two."""
    labels = {"disk": "fast"}
    flavors = {"fast": {"title": "Fast disk", "nodes": labels}}
    wanted = {"cms": {"fast": {"quota": 3}}, "atlas": {"cpu": {"quota": 2}}}
    (found,) = on(tmp_path, [node("one", 0, labels)], flavors, **wanted).overcommitted
    assert found.sentence == (
        "cpu and fast share nodes: quotas of 5 in all (cpu 2, fast 3), and the farm has 4."
    )
    assert on(tmp_path, [node("a", 0, labels), node("b")], flavors, **wanted).overcommitted == ()


def quota(made: Plan, group: str, flavor: str) -> tuple[int, int | None]:
    """A group's own of a flavour, and what it may have besides."""
    name = NAMES.cluster_queue(f"/{group}")
    (queue,) = [one for one in made.objects if one.name == name]
    (found,) = [
        one
        for held in queue.to_wire()["spec"]["resourceGroups"][0]["flavors"]
        if held["name"] == NAMES.flavor(flavor)
        for one in held["resources"]
        if one["name"] == GPU
    ]
    return found["nominalQuota"], found.get("borrowingLimit")


def test_what_is_left_is_what_no_flavour_that_shares_it_was_promised(tmp_path: Path) -> None:
    nodes = [node("one", 4, T4), node("two", 2, {"nvidia.com/gpu.product": "A30"})]
    wanted = {"cms": {"t4": {"quota": 3}}, "atlas": {"gpu": {}}}
    made = on(tmp_path, nodes, FLAVORS, **wanted)
    assert quota(made, "atlas", "gpu") == (3, 0)
    assert made.overcommitted == ()


def test_what_is_left_is_divided_between_flavours_that_share_it(tmp_path: Path) -> None:
    wanted = {"cms": {"t4": {"quota": 1}}, "lhcb": {"t4": {}}, "atlas": {"gpu": {}}}
    made = on(tmp_path, [node("one", 4, T4)], FLAVORS, **wanted)
    assert (quota(made, "lhcb", "t4"), quota(made, "atlas", "gpu")) == ((1, 0), (2, 0))
    assert [text.partition(".")[0] for text in made.notices] == [
        "gpu: 2 is its part of what is left beside all quotas",
        "t4: 1 is its part of what is left beside all quotas",
    ]


def test_where_nobody_has_a_quota_the_nodes_are_the_bound(tmp_path: Path) -> None:
    made = on(tmp_path, [node("one", 4, T4)], FLAVORS, cms={"t4": {}}, atlas={"gpu": {}})
    assert (quota(made, "atlas", "gpu")[0], made.notices) == ("1M", ())


NAMED = "abcd"
DEVICES = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMED), min_size=1), st.integers(1, 3)), max_size=4
)
PROMISED = st.dictionaries(st.sampled_from(NAMED), st.integers(0, 4))


def pools(devices: Iterable[tuple[set[str], int]]) -> list[Pool]:
    return [Pool(dict.fromkeys(sorted(who), size), size) for who, size in devices]


def seated(promised: Mapping[str, int], devices: Sequence[tuple[set[str], int]]) -> bool:
    """Whether every session can have a device, found by trying out all ways."""
    if not any(promised.values()):
        return True
    flavor = next(one for one, amount in promised.items() if amount)
    return any(
        seated(
            {**promised, flavor: promised[flavor] - 1},
            [*devices[:number], (who, size - 1), *devices[number + 1 :]],
        )
        for number, (who, size) in enumerate(devices)
        if flavor in who and size
    )


def room(flavors: Iterable[str], devices: Iterable[tuple[set[str], int]]) -> int:
    wanted = set(flavors)
    return sum(size for who, size in devices if wanted & who)


@given(promised=PROMISED, devices=DEVICES)
def test_more_is_promised_than_there_is_where_not_everybody_finds_a_device(
    promised: dict[str, int], devices: list[tuple[set[str], int]]
) -> None:
    found = shortages(promised, pools(devices))
    assert bool(found) == any(
        sum(promised[one] for one in some) > room(some, devices)
        for size in range(1, len(promised) + 1)
        for some in itertools.combinations(promised, size)
    )
    for one in found:
        assert one.there == room(one.flavors, devices)
        assert sum(promised[name] for name in one.flavors) > one.there
    kept = {name: amount for name, amount in promised.items()
            if not any(name in one.flavors for one in found)}  # fmt: skip
    # Without them, all is well, also where they had as much as there is.
    assert shortages(kept, pools(devices)) == []
    for one in found:
        for name in one.flavors:
            others = {other: promised[other] for other in one.flavors if other != name}
            lacking = sum(others.values()) - room(others, devices)
            assert lacking < sum(promised[each] for each in one.flavors) - one.there, "all are due"


SMALL = st.dictionaries(st.sampled_from(NAMED), st.integers(0, 2), max_size=3)
FEW = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMED), min_size=1), st.integers(1, 2)), max_size=3
)


@given(promised=SMALL, devices=FEW)
def test_who_finds_no_device_when_all_ways_are_tried_out_is_found_too(
    promised: dict[str, int], devices: list[tuple[set[str], int]]
) -> None:
    assert (not shortages(promised, pools(devices))) == seated(promised, devices)


@given(promised=PROMISED, devices=DEVICES, takers=st.sets(st.sampled_from(NAMED)))
def test_what_is_left_can_be_had_beside_all_promises_and_nothing_is_wasted(
    promised: dict[str, int], devices: list[tuple[set[str], int]], takers: set[str]
) -> None:
    ordered = sorted(takers)
    left = rests(promised, ordered, pools(devices))
    assert left.keys() == takers
    if shortages(promised, pools(devices)):
        short = {name for one in shortages(promised, pools(devices)) for name in one.flavors}
        assert all(left[name] == 0 for name in short & takers)
        return
    both = {name: promised.get(name, 0) + left.get(name, 0) for name in NAMED}
    assert shortages(both, pools(devices)) == []
    for name in ordered:
        assert shortages({**both, name: both[name] + 1}, pools(devices)), "it could have more"
        # Nobody has more than one of the others that could have had it instead.
        for other in ordered:
            if left[other] > left[name] + 1:
                moved = {**both, name: both[name] + 1, other: both[other] - 1}
                assert shortages(moved, pools(devices))
