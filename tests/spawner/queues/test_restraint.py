"""What a sync does while more is promised than the farm has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from arcetri_spawner.queues.changes import Act, Change, changes, stamped
from arcetri_spawner.queues.names import DIGEST
from arcetri_spawner.queues.restraint import Restraint, restrained
from kueue_client import ClusterQueue, Object, StopPolicy
from tests.spawner.queues.catalogs import GPU, NAMES, T4, catalog, planned

FLAVORS = {
    "t4": {"title": "T4", "resource": GPU, "nodes": T4},
    "a30": {"title": "A30", "resource": GPU, "nodes": {"nvidia.com/gpu.product": "A30"}},
}
FARM = {"t4": 4, "a30": 4}


class Cluster:
    """Kueue's objects, as syncs of one catalog after the other leave them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects: dict[tuple[str, str], Object] = {}
        self.last = Restraint(())

    def sync(
        self, groups: Mapping[str, Any], farm: Mapping[str, int], *, overcommit: bool = False
    ) -> list[Change]:
        entitled = {f"/{name}": {"flavors": one} for name, one in groups.items()}
        made = planned(catalog(self.path, flavors=FLAVORS, groups=entitled), dict(farm))
        found = list(self.objects.values())
        self.last = Restraint(made.objects) if overcommit else restrained(made, found, NAMES)
        done = changes(self.last.objects, found)
        for one in done:
            if one.act in (Act.CREATE, Act.CHANGE):
                self.put(one.object)
            elif one.act is Act.DRAIN:
                assert isinstance(one.object, ClusterQueue)
                one.object.spec.stop_policy = StopPolicy.HOLD
                del one.object.metadata.annotations[DIGEST]
        return done

    def put(self, one: Object) -> None:
        # As the API server has it: quantities as texts.
        self.objects[type(one).__name__, one.name] = _written(one)

    def queue(self, group: str) -> ClusterQueue:
        found = self.objects["ClusterQueue", NAMES.cluster_queue(f"/{group}")]
        assert isinstance(found, ClusterQueue)
        return found

    def has(self, group: str) -> dict[str, int | str]:
        """A group's quotas of devices, by flavour."""
        return {
            held["name"].removeprefix("farm-"): int(one["nominalQuota"])
            for held in self.queue(group).to_wire()["spec"]["resourceGroups"][0]["flavors"]
            for one in held["resources"]
            if one["name"] == GPU
        }


def _written(one: Object) -> Object:
    def texts(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: texts(part) for name, part in value.items()}
        if isinstance(value, list):
            return [texts(part) for part in value]
        return str(value) if type(value) is int else value

    wire = one.to_wire()
    spec = texts(wire["spec"]) if isinstance(one, ClusterQueue) else wire.get("spec")
    return type(one).from_wire({**wire, "spec": spec} if spec is not None else wire)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def said(cluster: Cluster) -> list[str]:
    return [one.sentence for one in cluster.last.withheld]


def names(done: Iterable[Change]) -> list[str]:
    return [f"{one.act.value} {type(one.object).__name__} {one.object.name}" for one in done]


def test_a_farm_that_shrinks_keeps_its_quotas_and_is_looked_after(cluster: Cluster) -> None:
    groups = {
        "cms": {"t4": {"quota": 3}, "a30": {"quota": 1}},
        "atlas": {"t4": {"quota": 1}},
        "gone": {"a30": {"quota": 1}},
    }
    cluster.sync(groups, FARM)
    assert cluster.last.withheld == ()
    shrunk = {**FARM, "t4": 0}
    assert cluster.sync(groups, shrunk) == []
    assert said(cluster) == [
        "t4: quotas of 4 in all, and the farm has 0. It has shrunk since they were given, or"
        " over-commitment was allowed then. They stay as they are, and who finds no device waits."
    ]
    # What the flavour has nothing to do with is done as ever.
    cluster.queue("cms").spec.queueing_strategy = None
    del groups["gone"]
    new = {**groups, "lhcb": {"a30": {"quota": 2}}}
    assert names(cluster.sync(new, shrunk)) == [
        f"change ClusterQueue {NAMES.cluster_queue('/cms')}",
        f"create ClusterQueue {NAMES.cluster_queue('/lhcb')}",
        f"create LocalQueue {NAMES.local_queue('/lhcb')}",
        f"remove LocalQueue {NAMES.local_queue('/gone')}",
        f"drain ClusterQueue {NAMES.cluster_queue('/gone')}",
    ]
    assert (cluster.has("cms"), cluster.has("atlas")) == ({"t4": 3, "a30": 1}, {"t4": 1})
    assert cluster.has("lhcb") == {"a30": 2}


