"""An API server that falls silent: no answer and no end, as where a network is cut."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from kubernetes_asyncio.client import ApiClient, Configuration

from arcetri_spawner.backends.kubernetes import mirror
from arcetri_spawner.backends.kubernetes.api import LIVENESS, Api
from arcetri_spawner.backends.kubernetes.mirror import Mirror

pytestmark = pytest.mark.cluster

NET = f"198.18.{os.getpid() % 250}"
HERE, THERE, PORT = f"{NET}.1", f"{NET}.2", 8001
ENDS = tuple(f"arc{os.getpid() % 100_000}{end}" for end in "ab")
"""Of a cable between this network and the server's; with the server, both are gone."""
SERVER = f"""
import asyncio
from aiohttp import web

async def answer(request):
    if "watch" not in request.query:
        return web.json_response({{"metadata": {{"resourceVersion": "1"}}, "items": []}})
    stream = web.StreamResponse()
    await stream.prepare(request)
    await asyncio.sleep(600)
    return stream

app = web.Application()
app.router.add_route("*", "/{{path:.*}}", answer)
print("ready", flush=True)
web.run_app(app, host="0.0.0.0", port={PORT}, print=None)
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def inside() -> Iterator[tuple[str, ...]]:
    """How to run a command in the network of a server; both end with this process."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", "--net", sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pid = str(process.pid)
        enter = ("nsenter", f"--target={pid}", "--net")
        run("ip", "link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1], "netns", pid)
        run("ip", "addr", "add", f"{HERE}/30", "dev", ENDS[0])
        run("ip", "link", "set", ENDS[0], "up")
        run(*enter, "ip", "addr", "add", f"{THERE}/30", "dev", ENDS[1])
        run(*enter, "ip", "link", "set", ENDS[1], "up")
        yield enter
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        subprocess.run(["ip", "link", "delete", ENDS[0]], check=False, capture_output=True)


async def test_what_was_known_of_it_is_no_news_any_more(
    inside: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is, in a quarter of the time.
    monkeypatch.setattr(mirror, "DOUBT", 2.0)
    for option, (level, value) in list(LIVENESS.items()):
        monkeypatch.setitem(LIVENESS, option, (level, max(1, value // 3)))
    api = Api(ApiClient(Configuration(host=f"http://{THERE}:{PORT}")))
    copy = Mirror(api, "/api/v1/pods", lambda _before, _after: None)
    task = asyncio.create_task(copy.run())
    try:
        async with asyncio.timeout(20):
            while not copy.fresh:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # the watch stands
        run(*inside, "ip", "addr", "flush", "dev", ENDS[1])
        began = time.monotonic()
        async with asyncio.timeout(40):
            while copy.fresh:
                await asyncio.sleep(0.1)
        # Far sooner than after the minute that a watch lasts.
        assert time.monotonic() - began < 40
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()
