"""Who has room on which node: no order of starts and events ever strands a free GPU."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.claims import Claims
from arcetri_spawner.backends.kubernetes.inventory import Stock
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.site import Need
from tests.spawner.kubernetes.cluster import GPU_TAINT, RTX, T4, container, node, pod
from tests.spawner.kubernetes.stocks import OFFERING, claims, stock
from tests.support.builders import GIB, grant

GPU = "nvidia.com/gpu"
SIZES = {"small": Need(2000, 8 * GIB), "large": Need(8000, 32 * GIB)}


def mark(made: JsonObject, session: UUID, flavor: str) -> JsonObject:
    """A pod that says which session of the platform it is."""
    made["metadata"]["labels"] |= {
        podmarks.SESSION: str(session),
        podmarks.INSTANCE: "arcetri",
        podmarks.FLAVOR: flavor,
    }
    return made


class Cluster:
    """The truth, a hub that hears of it late, and a scheduler that puts pods where they must go."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret
        self.nodes = {made["metadata"]["name"]: made for made in self._nodes()}
        self.truth = Stock(OFFERING, instance="arcetri", namespace="sessions")
        self.stock = Stock(OFFERING, instance="arcetri", namespace="sessions")
        for made in self.nodes.values():
            self.truth.put_node(made)
            self.stock.put_node(made)
        self.claims = Claims(
            self.stock,
            lambda: OFFERING,
            fresh=lambda: True,
            has_pod=lambda session: session in self.seen,
            is_placed=lambda session: session in self.seen,
            changed=lambda: None,
        )
        self.admitted: dict[UUID, tuple[str, str, Need]] = {}
        """By session: the node that it was given, its flavour, and what it takes."""
        self.placed: dict[UUID, JsonObject] = {}
        self.seen: set[UUID] = set()
        self._unheard: list[tuple[UUID, JsonObject | None]] = []

    def _nodes(self) -> list[JsonObject]:
        return [
            node(
                f"n{number}",
                labels=self.random.choice([T4, T4, RTX]),
                taints=self.random.choice([[], [], [GPU_TAINT]]),
                cpu=self.random.choice(["8", "16", "22"]),
                memory=self.random.choice(["64Gi", "100Gi"]),
                pods=self.random.choice(["110", "5"]),
                **{GPU: self.random.choice(["0", "2", "4"])},
            )
            for number in range(self.random.choice([1, 2, 3]))
        ]

    def step(self) -> None:
        """Something happens: a start is asked for, a pod is placed or ends, the hub hears of it."""
        what = self.random.choice(["ask", "ask", "ask", "place", "place", "hear", "hear", "end"])
        getattr(self, what)()

    def ask(self) -> None:
        flavor = self.random.choice(["cpu", "cpu", "t4", "rtx"])
        size = "small" if flavor == "cpu" else self.random.choice(["small", "large"])
        session = uuid4()
        given = self.claims.take(session, flavor, SIZES[size])
        if given is not None:
            self.admitted[session] = given.removesuffix(".farm"), flavor, SIZES[size]

    def place(self) -> None:
        coming = [session for session in self.admitted if session not in self.placed]
        if not coming:
            return
        session = self.random.choice(coming)
        on, flavor, need = self.admitted[session]
        asks = {"cpu": f"{need.cpu}m", "memory": str(need.memory)}
        resource = OFFERING.flavors[flavor].resource
        asks |= {resource: "1"} if resource else {}
        made = mark(pod(str(session), on, container(**asks)), session, flavor)
        self.placed[session] = made
        self._fits(made, on)
        self.truth.put_pod(made)
        self._unheard.append((session, made))

    def _fits(self, made: JsonObject, on: str) -> None:
        """What was admitted has room where it was admitted."""
        book = self.truth._nodes[on]
        (one,) = made["spec"]["containers"]
        asks = one["resources"]["requests"]
        assert book.left("cpu") >= int(asks["cpu"][:-1])
        assert book.left("memory") >= int(asks["memory"])
        assert book.left("pods") >= 1
        assert book.left(GPU) >= int(asks.get(GPU, 0))

    def hear(self) -> None:
        if not self._unheard:
            return
        session, made = self._unheard.pop(0)
        if made is None:
            self.stock.drop_pod(str(session))
            self.seen.discard(session)
        else:
            self.seen.add(session)
            self.stock.put_pod(made)

    def end(self) -> None:
        if not self.placed:
            return
        session = self.random.choice(sorted(self.placed))
        del self.placed[session], self.admitted[session]
        self.truth.drop_pod(str(session))
        self._unheard.append((session, None))

    def settle(self) -> None:
        """All that was admitted is placed."""
        while len(self.placed) < len(self.admitted):
            self.place()

    def stranded(self) -> Mapping[str, tuple[int, int]]:
        """Free GPUs, and how many of them could start, of nodes with CPU-only sessions."""
        found = {}
        for name, book in self.truth._nodes.items():
            flavors = {one.flavor for one in book.pods.values()}
            if "cpu" not in flavors or self._large(name):
                continue
            free = book.left(GPU)
            able = min(book.left("cpu") // 2000, book.left("memory") // (8 * GIB))
            able = min(able, book.left("pods"))
            if able < free:
                found[name] = free, able
        return found

    def _large(self, name: str) -> bool:
        """Whether a large session on a GPU has what others needed: that is not forbidden."""
        return any(on == name and need == SIZES["large"] for on, _, need in self.admitted.values())


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 80))
def test_no_order_of_starts_and_events_strands_a_free_gpu(seed: int, steps: int) -> None:
    cluster = Cluster(seed)
    for _ in range(steps):
        cluster.step()
    cluster.settle()
    assert not cluster.stranded()
    # And what was said to be free starts: every GPU that is left, with the smallest size.
    for flavor in ("t4", "rtx"):
        room = cluster.truth.room(flavor, SIZES["small"])
        while cluster._unheard:
            cluster.hear()
        taken = [cluster.claims.take(uuid4(), flavor, SIZES["small"]) for _ in range(room + 1)]
        assert [bool(one) for one in taken] == [True] * room + [False]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 80))
