"""A pod is followed to its end, or to where nobody can say any more whether it has one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from arcetri_spawner.backends.base import Exited
from arcetri_spawner.backends.kubernetes import following, mirror
from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, Object
from arcetri_spawner.backends.kubernetes.cluster import NODES, PODS, Cluster
from arcetri_spawner.backends.kubernetes.following import Following
from arcetri_spawner.usage import tell_nobody_of
from tests.spawner.kubernetes import cluster as objects
from tests.spawner.kubernetes.stocks import stock

SESSION = UUID("8c2f6d1e-0b7a-4f0e-9a55-0d2d6a3f1c77")
PATIENCE = 10.0


class Server(Api):
    """An API server that says what it is told to, and keeps what it was asked to delete."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {PODS: {}, NODES: {}}
        self.deleted: list[int | None] = []
        self.away = False
        self._watches: dict[str, asyncio.Queue[Object | None]] = {}

    def say(self, path: str, item: Object) -> None:
        """Have an object as it is now."""
        item["metadata"].setdefault("uid", item["metadata"]["name"])
        item["metadata"]["resourceVersion"] = str(len(self.objects[path]) + id(item))
        self.objects[path][item["metadata"]["uid"]] = item
        if path in self._watches:
            self._watches[path].put_nowait({"type": "MODIFIED", "object": item})

    def leave(self) -> None:
        """Give no answer from now on."""
        self.away = True
        for events in self._watches.values():
            events.put_nowait(None)

    async def get(self, path: str, **_query: str | int) -> Object:
        if self.away:
            raise ApiAway("away")
        items = [*self.objects.get(path, {}).values()]
        return {"items": items, "metadata": {"resourceVersion": "1"}}

    async def watch(self, path: str, version: str, **_more: str) -> AsyncIterator[Object]:
        del version
        events = self._watches[path] = asyncio.Queue()
        while (event := await events.get()) is not None:
            yield event
        raise ApiAway("away")

    async def delete(self, path: str, *, uid: str = "", grace: int | None = None) -> bool:
        del path, uid
        self.deleted.append(grace)
        return True


def pod(**metadata: object) -> Object:
    made = objects.pod("u1", "n1", objects.container("notebook"), flavor="cpu")
    made["metadata"] |= metadata
    return made


def silent() -> Object:
    return objects.node("n1", ready="Unknown")


@contextlib.asynccontextmanager
async def followed(server: Server) -> AsyncIterator[tuple[Following, Cluster]]:
    """A pod on a node that is well, and who follows it."""
    server.say(NODES, objects.node("n1"))
    server.say(PODS, pod())
    cluster = Cluster(
        server,
        namespace="sessions",
        instance="arcetri",
        stock=stock(),
        changed=lambda: None,
    )
    watches = [asyncio.create_task(work) for work in cluster.watches()]
    await cluster.listed()
    await asyncio.sleep(0.05)
    pods = Following(server, cluster, "sessions", tell_nobody_of)
    try:
        yield pods, cluster
    finally:
        for task in (*watches, *pods.tasks()):
            task.cancel()
        await asyncio.gather(*watches, *pods.tasks(), return_exceptions=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(following, "LOOK", 0.02)
    return Server()


async def outcome(exited: asyncio.Future[Exited], patience: float = PATIENCE) -> Exited | None:
    """How it ended; None where it has not within ``patience``."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(asyncio.shield(exited), patience)
    return None


async def test_a_silent_node_ends_nothing_and_is_told_while_it_is(server: Server) -> None:
    async with followed(server) as (pods, _):
        live = pods.follow(SESSION, pod())
        assert pods.away(pod()) is None
        server.say(NODES, silent())
        assert await outcome(live.exited, 0.2) is None
        away = pods.away(pod())
        assert away is not None
        assert away.node == "n1"
        server.say(NODES, objects.node("n1"))
        await asyncio.sleep(0.05)
        assert pods.away(pod()) is None


@pytest.mark.parametrize("first", ["node", "mark"])
async def test_what_the_cluster_gives_up_on_a_silent_node_is_lost(
    server: Server, first: str
) -> None:
    marked = pod(deletionTimestamp="2026-11-28T07:00:00Z", deletionGracePeriodSeconds=600)
    target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    marked["status"]["conditions"] = [target]
    async with followed(server) as (pods, _):
        live = pods.follow(SESSION, pod())
        says = [(NODES, silent()), (PODS, marked)]
        for path, item in says if first == "node" else reversed(says):
            assert not live.exited.done()
            server.say(path, item)
            await asyncio.sleep(0.05)
        found = await outcome(live.exited)
        assert found is not None
        assert found.reason == "node_lost"
        assert "was lost while its node gave no answer" in found.message
        assert "DeletionByTaintManager" in found.details
        assert pods.live(SESSION) is None
        assert server.deleted == [], "the pod is its node's to end"


async def test_a_stop_on_a_silent_node_is_over_with_its_grace(server: Server) -> None:
    async with followed(server) as (pods, _):
        live = pods.follow(SESSION, pod())
        live.reason = "stopped"
        server.say(NODES, silent())
        server.say(
            PODS, pod(deletionTimestamp="2026-11-28T07:00:00Z", deletionGracePeriodSeconds=1)
        )
        assert await outcome(live.exited, 0.5) is None, "its grace is not over"
        found = await outcome(live.exited)
        assert found is not None
        assert found.reason == "stopped"
        assert "was stopped while its node gave no answer" in found.message


async def test_a_pod_that_ends_on_a_node_that_answers_is_waited_for(server: Server) -> None:
    async with followed(server) as (pods, _):
        live = pods.follow(SESSION, pod())
        server.say(
            PODS, pod(deletionTimestamp="2026-11-28T07:00:00Z", deletionGracePeriodSeconds=0)
        )
        assert await outcome(live.exited, 0.3) is None


async def test_old_news_of_a_node_is_no_news(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "LATE", 0.5 - mirror.WATCH_SECONDS)
    async with followed(server) as (pods, cluster):
        live = pods.follow(SESSION, pod())
        server.say(NODES, silent())
        await asyncio.sleep(0.05)
        assert pods.away(pod()) is not None
        server.leave()
        await asyncio.sleep(0.6)
        assert not cluster.fresh
        assert pods.away(pod()) is None
        marked = pod(deletionTimestamp="2026-11-28T07:00:00Z", deletionGracePeriodSeconds=0)
        cluster._pod(pod(), marked)  # the last that came before the watch broke
        assert await outcome(live.exited, 0.3) is None


@pytest.mark.parametrize(("ready", "grace"), [("True", 0), ("Unknown", 1), ("False", 1)])
async def test_nothing_is_forced_away_from_a_silent_node(
    server: Server, ready: str, grace: int
) -> None:
    async with followed(server) as (pods, _):
        server.say(NODES, objects.node("n1", ready=ready))
        await asyncio.sleep(0.05)
        await pods.remove(SESSION, "u1", 0)
        assert server.deleted == [grace]


async def test_what_is_to_end_already_is_left_to_its_node(server: Server) -> None:
    async def none_live() -> list[UUID]:
        return []

    async with followed(server) as (pods, _):
        await pods.sweep(none_live)
        assert server.deleted == [0], "it belongs to no request"
        server.say(PODS, pod(deletionTimestamp="2026-11-28T07:00:00Z"))
        await asyncio.sleep(0.05)
        await pods.sweep(none_live)
        assert len(server.deleted) == 1
