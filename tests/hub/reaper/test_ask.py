"""Asking a real jupyter-server: kernels, terminals, and a web tool behind jupyter-server-proxy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import websocket_connect

from arcetri_hub.reaper.ask import MAX_ANSWER, SessionClient, Unasked
from arcetri_hub.reaper.decide import Activity
from tests.support.kernels import hang_up

TOKEN = "a-session-token"
BASE = "/user/alice/"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def process(*command: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    home = cwd / "home"
    home.mkdir(exist_ok=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(cwd / "run")}
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), 10)
        except TimeoutError:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[str]:
    """A jupyter-server as a session runs it, at its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}{BASE}"
    async with process(
        sys.executable,
        "-m",
        "jupyter_server",
        f"--ServerApp.port={port}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.base_url={BASE}",
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        cwd=tmp_path,
    ):
        async with httpx.AsyncClient() as client:
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{url}api", timeout=2)).status_code == 200:
                        break
                await asyncio.sleep(0.1)
        yield url


@pytest.fixture
async def asker() -> AsyncIterator[SessionClient]:
    client = SessionClient()
    yield client
    client.close()


@pytest.fixture
async def user(session: str) -> AsyncIterator[httpx.AsyncClient]:
    """The session's user, with a browser."""
    headers = {"Authorization": f"token {TOKEN}"}
    async with httpx.AsyncClient(base_url=session, headers=headers, timeout=30) as client:
        yield client


async def ask_until(asker: SessionClient, url: str, wanted: Callable[[Activity], bool]) -> Activity:
    for _ in range(200):
        activity = await asker.ask(url, TOKEN)
        if wanted(activity):
            return activity
        await asyncio.sleep(0.1)
    raise AssertionError("the session never said what was waited for")


@pytest.mark.component
async def test_being_asked_is_no_activity(session: str, asker: SessionClient) -> None:
    first = await asker.ask(session, TOKEN)
    await asyncio.sleep(1.1)
    again = await asker.ask(session, TOKEN)
    assert again == first
    assert not first.busy


@pytest.mark.component
async def test_a_kernel_is_busy_while_it_computes(
    session: str, asker: SessionClient, user: httpx.AsyncClient
) -> None:
    kernel = (await user.post("api/kernels", json={"name": "python3"})).raise_for_status().json()
    socket_url = f"{session.replace('http', 'ws', 1)}api/kernels/{kernel['id']}/channels"
    channel = await websocket_connect(f"{socket_url}?token={TOKEN}")
    await ask_until(asker, session, lambda activity: not activity.busy)
    await channel.write_message(_execute("import time; time.sleep(2)"))
    computing = await ask_until(asker, session, lambda activity: activity.busy)
    resting = await ask_until(asker, session, lambda activity: not activity.busy)
    assert resting.last > computing.last
    await hang_up(channel)


@pytest.mark.component
async def test_a_terminals_output_is_activity(
    session: str, asker: SessionClient, user: httpx.AsyncClient
) -> None:
    name = (await user.post("api/terminals")).raise_for_status().json()["name"]
    quiet = await asker.ask(session, TOKEN)
    socket_url = f"{session.replace('http', 'ws', 1)}terminals/websocket/{name}?token={TOKEN}"
    terminal = await websocket_connect(socket_url)
    await terminal.write_message('["stdin", "echo work\\r"]')
    await ask_until(asker, session, lambda activity: activity.last > quiet.last)
    await hang_up(terminal)


class _Tool(RequestHandler):
    def get(self) -> None:
        self.write("a plot")


@pytest.mark.component
async def test_a_proxied_web_tool_works_and_counts_as_activity(
    session: str, asker: SessionClient, user: httpx.AsyncClient
) -> None:
    port = free_port()
    tool = HTTPServer(Application([("/plot", _Tool)]))
    tool.listen(port, "127.0.0.1")
    before = await asker.ask(session, TOKEN)
    await asyncio.sleep(0.01)
    answer = await user.get(f"proxy/{port}/plot")
    assert (answer.status_code, answer.text) == (200, "a plot")
    after = await asker.ask(session, TOKEN)
    assert after.last > before.last
    tool.stop()
    await tool.close_all_connections()


@pytest.mark.component
async def test_a_wrong_token_is_unasked(session: str, asker: SessionClient) -> None:
    with pytest.raises(Unasked, match="status 403"):
        await asker.ask(session, "another-token")


class _Liar(RequestHandler):
    def initialize(self, mode: str) -> None:
        self.mode = mode

    async def get(self) -> None:
        if self.mode == "huge":
            self.write(b"[" + b" " * (MAX_ANSWER + 1) + b"]")
        elif self.mode == "page":
            self.write("<html>welcome</html>")
        elif self.mode == "elsewhere":
            self.redirect("http://169.254.169.254/")
        else:
            await asyncio.sleep(30)


@pytest.mark.parametrize("mode", ["huge", "page", "elsewhere", "slow"])
async def test_whatever_else_a_session_answers_it_is_unasked(mode: str) -> None:
    port = free_port()
    server = HTTPServer(Application([(".*", _Liar, {"mode": mode})]))
    server.listen(port, "127.0.0.1")
    asker = SessionClient(timeout=0.3 if mode == "slow" else 5)
    with pytest.raises(Unasked):
        await asker.ask(f"http://127.0.0.1:{port}/", TOKEN)
    asker.close()
    server.stop()
    await server.close_all_connections()


async def test_a_port_nobody_listens_on_is_unasked() -> None:
    asker = SessionClient()
    with pytest.raises(Unasked):
        await asker.ask(f"http://127.0.0.1:{free_port()}/", TOKEN)
    asker.close()


def _execute(code: str) -> str:
    import json
    from uuid import uuid4

    message = {
        "header": {
            "msg_id": uuid4().hex,
            "username": "",
            "session": uuid4().hex,
            "msg_type": "execute_request",
            "version": "5.3",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False},
        "channel": "shell",
        "buffers": [],
    }
    return json.dumps(message)
