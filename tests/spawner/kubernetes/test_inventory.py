"""What the nodes have: exact, whatever happens to nodes and pods, and cheap to keep."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes import tally
from arcetri_spawner.backends.kubernetes.demand import demand_of
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.manifest import BadManifest, JsonObject
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.site import Site
from arcetri_spawner.catalog.models import Catalog
from tests.spawner.kubernetes.cluster import GPU_TAINT, T4, Farm, container, node, pod
from tests.spawner.kubernetes.plans import cluster_catalog
from tests.support.builders import GIB, NOW

CATALOG = cluster_catalog()
FLAVORS, SIZES = tuple(CATALOG.flavors), tuple(CATALOG.sizes)


def stock(*objects: JsonObject, catalog: Catalog = CATALOG, **how: Any) -> Stock:
    """A stock of these nodes and pods."""
    made = Stock(Offering.of(catalog, **how), instance="arcetri", namespace="sessions")
    for entry in objects:
        (made.put_node if "allocatable" in entry["status"] else made.put_pod)(entry)
    return made


def count(of: Stock, flavor: str) -> tuple[int, int]:
    """(total, free) of a flavour."""
    found = of.inventory(NOW).flavors[flavor]
    return found.total, found.free


def gpu_node(name: str = "n1", gpus: int = 4, **more: Any) -> JsonObject:
    return node(name, labels=T4, taints=[GPU_TAINT], **{"nvidia.com/gpu": str(gpus), **more})


def gpu_pod(uid: str, on: str = "n1", **more: Any) -> JsonObject:
    return pod(uid, on, container(cpu="2", memory="8Gi", **{"nvidia.com/gpu": "1"}), **more)


# The oracle: everything again, from the definitions, in decimals -------------------------------

UNITS = {"m": Decimal("0.001"), "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "G": 10**9, "": 1}


def number(text: object) -> Decimal:
    digits = str(text).rstrip("mKMGi")
    return Decimal(digits) * UNITS[str(text)[len(digits) :]]


def asked(one: JsonObject) -> dict[str, Decimal]:
    return {name: number(text) for name, text in one["resources"]["requests"].items()}


def taken(one: JsonObject) -> dict[str, Decimal]:
    """What a pod takes: the largest of all the moments of its life, then what is set for it."""
    moments, beside = [], []
    for init in one["spec"]["initContainers"]:
        if init.get("restartPolicy") == "Always":
            beside.append(init)
            moments.append(list(beside))
        else:
            moments.append([*beside, init])
    moments.append([*beside, *one["spec"]["containers"]])
    names = {name for moment in moments for each in moment for name in asked(each)}
    names |= {"cpu", "memory"}
    own = one["spec"].get("resources", {}).get("requests", {})
    extra = one["spec"].get("overhead", {})
    return {
        name: (
            number(own[name])
            if name in own
            else max(
                sum(asked(each).get(name, Decimal(0)) for each in moment) for moment in moments
            )
        )
        + number(extra.get(name, 0))
        for name in names
    }


def oracle(farm: Farm) -> tuple[dict[str, tuple[int, int]], dict[tuple[str, str], int]]:
    """Total and free by flavour, and startable by flavour and size."""
    counted = {flavor: [0, 0] for flavor in FLAVORS}
    startable = {(flavor, size): 0 for flavor in FLAVORS for size in SIZES}
    for name, one in farm.nodes.items():
        here = [
            each
            for each in farm.pods.values()
            if each["spec"].get("nodeName") == name
            and each["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        have = {key: number(text) for key, text in one["status"]["allocatable"].items()}

        def left(resource: str, have: Any = have, here: Any = here) -> Decimal:
            used = sum(taken(each).get(resource, Decimal(0)) for each in here)
            return max(Decimal(0), have.get(resource, Decimal(0)) - used)

        places = max(0, int(have["pods"]) - len(here))
        fitting = [flavor for flavor in FLAVORS if goes(one, flavor)]
        kept_cpu = kept_memory = kept_places = Decimal(0)
        for resource in {CATALOG.flavors[flavor].resource for flavor in fitting} - {None}:
            # In the catalog of these tests "small" is the smallest size of every flavour.
            kept_cpu += left(str(resource)) * 2
            kept_memory += left(str(resource)) * 8 * GIB
            kept_places += left(str(resource))
        for flavor in fitting:
            resource = CATALOG.flavors[flavor].resource
            for size in sizes_of(flavor):
                need = CATALOG.sizes[size]
                cpu, memory, bound = left("cpu"), left("memory"), places
                if resource is None:
                    cpu, memory = max(Decimal(0), cpu - kept_cpu), max(0, memory - kept_memory)
                    bound = max(0, int(places - kept_places))
                else:
                    bound = min(bound, int(left(resource)))
                fits = min(bound, int(cpu / Decimal(str(need.cpu))), int(memory / need.memory))
                startable[flavor, size] += fits
                if resource is None and size == "small":
                    counted[flavor][1] += fits
                    counted[flavor][0] += fits + sum(
                        each["metadata"]["labels"].get("arcetri.dev/flavor") == flavor
                        and each["metadata"]["namespace"] == "sessions"
                        for each in here
                    )
            if resource is not None:
                counted[flavor][0] += int(have.get(resource, 0))
                counted[flavor][1] += int(left(resource))
    return {flavor: (total, free) for flavor, (total, free) in counted.items()}, startable


def goes(one: JsonObject, flavor: str) -> bool:
    entry = CATALOG.flavors[flavor]
    labels = one["metadata"]["labels"]
    return (
        {"type": "Ready", "status": "True"} in one["status"]["conditions"]
        and not one["spec"].get("unschedulable")
        and "deletionTimestamp" not in one["metadata"]
        and all(labels.get(key) == value for key, value in entry.nodes.items())
        and all(
            taint["effect"] == "PreferNoSchedule" or taint["key"] in entry.tolerations
            for taint in one["spec"]["taints"]
        )
    )


def sizes_of(flavor: str) -> list[str]:
    return [
        name for name, size in CATALOG.sizes.items() if not size.flavors or flavor in size.flavors
    ]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_after_any_events_it_says_what_counting_everything_again_says(
    seed: int, steps: int
) -> None:
    farm, kept = Farm(seed), stock()
    for step in range(steps):
        what, arg = farm.change()
        getattr(kept, what)(arg)
        if step % 7 == 6 and farm.random.random() < 0.3:  # a watch that begins again
            assert not any(kept.put_node(node) for node in farm.nodes.values())
            assert not any(kept.put_pod(pod) for pod in farm.pods.values())
        if farm.random.random() < 0.5:  # a page that asks now and then
            kept.inventory(NOW)
    counted, startable = oracle(farm)
    assert {flavor: count(kept, flavor) for flavor in FLAVORS} == counted
    assert {key: kept.startable(*key) for key in startable} == startable
    needs = Offering.of(CATALOG).needs
    for (flavor, size), sessions in startable.items():
        if size in sizes_of(flavor):
            assert sum(room.sessions for room in kept.rooms(flavor, needs[size])) == sessions
            assert kept.room(flavor, needs[size]) == sessions
    fresh = stock(*farm.pods.values(), *farm.nodes.values())
    assert fresh.inventory(NOW) == kept.inventory(NOW)


def test_the_farms_of_the_test_have_something_of_everything() -> None:
    seen: set[tuple[str, bool, bool]] = set()
    kept_back = False
    for seed in range(300):
        farm = Farm(seed)
        for _ in range(40):
            farm.change()
        counted, startable = oracle(farm)
        seen |= {(flavor, total > free, free > 0) for flavor, (total, free) in counted.items()}
        kept_back = kept_back or 0 < startable["cpu", "small"] < 8
    assert {(flavor, True, True) for flavor in ("t4", "rtx", "a100-1g", "cpu")} <= seen
    assert kept_back


# By example ------------------------------------------------------------------------------------


def test_a_free_device_is_one_that_no_pod_of_any_namespace_has() -> None:
    kept = stock(gpu_node(), gpu_pod("a"), gpu_pod("b", namespace="kube-system"))
    assert count(kept, "t4") == (4, 2)
    assert count(kept, "rtx") == (0, 0)
    kept.put_pod(gpu_pod("a", phase="Succeeded"))
    assert count(kept, "t4") == (4, 3)
    kept.drop_pod("b")
    assert count(kept, "t4") == (4, 4)


@pytest.mark.parametrize(
    "trouble",
    [
        {"ready": "False"},
        {"ready": "Unknown"},
        {"cordoned": True},
        {"leaving": True},
        {"taints": [GPU_TAINT, {"key": "maintenance", "effect": "NoSchedule"}]},
        {"taints": [{"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}]},
    ],
)
def test_a_node_in_trouble_counts_no_more_and_counts_again_afterwards(trouble: Any) -> None:
    kept = stock(gpu_node(), gpu_node("n2"))
    assert count(kept, "t4") == (8, 8)
    bad = node("n2", **{"labels": T4, "nvidia.com/gpu": "4", **trouble})
    assert kept.put_node(bad)
    assert count(kept, "t4") == (4, 4)
    assert kept.put_node(gpu_node("n2"))
    assert count(kept, "t4") == (8, 8)


def test_no_node_that_could_is_told_from_none_that_has_room() -> None:
    def nowhere(kept: Stock, flavor: str = "cpu") -> bool:
        return kept.inventory(NOW).flavors[flavor].nowhere

    kept = stock()
    assert nowhere(kept)
    kept.put_node(node())
    assert (nowhere(kept), nowhere(kept, "t4")) == (False, True)
    kept.put_pod(pod("full", "n1", container(cpu="16")))
    assert (count(kept, "cpu"), nowhere(kept)) == ((0, 0), False)
    # All that a node has may be kept for its devices.
    shared = {"labels": T4, "cpu": "8", "nvidia.com/gpu": "4"}
    kept.put_node(node("n2", **shared))
    kept.drop_node("n1")
    assert (count(kept, "cpu"), nowhere(kept)) == ((0, 0), False)
    kept.put_node(node("n2", cordoned=True, **shared))
    assert nowhere(kept)
    kept.put_node(node("n3", ready="False"))
    assert nowhere(kept)
    kept.put_node(node("n3"))
    assert not nowhere(kept)
    kept.drop_node("n3")
    assert nowhere(kept)
    labelled = stock(node(), site=site(nodeSelector={"pool": "users"}))
    assert nowhere(labelled)


def test_another_mig_layout_counts_at_once() -> None:
    kept = stock(gpu_node())
    kept.put_node(gpu_node(gpus=3, **{"nvidia.com/mig-1g.5gb": "7"}))
    assert count(kept, "t4") == (3, 3)
    assert count(kept, "a100-1g") == (0, 0)  # this flavour does not tolerate the taint
    untainted = node(labels=T4, **{"nvidia.com/gpu": "3", "nvidia.com/mig-1g.5gb": "7"})
    kept.put_node(untainted)
    assert count(kept, "a100-1g") == (7, 7)


def test_fewer_devices_than_are_held_is_none_free() -> None:
    kept = stock(gpu_node(), *(gpu_pod(f"u{n}") for n in range(4)))
    kept.put_node(gpu_node(gpus=2))
    assert count(kept, "t4") == (2, 0)


def test_pods_may_come_before_their_node_and_stay_after_it() -> None:
    kept = stock(gpu_pod("a"))
    assert count(kept, "t4") == (0, 0)
    kept.put_node(gpu_node())
    assert count(kept, "t4") == (4, 3)
    kept.drop_node("n1")
    assert count(kept, "t4") == (0, 0)
    kept.put_node(gpu_node())
    assert count(kept, "t4") == (4, 3)


def test_startable_is_counted_node_by_node() -> None:
    # Together there is room for two large sessions (8 cores, 32 GiB), on no node for more than one.
    kept = stock(
        gpu_node("n1", cpu="12", memory="48Gi"),
        gpu_node("n2", cpu="12", memory="48Gi"),
        gpu_node("n3", cpu="7", memory="512Gi"),
        gpu_node("n4", cpu="64", memory="512Gi", pods="0"),
    )
    assert kept.startable("t4", "large") == 2
    large = Offering.of(CATALOG).needs["large"]
    assert [room.hostname for room in kept.rooms("t4", large)] == ["n1.farm", "n2.farm"]
    assert kept.startable("t4", "small") == 4 + 4 + 3
    assert kept.inventory(NOW).flavors["t4"].rooms == {"small": 11, "large": 2}
    assert kept.startable("cpu", "large") == 0  # a size that does not go with it
    with pytest.raises(KeyError):
        kept.startable("t4", "huge")
    with pytest.raises(KeyError):
        kept.startable("h100", "small")


def test_cpu_sessions_leave_what_the_free_devices_need() -> None:
    shared = node(labels=T4, cpu="16", memory="64Gi", **{"nvidia.com/gpu": "4"})
    kept = stock(shared)
    # Four devices times (2 cores, 8 GiB) are kept: 8 cores and 32 GiB are left for others.
    assert kept.startable("cpu", "small") == 4
    assert kept.startable("t4", "small") == 4
    for n in range(4):
        kept.put_pod(pod(f"c{n}", "n1", container(cpu="2", memory="8Gi"), flavor="cpu"))
    assert kept.startable("cpu", "small") == 0
    assert count(kept, "cpu") == (4, 0)
    assert kept.startable("t4", "small") == 4
    # A device that is held keeps nothing more than its session has.
    kept.put_pod(gpu_pod("g"))
    assert kept.startable("cpu", "small") == 0
    assert kept.startable("t4", "small") == 3
    # A device that no flavour can hand out there keeps nothing.
    kept.put_node(node(cpu="16", memory="64Gi", **{"nvidia.com/gpu": "4"}))
    assert kept.startable("cpu", "small") == 3


def test_cpu_sessions_go_first_where_no_device_waits_and_where_least_is_left() -> None:
    kept = stock(
        node("a-gpu", labels=T4, cpu="12", **{"nvidia.com/gpu": "2"}),
        node("b-big", cpu="32", memory="256Gi"),
        node("c-plain"),
    )
    small = Offering.of(CATALOG).needs["small"]
    rooms = [(room.hostname, room.sessions) for room in kept.rooms("cpu", small)]
    assert rooms == [("c-plain.farm", 8), ("b-big.farm", 16), ("a-gpu.farm", 4)]


def test_the_sites_own_selector_tolerations_and_containers_count() -> None:
    taint = {"key": "hub.jupyter.org/dedicated", "value": "user", "effect": "NoSchedule"}
    users = node("users", labels={"pool": "users"}, taints=[taint])
    assert stock(users, node("other")).startable("cpu", "small") == 8
    added = site(
        nodeSelector={"pool": "users"},
        tolerations=[{"key": "hub.jupyter.org/dedicated", "value": "user"}],
        containers=[container("notebook"), container("proxy", cpu="2", memory="1Gi")],
    )
    assert stock(users, node("other"), site=added).startable("cpu", "small") == 4


def site(**spec: Any) -> Site:
    """What a site adds whose settings make a pod of this spec."""
    return Site.of({"spec": {"containers": [container("notebook")], **spec}})


@pytest.mark.parametrize(
    ("spec", "fit"),
    [
        ({}, 8),
        # A plain init container runs alone: it counts only where it takes more than the rest.
        ({"initContainers": [container("i", cpu="2", memory="1Gi")]}, 8),
        ({"initContainers": [container("i", cpu="4", memory="1Gi")]}, 4),
        ({"initContainers": [container("i", cpu="2", memory="1Gi", always=True)]}, 4),
        ({"containers": [container("notebook"), {"name": "no-requests"}]}, 8),
        ({"containers": [container("n"), {"resources": {"limits": {"cpu": "14"}}}]}, 1),
        # The size bounds the notebook, whatever the site asks for it.
        ({"containers": [container("n", cpu="9", memory="60Gi")]}, 8),
        ({"containers": [container("n", **{"example.org/licence": "1"})]}, 3),
        # Devices of the catalog's vendors are taken from every container.
        ({"containers": [container("n"), container("x", **{"nvidia.com/gpu": "1"})]}, 8),
    ],
)
def test_what_a_site_adds_is_counted_as_the_scheduler_does(spec: JsonObject, fit: int) -> None:
    one = node("n1", cpu="16", memory="64Gi", **{"example.org/licence": "3"})
    assert stock(one, site=site(**spec)).startable("cpu", "small") == fit


@pytest.mark.parametrize(
    ("terms", "fit"),
    [
        ([{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a", "b"]}]}], True),
        ([{"matchExpressions": [{"key": "pool", "operator": "NotIn", "values": ["a"]}]}], False),
        ([{"matchExpressions": [{"key": "no", "operator": "NotIn", "values": ["a"]}]}], True),
        ([{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}], True),
        ([{"matchExpressions": [{"key": "pool", "operator": "DoesNotExist"}]}], False),
        ([{"matchExpressions": [{"key": "disk", "operator": "Gt", "values": ["9"]}]}], True),
        ([{"matchExpressions": [{"key": "disk", "operator": "Lt", "values": ["9"]}]}], False),
        ([{"matchExpressions": [{"key": "no", "operator": "Lt", "values": ["9"]}]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}], True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}], False),
        ([{}], False),
        ([{}, {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}], True),
    ],
)
def test_node_affinity_that_a_site_requires_is_counted(terms: list[JsonObject], fit: bool) -> None:
    one = node("n1", labels={"pool": "a", "disk": "10"})
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    kept = stock(one, site=site(affinity={"nodeAffinity": required}))
    assert (kept.startable("cpu", "small") > 0) is fit


def test_a_device_without_room_beside_it_is_free_and_starts_nothing() -> None:
    one = gpu_node(cpu="5", memory="64Gi")
    assert count(stock(one), "t4") == (4, 4)
    assert stock(one).inventory(NOW).flavors["t4"].startable == 2
    added = site(containers=[container("notebook"), container("proxy", cpu="4")])
    assert count(stock(one, site=added), "t4") == (4, 4)
    assert stock(one, site=added).inventory(NOW).flavors["t4"].startable == 0


def test_devices_keep_room_for_a_whole_session_with_what_the_site_adds() -> None:
    one = gpu_node(cpu="16", memory="64Gi")
    added = site(containers=[container("notebook"), container("proxy", cpu="1", memory="1Gi")])
    tolerant = CATALOG.model_copy(
        update={
            "flavors": {
                **CATALOG.flavors,
                "cpu": CATALOG.flavors["cpu"].model_copy(
                    update={"tolerations": ("nvidia.com/gpu",)}
                ),
            }
        }
    )
    assert stock(one, catalog=tolerant).startable("cpu", "small") == 4
    # Four devices keep 3 cores each, and 4 of 16 are left for sessions of 3.
    assert stock(one, catalog=tolerant, site=added).startable("cpu", "small") == 1


def test_a_pod_that_is_none_says_where() -> None:
    with pytest.raises(BadManifest, match=r"spec\.tolerations"):
        site(tolerations="all")


def test_another_catalog_counts_from_now_on() -> None:
    kept = stock(gpu_node())
    assert count(kept, "t4") == (4, 4)
    kept.offer(Offering.of(cluster_catalog().model_copy(update={"sizes": {}})))
    assert count(kept, "t4") == (4, 4)
    assert count(kept, "cpu") == (0, 0)


def test_news_without_news_is_none_and_a_change_touches_one_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [gpu_node(f"n{n}") for n in range(200)]
    pods = [gpu_pod(f"u{n}", on=f"n{n % 200}") for n in range(600)]
    kept = stock(*nodes, *pods)
    assert count(kept, "t4") == (800, 200)
    assert not any(kept.put_pod(each) for each in pods)
    assert not any(kept.put_node(each) for each in nodes)
    assert not kept.drop_pod("unknown")
    assert not kept.drop_node("unknown")
    looked: list[str] = []
    part = tally.Tally._part
    monkeypatch.setattr(
        tally.Tally,
        "_part",
        lambda self, book: (looked.append(book.facts.name), part(self, book))[1],
    )
    assert count(kept, "t4") == (800, 200)
    assert looked == []
    kept.drop_pod("u0")
    assert count(kept, "t4") == (800, 201)
    assert set(looked) == {"n0"}


def test_stale_numbers_say_so() -> None:
    found = stock(gpu_node()).inventory(NOW, stale=True)
    assert found.stale
    assert found.as_of == NOW
    assert found.flavors["t4"].total == 4


# What a pod takes, by Kubernetes' own examples ---------------------------------------------------


@pytest.mark.parametrize(
    ("init", "containers", "cpu"),
    [
        ([], ["1", "2"], 3000),
        (["5"], ["1", "2"], 5000),
        (["1", "2"], ["2"], 2000),
        (["+1"], ["2"], 3000),
        (["+1", "4"], ["2"], 5000),
        (["4", "+1"], ["2"], 4000),
        (["+1", "+2", "1"], ["1"], 4000),
        (["100m"], [], 100),
    ],
)
def test_init_containers_and_sidecars(init: list[str], containers: list[str], cpu: int) -> None:
    made = pod(
        "u",
        "n1",
        *(container(f"c{n}", cpu=text) for n, text in enumerate(containers)),
        init=[
            container(f"i{n}", cpu=text.removeprefix("+"), always=text.startswith("+"))
            for n, text in enumerate(init)
        ],
    )
    assert demand_of(made).get("cpu") == cpu


def test_a_pods_own_requests_its_overhead_and_a_limit_alone() -> None:
    made = pod(
        "u",
        "n1",
        {"name": "c", "resources": {"limits": {"cpu": "2", "nvidia.com/gpu": 1}}},
        resources={"requests": {"cpu": "3"}},
        overhead={"cpu": "250m", "memory": "1Mi"},
    )
    assert demand_of(made) == {"cpu": 3250, "nvidia.com/gpu": 1, "memory": 1 << 20}


def test_a_container_that_is_resized_counts_by_the_largest() -> None:
    made = pod("u", "n1", container("c", cpu="1"))
    made["status"]["containerStatuses"] = [
        {"name": "c", "resources": {"requests": {"cpu": "4"}}, "allocatedResources": {"cpu": "2"}}
    ]
    assert demand_of(made) == {"cpu": 4000}
    made["spec"]["containers"] = [container("c", cpu="64")]
    assert demand_of(made) == {"cpu": 64000}
    made["status"]["conditions"] = [{"type": "PodResizePending", "reason": "Infeasible"}]
    assert demand_of(made) == {"cpu": 4000}


def test_a_pod_that_is_resized_as_a_whole_counts_by_the_largest() -> None:
    made = pod("u", "n1", container("c", cpu="1"), resources={"requests": {"cpu": "2"}})
    assert demand_of(made) == {"cpu": 2000}
    made["status"] |= {"resources": {"requests": {"cpu": "5"}}, "allocatedResources": {"cpu": "3"}}
    assert demand_of(made) == {"cpu": 5000}
