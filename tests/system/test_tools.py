"""Web tools of a session, such as TensorBoard, through jupyter-server-proxy and the platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from arcetri_hub.up import ports
from tests.support.kernels import compute, hang_up
from tests.support.platform import Platform, until

pytestmark = pytest.mark.component

TOOL = """
import asyncio, sys
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

go = asyncio.Event()

class Page(RequestHandler):
    def get(self):
        self.set_cookie("tool", "1")
        self.write("a page of the tool, asked for as " + self.request.uri)
    def post(self):
        self.write(str(len(self.request.body)))

class Events(RequestHandler):
    async def get(self):
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: first\\n\\n")
        await self.flush()
        await go.wait()
        self.write("data: second\\n\\n")

class Go(RequestHandler):
    def post(self):
        go.set()

class Live(WebSocketHandler):
    def on_message(self, message):
        self.write_message("you said " + message)

async def main():
    Application([("/events", Events), ("/go", Go), ("/live", Live), ("/.*", Page)]).listen(
        int(sys.argv[1]), "127.0.0.1"
    )
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def tool(shared_platform: Platform, tmp_path: Path) -> AsyncIterator[str]:
    """A tool that a cell of Alice's started; where it is found."""
    program = tmp_path / "tool.py"
    program.write_text(TOOL)
    port = ports.choose()
    shared_platform.start_session("alice", flavor="t4")
    command = f"[sys.executable, {str(program)!r}, {str(port)!r}]"
    channel = await compute(
        shared_platform, "alice", f"import subprocess, sys; subprocess.Popen({command})"
    )
    until(lambda: not ports.is_free("127.0.0.1", port), "the tool listens")
    yield f"/user/alice/proxy/{port}/"
    await hang_up(channel)
    with shared_platform.api("alice") as api:
        api.delete("/users/alice/server").raise_for_status()
    until(lambda: not shared_platform.sessions(), "the session has ended")
    # The tool was the session's, and ends with it.
    assert ports.is_free("127.0.0.1", port)


def test_a_tool_of_ones_session_is_at_its_address(shared_platform: Platform, tool: str) -> None:
    platform = shared_platform
    headers = {"Authorization": f"token {platform.token('alice')}"}
    with platform.login("alice") as alice, httpx.Client(headers=headers) as script:
        alice.follow_redirects = True
        page = alice.get(f"{tool}plugin/scalars?run=1")
        assert page.status_code == 200
        assert page.text == "a page of the tool, asked for as /plugin/scalars?run=1"
        # As a browser's EventSource asks: other answers wait in the session until they are whole.
        event_source = {"Accept": "text/event-stream"}
        with alice.stream("GET", f"{tool}events", headers=event_source) as events:
            pieces = events.iter_text()
            assert next(pieces) == "data: first\n\n"
            # Only now can the second be said: the first came while the answer was still open.
            assert script.post(f"{platform.url}{tool}go").status_code == 200
            assert "".join(pieces) == "data: second\n\n"
        upload = script.post(f"{platform.url}{tool}", content=bytes(5_000_000))
        assert upload.text == "5000000"


async def test_a_tool_may_use_web_sockets(shared_platform: Platform, tool: str) -> None:
    headers = {"Authorization": f"token {shared_platform.token('alice')}"}
    url = f"{shared_platform.url.replace('http', 'ws', 1)}{tool}live"
    socket = await websocket_connect(HTTPRequest(url, headers=headers))
    await socket.write_message("hello")
    assert await socket.read_message() == "you said hello"
    socket.close()
    assert await socket.read_message() is None


def test_a_tool_is_its_persons_alone_on_the_platform(shared_platform: Platform, tool: str) -> None:
    with httpx.Client(base_url=shared_platform.url, follow_redirects=True) as nobody:
        stranger = nobody.get(tool)
    assert stranger.url.path == "/hub/login"
    with shared_platform.login("bruno") as bruno:
        bruno.follow_redirects = True
        answer = bruno.get(tool)
    assert answer.status_code in (403, 404)
    assert "a page of the tool" not in stranger.text + answer.text
