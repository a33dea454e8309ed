"""A copy of a collection against a server that misbehaves as real ones do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from arcetri_spawner.backends.kubernetes import mirror as module
from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused, Object
from arcetri_spawner.backends.kubernetes.mirror import Mirror

PODS = "/api/v1/pods"


def pod(name: str, version: int) -> Object:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


@dataclass
class Server:
    """An API server with one collection; each list and watch does the next thing it was told."""

    objects: dict[str, Object] = field(default_factory=dict)
    version: int = 1
    lists: int = 0
    watched: list[str] = field(default_factory=list)
    failing: int = 0
    """So many requests are answered with 503."""
    gone: int = 0
    """So many watches are told that their version is too old."""
    refusing: bool = False
    page: int = 500
    url: str = ""
    _events: list[asyncio.Queue[Object | None]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.failing:
            self.failing -= 1
            return web.json_response({"code": 503}, status=503)
        if self.refusing:
            body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "not you"}
            return web.json_response(body, status=403)
        if "watch" in request.query:
            return await self.watch(request)
        self.lists += 1
        items = list(self.objects.values())
        begin = int(request.query.get("continue", 0))
        found = items[begin : begin + self.page]
        more = str(begin + self.page) if begin + self.page < len(items) else ""
        metadata = {"resourceVersion": str(self.version), "continue": more}
        return web.json_response({"metadata": metadata, "items": found})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        self.watched.append(request.query["resourceVersion"])
        answer = web.StreamResponse()
        await answer.prepare(request)
        if self.gone:
            self.gone -= 1
            await self.send(answer, {"type": "ERROR", "object": {"code": 410}})
            return answer
        events: asyncio.Queue[Object | None] = asyncio.Queue()
        self._events.append(events)
        while (event := await events.get()) is not None:
            if event["type"] == "CUT":
                # In the middle of a line.
                await answer.write(b'{"type": "ADDED", "obj')
                assert request.transport is not None
                request.transport.abort()
                break
            await self.send(answer, event)
        return answer

    @staticmethod
    async def send(answer: web.StreamResponse, event: Object) -> None:
        await answer.write(json.dumps(event).encode() + b"\n")

    def tell(self, kind: str, item: Object) -> None:
        for events in self._events:
            events.put_nowait({"type": kind, "object": item})

    def hang_up(self) -> None:
        for events in self._events:
            events.put_nowait(None)
        self._events.clear()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    told = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield told
    told.hang_up()
    await runner.cleanup()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    made = Api(ApiClient(Configuration(host=server.url)))
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def running(api: Api) -> AsyncIterator[tuple[Mirror, list[tuple[Any, Any]]]]:
    """A copy, and what was told of each change: names and versions before and after."""
    changes: list[tuple[Any, Any]] = []

    def changed(before: Object | None, after: Object | None) -> None:
        def short(item: Object | None) -> str | None:
            return item and f"{item['metadata']['name']}@{item['metadata']['resourceVersion']}"

        changes.append((short(before), short(after)))

    copy = Mirror(api, PODS, changed)
    task = asyncio.create_task(copy.run())
    try:
        yield copy, changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_what_is_listed_and_what_comes_after(server: Server, api: Api) -> None:
    server.objects = {"a": pod("a", 1)}
    async with running(api) as (copy, changes):
        await until(lambda: server.watched)
        server.tell("ADDED", pod("b", 2))
        server.tell("MODIFIED", pod("a", 3))
        server.tell("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        server.tell("DELETED", pod("b", 10))
        await until(lambda: len(changes) == 4)
        assert changes == [(None, "a@1"), (None, "b@2"), ("a@1", "a@3"), ("b@10", None)]
        assert [one["metadata"]["name"] for one in copy] == ["a"]
        assert copy.fresh


async def test_a_watch_that_ends_in_order_goes_on_from_where_it_was(
    server: Server, api: Api
) -> None:
    async with running(api) as (_copy, changes):
        await until(lambda: server.watched)
        server.tell("ADDED", pod("a", 7))
        await until(lambda: changes)
        server.hang_up()
        await until(lambda: len(server.watched) == 2)
        assert server.watched == ["1", "7"]
        assert server.lists == 1


async def test_what_has_gone_while_the_server_was_away_is_told_when_it_is_back(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE", 0.3 - module.WATCH_SECONDS)
    server.objects = {"a": pod("a", 1), "b": pod("b", 1)}
    async with running(api) as (copy, changes):
        await until(lambda: server.watched)
        server.failing = 1000
        server.hang_up()
        await until(lambda: not copy.fresh)
        # Nothing is concluded from silence.
        assert len(copy) == 2
        assert len(changes) == 2
        del server.objects["a"]
        server.version = 50
        server.failing = 0
        await until(lambda: len(changes) == 3)
        assert changes[-1] == ("a@1", None)
        await until(lambda: copy.fresh)


async def test_a_server_that_is_overloaded_for_a_moment_is_not_asked_for_everything(
    server: Server, api: Api
) -> None:
    async with running(api) as (copy, changes):
        await until(lambda: server.watched)
        server.tell("ADDED", pod("a", 7))
        await until(lambda: changes)
        server.failing = 2
        server.hang_up()
        await until(lambda: len(server.watched) == 2)
        assert server.failing == 0
        assert server.watched == ["1", "7"]
        assert server.lists == 1
        server.tell("DELETED", pod("a", 8))
        await until(lambda: len(changes) == 2)
        server.tell("CUT", {})
        await until(lambda: len(server.watched) == 3)
        assert server.watched[2:] == ["8"]
        assert server.lists == 1
        assert len(changes) == 2
        assert copy.fresh


async def test_a_copy_that_is_old_is_made_fresh_by_a_list_alone(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE", 0.3 - module.WATCH_SECONDS)
    server.objects = {"a": pod("a", 1), "b": pod("b", 1)}
    async with running(api) as (copy, changes):
        await until(lambda: len(server.watched) == 1)
        await until(lambda: not copy.fresh)
        # Of two things that happened, one is told.
        del server.objects["b"]
        server.objects["a"] = pod("a", 9)
        server.tell("MODIFIED", pod("a", 9))
        await until(lambda: len(changes) == 4)
        assert changes[2:] == [("b@1", None), ("a@1", "a@9")]
        assert server.lists == 2


async def test_a_version_that_is_too_old_means_a_new_list(server: Server, api: Api) -> None:
    server.objects = {"a": pod("a", 1)}
    server.gone = 1
    async with running(api) as (_copy, changes):
        await until(lambda: len(server.watched) == 2)
        assert server.lists == 2
        # What is the same is no news.
        assert changes == [(None, "a@1")]


async def test_a_long_list_comes_in_pages(server: Server, api: Api) -> None:
    server.objects = {f"p{n}": pod(f"p{n}", n) for n in range(7)}
    server.page = 3
    async with running(api) as (copy, _changes):
        await copy.listed()
        assert len(copy) == 7
        assert server.lists == 3


async def test_a_server_that_is_not_there_is_away_and_one_that_says_no_refuses(
    server: Server, api: Api
) -> None:
    server.failing = 1
    with pytest.raises(ApiAway, match="503"):
        await api.get(PODS)
    nobody = Api(ApiClient(Configuration(host="http://127.0.0.1:1")))
    with pytest.raises(ApiAway):
        await nobody.get(PODS)
    await nobody.close()

    server.refusing = True
    with pytest.raises(ApiRefused, match="403 Forbidden: not you"):
        await api.get(PODS)
