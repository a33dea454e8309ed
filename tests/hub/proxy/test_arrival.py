"""A proxy that starts asks the hub for its routes, until it has them."""

from __future__ import annotations

import asyncio

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from arcetri_hub.proxy import arrival


class Hub(RequestHandler):
    """Answers 503 while it starts, and then sets the routes for who has the token."""

    asked: list[str]
    refusals = 2

    def post(self) -> None:
        self.asked.append(self.request.headers["Authorization"])
        self.set_status(503 if len(self.asked) <= self.refusals else 200)


async def test_it_asks_until_the_hub_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PAUSE", 0.01)
    monkeypatch.setattr(Hub, "asked", [], raising=False)
    listener, port = bind_unused_port()
    url = f"http://127.0.0.1:{port}/hub/api/proxy"
    announcing = asyncio.create_task(arrival.announce(url, "secret"))
    server = HTTPServer(Application([("/hub/api/proxy", Hub)]))
    server.add_sockets([listener])
    await asyncio.wait_for(announcing, 20)
    assert Hub.asked == ["token secret"] * 3
    server.stop()
    await server.close_all_connections()
