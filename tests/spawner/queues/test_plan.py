"""What a catalog's words become in Kueue's objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog import check
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.queues.farm import Farm
from arcetri_spawner.queues.names import GROUP
from arcetri_spawner.queues.plan import UNBOUNDED, Plan, node_labels
from kueue_client import (
    ClusterQueue,
    Cohort,
    LocalQueue,
    Object,
    PreemptionPolicy,
    Quantity,
    ResourceFlavor,
    Topology,
    WorkloadPriorityClass,
)
from tests.spawner.queues.catalogs import EXAMPLE, GPU, NAMES, T4, catalog, node, planned

O = TypeVar("O", bound=Object)  # noqa: E741


def of(made: Plan, kind: type[O]) -> list[O]:
    return [one for one in made.objects if isinstance(one, kind)]


def quotas(made: Plan, group: str) -> dict[tuple[str, str], tuple[Any, Any, Any]]:
    """Nominal quota, borrowing and lending limit by flavour and resource."""
    name = NAMES.cluster_queue(group)
    (queue,) = [one for one in of(made, ClusterQueue) if one.name == name]
    return {
        (flavor.name, one.name): (one.nominal_quota, one.borrowing_limit, one.lending_limit)
        for part in queue.spec.resource_groups
        for flavor in part.flavors
        for one in flavor.resources
    }


def pool(made: Plan) -> dict[tuple[str, str], Quantity]:
    (cohort,) = of(made, Cohort)
    return {
        (flavor.name, one.name): one.nominal_quota
        for part in cohort.spec.resource_groups
        for flavor in part.flavors
        for one in flavor.resources
    }


def groups(**flavors: dict[str, Any]) -> dict[str, Any]:
    return {f"/{name}": {"flavors": {"t4": entitled}} for name, entitled in flavors.items()}


ZERO = Quantity(0)


def test_a_quota_is_ones_own_and_is_lent_only_where_somebody_may_borrow(tmp_path: Path) -> None:
    alone = planned(
        catalog(tmp_path, groups=groups(cms={"quota": 2}, atlas={"quota": 3})), {"t4": 8}
    )
    assert quotas(alone, "/cms")["farm-t4", GPU] == (Quantity(2), ZERO, ZERO)
    assert pool(alone) == {}
    lent = groups(cms={"quota": 2}, atlas={"quota": 3, "borrow": 4})
    both = planned(catalog(tmp_path, groups=lent), {"t4": 8})
    assert quotas(both, "/cms")["farm-t4", GPU] == (Quantity(2), ZERO, None)
    assert quotas(both, "/atlas")["farm-t4", GPU] == (Quantity(3), Quantity(4), None)
    assert pool(both) == {("farm-t4", GPU): Quantity(3)}


def test_without_any_quota_the_nodes_are_the_bound(tmp_path: Path) -> None:
    made = planned(catalog(tmp_path, groups=groups(cms={}, atlas={})), {"t4": 8})
    for group in ("/cms", "/atlas"):
        assert quotas(made, group)["farm-t4", GPU] == (UNBOUNDED["pods"], ZERO, ZERO)
    assert (pool(made), made.notices) == ({}, ())


def test_one_group_without_a_quota_has_what_is_left(tmp_path: Path) -> None:
    made = planned(catalog(tmp_path, groups=groups(cms={"quota": 3}, atlas={})), {"t4": 8})
    assert quotas(made, "/atlas")["farm-t4", GPU] == (Quantity(5), ZERO, ZERO)
    assert (pool(made), made.notices) == ({}, ())


def test_several_groups_without_a_quota_share_what_is_left_and_are_told(tmp_path: Path) -> None:
    shared = groups(cms={"quota": 3}, atlas={}, lhcb={})
    made = planned(catalog(tmp_path, groups=shared), {"t4": 8})
    assert quotas(made, "/atlas")["farm-t4", GPU] == (ZERO, Quantity(5), ZERO)
    assert pool(made) == {("farm-t4", GPU): Quantity(5)}
    (notice,) = made.notices
    assert "/atlas, /lhcb have no quota" in notice


def test_what_everyone_has_is_in_a_queue_of_its_own(tmp_path: Path) -> None:
    made = planned(catalog(tmp_path, everyone={"flavors": ["cpu"]}), {"t4": 8, "cpu": 20})
    assert quotas(made, "everyone")["farm-cpu", "pods"] == (UNBOUNDED["pods"], ZERO, ZERO)
    assert {one.metadata.annotations[GROUP] for one in of(made, LocalQueue)} == {
        "/cms",
        "everyone",
    }


def test_without_an_accelerator_sessions_are_counted_as_pods(tmp_path: Path) -> None:
    entitled = {"/cms": {"flavors": {"cpu": {"quota": 5}, "t4": {"quota": 1}}}}
    found = quotas(planned(catalog(tmp_path, groups=entitled), {"t4": 8, "cpu": 9}), "/cms")
    assert found["farm-cpu", "pods"] == (Quantity(5), ZERO, ZERO)
    assert found["farm-cpu", GPU] == (ZERO, None, None)
    assert found["farm-t4", "pods"] == (UNBOUNDED["pods"], None, None)
    assert found["farm-t4", GPU] == (Quantity(1), ZERO, ZERO)


def test_notebooks_are_pushed_out_only_where_somebody_may_borrow(tmp_path: Path) -> None:
    def reclaim(**entitled: Any) -> PreemptionPolicy | None:
        made = planned(
            catalog(tmp_path, groups=groups(cms={"quota": 2}, atlas=entitled)), {"t4": 8}
        )
        preemption = of(made, ClusterQueue)[0].spec.preemption
        assert preemption is not None
        assert preemption.within_cluster_queue is PreemptionPolicy.LOWER_PRIORITY
        return preemption.reclaim_within_cohort

    assert reclaim(quota=1) is PreemptionPolicy.LOWER_PRIORITY
    assert reclaim(quota=1, borrow=1) is PreemptionPolicy.ANY
    # Who has nothing to do with what is borrowed is not written anew.
    lent = groups(cms={"quota": 2}, atlas={"quota": 1, "borrow": 1})
    lent["/far"] = {"flavors": {"cpu": {}}}
    *_, far = of(planned(catalog(tmp_path, groups=lent), {"t4": 8}), ClusterQueue)
    assert far.spec.preemption is not None
    assert far.spec.preemption.reclaim_within_cohort is PreemptionPolicy.LOWER_PRIORITY
    classes = of(planned(catalog(tmp_path), {"t4": 8}), WorkloadPriorityClass)
    values = {one.name: one.value for one in classes}
    assert values["farm-notebook"] > values["farm-batch"]


def test_kueue_knows_the_nodes_of_each_flavour_by_their_names(tmp_path: Path) -> None:
    made = catalog(tmp_path, everyone={"flavors": ["cpu"]})
    found = {one.name: one for one in of(planned(made, {}), ResourceFlavor)}
    (topology,) = of(planned(made, {}), Topology)
    assert topology.spec is not None
    assert [one.node_label for one in topology.spec.levels] == ["kubernetes.io/hostname"]
    assert {one.spec.topology_name for one in found.values()} == {topology.name}
    assert found["farm-t4"].spec.node_labels == T4 == node_labels(Offering.of(made), "t4")
    assert found["farm-cpu"].spec.node_labels == {"kubernetes.io/os": "linux"}


def test_more_promised_than_there_is_is_shown(tmp_path: Path) -> None:
    made = planned(
        catalog(tmp_path, groups=groups(cms={"quota": 3}, atlas={"quota": 2})), {"t4": 4}
    )
    (found,) = made.overcommitted
    assert found.sentence == "t4: quotas of 5 in all, and the farm has 4."
    assert found.remedy == (
        "Lower groups./cms.flavors.t4.quota (3) or groups./atlas.flavors.t4.quota (2):"
        " 1 fewer in all."
    )


@pytest.mark.parametrize(
    ("labels", "resource", "confused"),
    [
        (T4, GPU, 2),
        ({**T4, "more": "x"}, GPU, 1),
        ({"nvidia.com/gpu.product": "A30"}, GPU, 0),
        (T4, "nvidia.com/mig-1g.5gb", 0),
    ],
)
def test_flavours_that_kueue_cannot_tell_apart_are_named(
    tmp_path: Path, labels: dict[str, str], resource: str, confused: int
) -> None:
    flavors: dict[str, dict[str, Any]] = {
        "t4": {"title": "T4", "resource": GPU, "nodes": T4},
        "other": {"title": "Other", "resource": resource, "nodes": labels},
    }
    if "mig" in resource:
        flavors["other"]["share"] = "1/7"
    entitled = {"/cms": {"flavors": {"t4": {"quota": 1}, "other": {"quota": 1}}}}
    made = planned(catalog(tmp_path, flavors=flavors, groups=entitled), {"t4": 9, "other": 9})
    assert len(made.confused) == confused


def test_the_example_has_its_queues() -> None:
    result = check(EXAMPLE)
    assert result.catalog is not None
    made = planned(result.catalog.catalog, dict.fromkeys(result.catalog.catalog.flavors, 99))
    assert (made.confused, made.overcommitted) == ((), ())
    assert len(of(made, ClusterQueue)) == len(of(made, LocalQueue)) > 5
    names = [(type(one), one.namespace, one.name) for one in made.objects]
    assert len(set(names)) == len(names)
    assert all(one.metadata.labels == NAMES.labels for one in made.objects)


ENTITLED = st.dictionaries(
    st.sampled_from("abcd"),
    st.just({})
    | st.fixed_dictionaries({"quota": st.integers(1, 4)}, optional={"borrow": st.integers(1, 3)}),
    min_size=1,
    max_size=4,
)


@given(entitled=ENTITLED, capacity=st.integers(0, 12))
def test_what_is_promised_is_kept_and_no_more_than_there_is(
    tmp_path_factory: pytest.TempPathFactory, entitled: dict[str, Any], capacity: int
) -> None:
    made = planned(
        catalog(tmp_path_factory.mktemp("c"), groups=groups(**entitled)), {"t4": capacity}
    )
    found = {name: quotas(made, f"/{name}")["farm-t4", GPU] for name in entitled}
    counted = any(one.get("quota") is not None for one in entitled.values())
    for name, one in entitled.items():
        if (quota := one.get("quota")) is not None:
            assert found[name][:2] == (Quantity(quota), Quantity(one.get("borrow", 0)))
    if counted and not made.overcommitted:
        own = sum(one[0].amount for one in found.values())
        assert own + sum(one.amount for one in pool(made).values()) <= capacity


def test_the_farm_counts_devices_and_sessions_of_the_smallest_size(tmp_path: Path) -> None:
    made: Catalog = catalog(tmp_path, everyone={"flavors": ["cpu"]})
    cordoned = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    kept = [{"key": "only.example/gpu", "effect": "NoSchedule"}]
    nodes = [
        node("one", 4, T4),
        node("two", 2, T4, taints=cordoned, unschedulable=True),
        node("three", 8, T4, taints=kept),
        node("four", 3, {"nvidia.com/gpu.product": "A30"}),
    ]
    assert Farm.of(nodes, Offering.of(made)).capacity == {"t4": 6, "cpu": 12}