def test_what_would_promise_more_is_not_raised_and_not_begun(cluster: Cluster) -> None:
    groups = {"cms": {"t4": {"quota": 2}}, "atlas": {"t4": {"quota": 1}, "a30": {"quota": 1}}}
    cluster.sync(groups, FARM)
    more = {
        "cms": {"t4": {"quota": 5}},
        "atlas": {"t4": {"quota": 1}, "a30": {"quota": 2}},
        "lhcb": {"t4": {"quota": 1, "borrow": 2}, "a30": {"quota": 1}},
    }
    cluster.sync(more, FARM)
    assert said(cluster) == [
        "t4: quotas of 7 in all, and the farm has 4."
        " Not raised: /cms has 2 t4, not 5, /lhcb has 0 t4, not 1."
    ]
    assert cluster.has("cms") == {"t4": 2}
    assert cluster.has("atlas") == {"t4": 1, "a30": 2}
    assert cluster.has("lhcb") == {"t4": 0, "a30": 1}
    assert cluster.sync(more, FARM) == [], "it is done once"
    # There are devices now.
    cluster.sync(more, {**FARM, "t4": 7})
    assert (cluster.has("cms"), said(cluster)) == ({"t4": 5}, [])
    assert cluster.has("lhcb") == {"t4": 1, "a30": 1}


def test_nothing_is_given_of_a_catalog_that_promises_too_much_from_the_start(
    cluster: Cluster,
) -> None:
    groups = {"cms": {"t4": {"quota": 5}, "a30": {"quota": 4}}, "atlas": {"t4": {"borrow": 0}}}
    cluster.sync(groups, FARM)
    assert (cluster.has("cms"), cluster.has("atlas")) == ({"t4": 0, "a30": 4}, {"t4": 0})
    cluster.sync(groups, FARM, overcommit=True)
    assert cluster.has("cms") == {"t4": 5, "a30": 4}


def test_a_quota_that_is_lowered_is_lowered_however_much_is_promised(cluster: Cluster) -> None:
    cluster.sync({"cms": {"t4": {"quota": 4}}, "atlas": {"a30": {"quota": 1}}}, FARM)
    cluster.sync({"cms": {"t4": {"quota": 3}}, "atlas": {"a30": {"quota": 1}}}, {**FARM, "t4": 1})
    assert cluster.has("cms") == {"t4": 3}
    cluster.sync({"cms": {"a30": {"quota": 1}}, "atlas": {"t4": {"quota": 2}}}, {**FARM, "t4": 1})
    assert (cluster.has("cms"), cluster.has("atlas")) == ({"a30": 1}, {"t4": 0})


def test_what_had_no_bound_keeps_none_until_the_quotas_can_be_given(cluster: Cluster) -> None:
    cluster.sync({"cms": {"t4": {}}, "atlas": {"t4": {}}}, FARM)
    cluster.sync({"cms": {"t4": {"quota": 3}}, "atlas": {"t4": {"quota": 2}}}, FARM)
    held = cluster.queue("cms").to_wire()["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    assert next(one for one in held if one["name"] == GPU)["nominalQuota"] == "1M"


def test_a_group_that_comes_back_has_no_promise_of_before(cluster: Cluster) -> None:
    groups = {"cms": {"t4": {"quota": 3}}, "atlas": {"t4": {"quota": 1}}}
    cluster.sync(groups, FARM)
    cluster.sync({"cms": {"t4": {"quota": 3}}}, FARM)
    cluster.sync(groups, {**FARM, "t4": 3})
    assert cluster.queue("atlas").spec.stop_policy is StopPolicy.NONE
    assert (cluster.has("cms"), cluster.has("atlas")) == ({"t4": 3}, {"t4": 0})


def test_of_hundreds_that_are_not_given_some_are_named(cluster: Cluster) -> None:
    cluster.sync({f"g{number}": {"t4": {"quota": 1}} for number in range(9)}, FARM)
    (sentence,) = said(cluster)
    assert sentence.endswith("/g3 has 0 t4, not 1, 5 more.")


def test_what_was_made_from_has_its_digest(cluster: Cluster) -> None:
    """Or every round would write it again."""
    cluster.sync({"cms": {"t4": {"quota": 2}}}, FARM)
    before = cluster.queue("cms")
    cluster.sync({"cms": {"t4": {"quota": 5}}}, FARM)
    assert cluster.queue("cms") is before
    (same,) = [one for one in cluster.last.objects if isinstance(one, ClusterQueue)]
    assert stamped(same).metadata.annotations[DIGEST] == before.metadata.annotations[DIGEST]
