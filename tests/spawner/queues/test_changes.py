"""What is done to come from what there is to what there should be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arcetri_spawner.queues.changes import Act, Change, changes, owned, stamped, strangers
from arcetri_spawner.queues.names import DIGEST, Names
from kueue_client import ClusterQueue, LocalQueue, Object, StopPolicy
from tests.spawner.queues.catalogs import NAMES, catalog, planned


def objects(path: Path, *named: str) -> list[Object]:
    groups = {f"/{name}": {"flavors": {"t4": {"quota": 2}}} for name in named}
    return list(planned(catalog(path, groups=groups), {"t4": 8}).objects)


def there(made: Iterable[Object]) -> list[Object]:
    """What the API server would have, after it was made."""
    found = []
    for one in map(stamped, made):
        wire = one.to_wire()
        wire["metadata"] |= {"uid": f"u-{one.name}", "resourceVersion": "1"}
        wire["spec"] = {**wire.get("spec", {}), "stopPolicy": "None"}
        found.append(type(one).from_wire(wire))
    return found


def acts(found: list[Change]) -> list[tuple[str, str]]:
    return [(one.act.value, type(one.object).__name__) for one in found]


def queue(found: Iterable[Object]) -> ClusterQueue:
    (one,) = [one for one in found if isinstance(one, ClusterQueue)]
    return one


def test_what_is_missing_is_made_in_an_order_in_which_it_can_be(tmp_path: Path) -> None:
    found = changes(objects(tmp_path, "cms"), [])
    assert {one.act for one in found} == {Act.CREATE}
    kinds = [type(one.object).__name__ for one in found]
    assert list(dict.fromkeys(kinds)) == [
        "Topology",
        "ResourceFlavor",
        "WorkloadPriorityClass",
        "Cohort",
        "ClusterQueue",
        "LocalQueue",
    ]
    text = "".join(one.render() for one in found)
    assert "    farm-t4: 2 nvidia.com/gpu, borrows up to 0\n" in text


def test_what_is_as_it_should_be_is_left(tmp_path: Path) -> None:
    wanted = objects(tmp_path, "cms", "atlas")
    assert changes(wanted, there(wanted)) == []


def test_drift_is_repaired_and_what_others_added_is_left(tmp_path: Path) -> None:
    wanted = objects(tmp_path, "cms")
    found = there(wanted)
    changed = queue(found)
    changed.spec.resource_groups[0].flavors[0].resources[-1].nominal_quota = 9  # type: ignore[assignment]
    changed.spec.stop_policy = StopPolicy.HOLD  # by an admin, who may
    changed.metadata.labels["theirs"] = "x"
    (one,) = changes(wanted, found)
    assert one.act is Act.CHANGE
    assert one.lines == (
        "spec.resourceGroups[0].flavors[farm-t4].resources[nvidia.com/gpu].nominalQuota: 9 -> 2",
    )


def test_amounts_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    wanted = objects(tmp_path, "cms")
    found = there(wanted)
    amounts = queue(found).spec.resource_groups[0].flavors[0].resources
    amounts[0].nominal_quota = "1000k"  # type: ignore[assignment]
    amounts[-1].nominal_quota = "2000m"  # type: ignore[assignment]
    assert changes(wanted, found) == []


def test_a_field_that_is_wanted_no_more_is_a_change(tmp_path: Path) -> None:
    def made(**entitled: Any) -> list[Object]:
        groups = {
            "/cms": {"flavors": {"t4": {"quota": 2}}},
            "/atlas": {"flavors": {"t4": {"quota": 2, **entitled}}},
        }
        return list(planned(catalog(tmp_path, groups=groups), {"t4": 4}).objects)

    lent, alone = made(borrow=1), made()
    lines = [line for one in changes(lent, there(alone)) for line in one.lines]
    assert any(line.endswith("[nvidia.com/gpu].lendingLimit: 0 -> nothing") for line in lines)
    found = there(alone)
    (changed, *_) = [one for one in found if isinstance(one, ClusterQueue)]
    changed.metadata.annotations[DIGEST] = "older"
    (again,) = changes(alone, found)
    assert again.lines == ("fields that are wanted no more",)


def test_a_queue_is_drained_before_it_goes(tmp_path: Path) -> None:
    wanted, found = objects(tmp_path, "cms"), there(objects(tmp_path, "cms", "atlas"))
    name = NAMES.cluster_queue("/atlas")
    (gone,) = [one for one in found if isinstance(one, ClusterQueue) and one.name == name]
    gone.status.reserving_workloads = 2
    first = changes(wanted, found)
    assert acts(first) == [("wait", "LocalQueue"), ("drain", "ClusterQueue")]
    gone.spec.stop_policy = StopPolicy.HOLD
    gone.metadata.annotations.pop(DIGEST)
    assert acts(changes(wanted, found)) == [("wait", "LocalQueue"), ("wait", "ClusterQueue")]
    back = changes(objects(tmp_path, "cms", "atlas"), found)
    assert acts(back) == [("change", "ClusterQueue")]
    assert queue([back[0].object]).spec.stop_policy is StopPolicy.NONE
    gone.status.reserving_workloads = 0
    assert acts(changes(wanted, found)) == [("remove", "LocalQueue"), ("remove", "ClusterQueue")]


def test_what_a_busy_queue_needs_stays_as_long(tmp_path: Path) -> None:
    found = there(objects(tmp_path, "cms"))
    queue(found).status.admitted_workloads = 1
    acted = {type(one.object).__name__: one.act for one in changes([], found)}
    assert acted["ResourceFlavor"] is Act.WAIT
    assert acted["ClusterQueue"] is Act.DRAIN


def test_what_is_not_ours_is_a_stranger(tmp_path: Path) -> None:
    wanted = objects(tmp_path, "cms")
    found = there(wanted)
    assert all(owned(one, NAMES) for one in found)
    assert strangers(wanted, found, NAMES) == []
    queue(found).metadata.labels = {}
    assert strangers(wanted, found, NAMES) == [f"ClusterQueue {queue(found).name}"]
    assert not any(owned(one, Names("other", "sessions")) for one in found)


def test_no_local_queue_takes_pods_that_name_none() -> None:
    assert NAMES.local_queue("/default") != "default"
    assert NAMES.local_queue("/a_b") != NAMES.local_queue("/a-b")
    assert LocalQueue.namespaced
