"""An API server that falls silent: no answer and no end.

As where a network is cut, of which the kernel learns by asking; and as where its process hangs, for
which its own kernel answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import certifi
import pytest
import yaml
from kubernetes_asyncio.client import ApiClient, Configuration

from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.pods import watching
from arcetri_accounting.client import keepalive
from arcetri_accounting.client.apiserver import ApiServer
from arcetri_spawner.backends.kubernetes import api as api_module
from arcetri_spawner.backends.kubernetes import mirror
from arcetri_spawner.backends.kubernetes.api import Api
from arcetri_spawner.backends.kubernetes.mirror import Mirror
from kueue_client import AsyncKueue, Kueue, transport
from tests.support import tiers

pytestmark = pytest.mark.component

NET = f"198.18.{os.getpid() % 250}"
HERE, THERE, PORT = f"{NET}.1", f"{NET}.2", 8001
URL = f"http://{THERE}:{PORT}"
ENDS = tuple(f"arc{os.getpid() % 100_000}{end}" for end in "ab")
"""Of a cable between this network and the server's; with the server, both are gone."""
SERVER = f"""
import asyncio, json
from aiohttp import web

async def answer(request):
    metadata = {{"resourceVersion": "1"}}
    if "watch" not in request.query:
        return web.json_response({{"metadata": metadata, "items": []}})
    stream = web.StreamResponse()
    await stream.prepare(request)
    last = float(request.query["timeoutSeconds"])
    await asyncio.sleep(last * 0.8)
    said = {{"type": "BOOKMARK", "object": {{"metadata": metadata}}}}
    await stream.write(json.dumps(said).encode() + b"\\n")
    await asyncio.sleep(last * 0.2)
    return stream

app = web.Application()
app.router.add_route("*", "/{{path:.*}}", answer)
print("ready", flush=True)
web.run_app(app, host="0.0.0.0", port={PORT}, print=None)
"""
"""As the real one: it says how far a watch is before the end that was asked for."""
SOONER = tuple((level, option, max(1, value // 3)) for level, option, value in keepalive.KEEPALIVE)
"""As it is, in a quarter of the time."""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    """A server in a network of its own; both end with this process."""
    tiers.need("root", "ip", "setpriv")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", "--net", sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pid = str(process.pid)
        run("ip", "link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1], "netns", pid)
        run("ip", "addr", "add", f"{HERE}/30", "dev", ENDS[0])
        run("ip", "link", "set", ENDS[0], "up")
        inside(process, "ip", "addr", "add", f"{THERE}/30", "dev", ENDS[1])
        inside(process, "ip", "link", "set", ENDS[1], "up")
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        subprocess.run(["ip", "link", "delete", ENDS[0]], check=False, capture_output=True)


def inside(server: subprocess.Popen[str], *command: str) -> None:
    """Run a command in the server's network."""
    run("nsenter", f"--target={server.pid}", "--net", *command)


async def until(condition: Callable[[], object], seconds: float = 40) -> None:
    """Far sooner than any watch here would end by itself."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def copied(seconds: int) -> AsyncIterator[Mirror]:
    """The hub's copy of all pods."""
    api = Api(ApiClient(Configuration(host=URL)))
    copy = Mirror(api, "/api/v1/pods", lambda _before, _after: None, seconds=seconds)
    task = asyncio.create_task(copy.run())
    try:
        yield copy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


async def test_a_process_that_hangs_is_not_believed(
    server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (mirror, api_module):
        monkeypatch.setattr(module, "LATE", 6.0)
    async with copied(seconds=2) as copy:
        await until(lambda: copy.fresh)
        # Several watches later it is as fresh, though nothing happens; machines may stall.
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert copy.fresh
        server.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: not copy.fresh, 20)
        finally:
            server.send_signal(signal.SIGCONT)
        await until(lambda: copy.fresh)


@asynccontextmanager
async def queued() -> AsyncIterator[Callable[[], object]]:
    """The hub's watch of queues; what troubles it."""
    from kubernetes.aio import client

    async with AsyncKueue(client.ApiClient(client.Configuration(host=URL))) as kueue:
        watch = kueue.local_queues.watch("n")

        async def follow() -> None:
            async for _ in watch:
                pass

        task = asyncio.create_task(follow())
        try:
            yield lambda: watch.trouble
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextmanager
def blocking(folder: Path) -> Iterator[Callable[[], object]]:
    """The same by a program that blocks."""
    config = folder / "kubeconfig"
    named = {
        "clusters": [{"name": "it", "cluster": {"server": URL}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
    }
    config.write_text(yaml.safe_dump({**named, "current-context": "it"}), encoding="utf-8")
    kueue = Kueue.from_kubeconfig(config)
    watch = kueue.local_queues.watch("n", seconds=60)
    threading.Thread(target=lambda: list(watch), daemon=True).start()
    yield lambda: watch.trouble
    kueue.close()


@contextmanager
def accounted(folder: Path) -> Iterator[Figures]:
    """The agent's watch of its node's pods; what it counts."""
    token = folder / "token"
    token.write_text("t", encoding="ascii")
    figures = Figures()
    server = ApiServer(URL, token, Path(certifi.where()))
    watch = watching.PodWatch(server, "n1", SystemClock(), figures, lambda: None)
    watch.start()
    yield figures
    watch.close()


async def test_a_network_that_is_cut_is_found_by_all_who_watch(
    server: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (api_module, watching, transport):
        monkeypatch.setattr(module, "KEEPALIVE", SOONER)
    async with copied(seconds=600) as copy, queued() as trouble:
        with blocking(tmp_path) as blocked, accounted(tmp_path) as figures:
            await until(lambda: copy.fresh and figures.pods_up)
            await asyncio.sleep(1)  # all watches stand
            assert not trouble()
            assert not blocked()
            inside(server, "ip", "addr", "flush", "dev", ENDS[1])
            for name, knows in {
                "the hub": lambda: copy._failures,
                "the hub's queues": trouble,
                "a program that blocks": blocked,
                "the agent": lambda: not figures.pods_up,
            }.items():
                try:
                    await until(knows)
                except TimeoutError:
                    raise AssertionError(name) from None


def test_the_client_of_kueue_asks_as_often_as_we_do() -> None:
    assert transport.KEEPALIVE == keepalive.KEEPALIVE