def test_a_cpu_only_start_never_takes_what_a_gpu_could_start_with(seed: int, steps: int) -> None:
    cluster = Cluster(seed)
    for _ in range(steps):
        cluster.step()
        before = [cluster.stock.room(flavor, SIZES["small"]) for flavor in ("t4", "rtx")]
        cluster.claims.take(uuid4(), "cpu", SIZES["small"])
        after = [cluster.stock.room(flavor, SIZES["small"]) for flavor in ("t4", "rtx")]
        assert after == before


def test_a_place_is_one_until_its_pod_has_it_or_it_is_given_back() -> None:
    kept = stock(node(labels=T4, cpu="16", memory="64Gi", **{GPU: "4"}))
    given = claims(kept)
    one, small = grant(flavor="cpu", flavor_type="cpu"), SIZES["small"]
    assert given.take(one.request_id, "cpu", small) == "n1.farm"
    assert given.node(one.request_id) == "n1.farm"
    assert kept.room("cpu", small) == 3
    # Asking again moves it, and takes no second one.
    assert given.take(one.request_id, "cpu", small) == "n1.farm"
    assert kept.room("cpu", small) == 3
    made = pod("u", "n1", container(cpu="2", memory="8Gi"))
    kept.put_pod(mark(made, one.request_id, "cpu"))
    assert not kept.is_held(one.request_id)
    assert kept.room("cpu", small) == 3
    kept.drop_pod("u")
    assert kept.room("cpu", small) == 4
    given.take(one.request_id, "cpu", small)
    given.keep({uuid4()})
    assert kept.room("cpu", small) == 4


def test_where_there_is_no_room_or_nobody_can_say_no_place_is_given() -> None:
    kept = stock(node(labels=T4, cpu="9", **{GPU: "4"}))
    one, small = uuid4(), SIZES["small"]
    assert claims(kept).take(one, "cpu", small) is None
    assert claims(kept).take(one, "t4", small, "n2.farm") is None
    assert claims(kept, fresh=False).take(one, "t4", small) is None
    assert claims(kept).take(one, "h100", small) is None
    assert claims(kept).take(one, "t4", small, "n1.farm") == "n1.farm"


@pytest.mark.parametrize("trouble", [{"cordoned": True}, {"ready": "Unknown"}, {"labels": RTX}])
def test_a_place_on_a_node_in_trouble_is_none(trouble: dict[str, Any]) -> None:
    kept = stock(node(labels=T4, **{GPU: "4"}))
    given, one = claims(kept), uuid4()
    given.take(one, "t4", SIZES["small"])
    kept.put_node(node(**{"labels": T4, GPU: "4", **trouble}))
    assert given.node(one) is None
    kept.drop_node("n1")
    assert given.node(one) is None
    kept.put_node(node(labels=T4, **{GPU: "4"}))
    assert given.node(one) == "n1.farm"


def test_a_place_may_be_remembered_before_its_node_is_known() -> None:
    kept, one = stock(), uuid4()
    given = claims(kept)
    given.hold(one, "t4", SIZES["small"], "n1.farm")
    assert given.node(one) is None
    kept.put_node(node(labels=T4, **{GPU: "4"}))
    assert given.node(one) == "n1.farm"
    assert kept.room("t4", SIZES["small"]) == 3
    # A session whose pod is there is counted by that.
    claims(kept, frozenset({one})).hold(one, "t4", SIZES["small"], "n1.farm")
    assert kept.room("t4", SIZES["small"]) == 3
