"""What queues admit at most, as their objects say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from arcetri_spawner.backends.kubernetes.kueue import lines
from arcetri_spawner.backends.kubernetes.kueue.bounds import bounds, silent
from arcetri_spawner.backends.kubernetes.kueue.queue import KueueQueue
from arcetri_spawner.backends.kubernetes.kueue.watching import Watching
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.policy import queueing
from arcetri_spawner.queues.farm import Farm, Pool
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.plan import plan
from kueue_client import ClusterQueue, KueueError, LocalQueue, NotInstalled, VisibilityDown
from tests.spawner.kubernetes.plans import cluster_catalog
from tests.support.builders import ASTRO, CMS, grant

NAMES = Names("farm", "sessions")
OF = cluster_catalog()
FARM = Farm({"t4": 4}, (Pool({"t4": 4}, 4),))
FLAVORS = tuple(OF.groups[CMS].flavors)
T4 = OF.flavors["t4"].title


class Queues:
    """Those that are made of the catalog, some of them changed."""

    def __init__(self) -> None:
        made = plan(OF, Offering.of(OF), FARM, NAMES).objects
        self.local = {one.name: one for one in made if isinstance(one, LocalQueue)}
        self.pools = {one.name: one for one in made if isinstance(one, ClusterQueue)}

    def change(self, which: str, group: str, **changes: Any) -> None:
        kept: dict[str, Any] = self.pools if which == "pool" else self.local
        name = NAMES.cluster_queue(group) if which == "pool" else NAMES.local_queue(group)
        wire = kept[name].to_wire()
        kept[name] = type(kept[name]).from_wire(
            {**wire, **{key: {**wire.get(key, {}), **value} for key, value in changes.items()}}
        )

    def bounds(self) -> Any:
        return bounds(OF, NAMES, self.local, self.pools)


@pytest.fixture
def queues() -> Queues:
    return Queues()


def active(status: str, reason: str = "FlavorNotFound") -> dict[str, Any]:
    one = {
        "type": "Active",
        "status": status,
        "reason": reason,
        "message": "so it is",
        "lastTransitionTime": "2026-11-23T10:00:00Z",
    }
    return {"conditions": [one]}


def of_cms(queues: Queues) -> dict[str, tuple[int, str]]:
    """What bounds CMS; nothing of its queue's is anybody else's."""
    found = queues.bounds()
    assert found.pop((ASTRO, "t4")).most == 2
    assert all(group == CMS for group, _ in found)
    return {flavor: (bound.most, bound.reason.code) for (_, flavor), bound in found.items()}


def test_queues_as_the_catalog_has_them_bound_nothing(queues: Queues) -> None:
    assert OF.groups[CMS].flavors["t4"].quota == 2
    # Who has no quota has what the others leave of the four.
    assert {key: one.most for key, one in queues.bounds().items()} == {(ASTRO, "t4"): 2}


@pytest.mark.parametrize(
    ("which", "changes", "code"),
    [
        ("local", {"spec": {"stopPolicy": "Hold"}}, "queue_closed"),
        ("local", {"spec": {"stopPolicy": "HoldAndDrain"}}, "queue_closed"),
        ("local", {"spec": {"clusterQueue": "gone"}}, "queue_unready"),
        ("pool", {"spec": {"stopPolicy": "Hold"}}, "queue_closed"),
        ("pool", {"status": active("False")}, "queue_unready"),
        ("pool", {"status": active("True", "Ready")}, None),
    ],
)
def test_a_queue_that_admits_nothing_says_why(
    queues: Queues, which: str, changes: dict[str, Any], code: str | None
) -> None:
    queues.change(which, CMS, **changes)
    assert of_cms(queues) == ({} if code is None else dict.fromkeys(FLAVORS, (0, code)))


def test_a_queue_that_is_missing_admits_nothing(queues: Queues) -> None:
    del queues.local[NAMES.local_queue(CMS)]
    assert of_cms(queues) == dict.fromkeys(FLAVORS, (0, "queue_unready"))


@pytest.mark.parametrize(
    ("nominal", "bound"),
    [("0", (0, "queue_too_large")), ("1", (1, "queue_too_large")), ("2", None)],
)
def test_a_queue_that_has_less_than_is_promised_bounds_its_group(
    queues: Queues, nominal: str, bound: tuple[int, str] | None
) -> None:
    pool = queues.pools[NAMES.cluster_queue(CMS)]
    wire = pool.to_wire()
    for flavor in wire["spec"]["resourceGroups"][0]["flavors"]:
        if flavor["name"] == NAMES.flavor("t4"):
            quota = next(r for r in flavor["resources"] if r["name"] == "nvidia.com/gpu")
            quota["nominalQuota"] = nominal
    queues.pools[pool.name] = ClusterQueue.from_wire(wire)
    assert of_cms(queues) == ({} if bound is None else {"t4": bound})


def test_a_flavour_that_a_queue_does_not_have_is_not_given_out(queues: Queues) -> None:
    pool = queues.pools[NAMES.cluster_queue(CMS)]
    group = pool.spec.resource_groups[0]
    group.flavors = [one for one in group.flavors if one.name != NAMES.flavor("t4")]
    assert of_cms(queues) == {"t4": (0, "queue_no_flavor")}
    assert queues.bounds()[CMS, "t4"].reason == queueing.no_flavor(CMS, T4)


def test_while_kueue_is_silent_nothing_starts_for_anybody() -> None:
    found = silent(OF)
    assert {(CMS, "t4"), (ASTRO, "t4"), (EVERYONE, "cpu")} <= found.keys()
    assert {(one.most, one.reason.code) for one in found.values()} == {(0, "queue_silent")}


NONE: Any = None
HELD: Any = SimpleNamespace(current=SimpleNamespace(catalog=OF))


def test_of_what_could_not_be_told_nothing_is_free() -> None:
    queue = KueueQueue(NONE, NAMES, "farm", HELD, NONE)
    assert queue.bounds() == {}, "nobody has been asked for anything"
    one = grant()
    queue._unsent[one.request_id] = one
    queue._silent = True
    assert queue.bounds() == silent(OF)


def test_while_kueue_is_told_of_a_backlog_other_groups_are_free() -> None:
    queue = KueueQueue(NONE, NAMES, "farm", HELD, NONE)
    one = grant(group=CMS)
    queue._unsent[one.request_id] = one
    assert set(queue.bounds()) == {key for key in silent(OF) if key[0] == CMS}


class Asked:
    """Kueue's visibility, which answers as it is told."""

    def __init__(self, *answers: KueueError | None) -> None:
        self._answers = list(answers)

    async def pending(self, *_: object, most: int) -> tuple[()]:
        assert most == 1
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer
        return ()


