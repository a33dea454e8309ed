"""Hundreds of people at once: IAM is asked by turns, and is not called silent for it."""

from __future__ import annotations

import asyncio

from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from traitlets.config import Config

from arcetri_hub.auth import IamAuthenticator

PEOPLE = 200
ANSWER = 1.0
"""Seconds that an answer takes."""
PATIENCE = 2.0
"""Seconds to connect: fewer than the last of them waits for their turn."""


class Slow(RequestHandler):
    """Answers after a while, and counts how many wait."""

    waiting = 0
    most = 0

    async def get(self) -> None:
        """Answer."""
        Slow.waiting += 1
        Slow.most = max(Slow.most, Slow.waiting)
        await asyncio.sleep(ANSWER)
        Slow.waiting -= 1
        self.write("{}")


async def test_a_crowd_waits_its_turn_and_everybody_is_answered() -> None:
    (socket,) = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Slow)]))
    server.add_sockets([socket])
    url = f"http://127.0.0.1:{socket.getsockname()[1]}/"
    traits = {"issuer": url, "client_id": "hub", "client_secret": "word"}
    authenticator = IamAuthenticator(config=Config(IamAuthenticator=traits))
    try:
        requests = [
            HTTPRequest(url, connect_timeout=PATIENCE, request_timeout=30) for _ in range(PEOPLE)
        ]
        replies = await asyncio.gather(*map(authenticator.fetch, requests))
    finally:
        server.stop()
        await server.close_all_connections()
    assert {reply.status for reply in replies} == {200}
    assert 1 < Slow.most <= PEOPLE // 4
