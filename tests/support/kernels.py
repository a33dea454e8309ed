"""Running code in a user's session, through the proxy, as a notebook would."""

from __future__ import annotations

import json
from uuid import uuid4

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.support.platform import Platform


async def compute(platform: Platform, name: str, code: str) -> WebSocketClientConnection:
    """Begin to run a cell in a new kernel of a user's session.

    Returns:
        The channel on which the kernel's messages come, for the caller to close.
    """
    token = platform.token(name)
    headers = {"Authorization": f"token {token}"}
    with platform.api(name) as client:
        answer = client.post(f"{platform.url}/user/{name}/api/kernels", json={"name": "python3"})
        kernel = answer.raise_for_status().json()["id"]
    url = f"{platform.url.replace('http', 'ws', 1)}/user/{name}/api/kernels/{kernel}/channels"
    channel = await websocket_connect(HTTPRequest(url, headers=headers))
    header = {"msg_id": uuid4().hex, "session": "s", "username": "", "version": "5.3"}
    message = {
        "header": {**header, "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False},
        "channel": "shell",
        "buffers": [],
    }
    await channel.write_message(json.dumps(message))
    return channel


async def hang_up(channel: WebSocketClientConnection) -> None:
    """Close a web socket, and return when it is: what is left to the collector is found later."""
    channel.close()
    while await channel.read_message() is not None:
        pass