DOWN = VisibilityDown("it does not answer")


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ((None,), True),
        # A silence of a moment is none, and who may not ask knows nothing.
        ((DOWN, None), True),
        ((NotInstalled("there is nothing"),), True),
        ((DOWN, DOWN), False),
    ],
)
async def test_whether_kueue_answers(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[KueueError | None, ...], found: bool
) -> None:
    monkeypatch.setattr(lines, "AGAIN", 0.0)
    asked: Any = Asked(*answers)
    assert await lines.Lines(asked, "sessions").answers("group-cms") is found
    assert not asked._answers


def test_what_was_read_of_queues_is_told_until_they_or_the_catalog_change(queues: Queues) -> None:
    def followed(there: Any) -> Any:
        return SimpleNamespace(there=there, known=True, trouble=None)

    platform = SimpleNamespace(catalog=OF, names=NAMES)
    here: Any = SimpleNamespace(
        answers=True,
        _platform=platform,
        _queues=followed(queues.local),
        _pools=followed(queues.pools),
        _bounds=None,
        _stale=SimpleNamespace(set=lambda: None),
    )
    before = Watching.bounds(here)
    assert before == queues.bounds()
    assert Watching.bounds(here) is before
    queues.change("local", CMS, spec={"stopPolicy": "Hold"})
    Watching._queue_changed(here, None, queues.local[NAMES.local_queue(CMS)])
    assert Watching.bounds(here) == queues.bounds() != before
    platform.catalog = cluster_catalog()
    assert Watching.bounds(here) is not before
    here._pools.trouble = DOWN
    assert Watching.bounds(here) == silent(OF)
    here._pools.trouble, here.answers = None, False
    assert Watching.bounds(here) == silent(OF)
    here.answers, here._queues.known = True, False
    assert Watching.bounds(here) == {}
