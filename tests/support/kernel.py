"""Running code in a kernel of somebody's session, as their browser does it."""

from __future__ import annotations

import json
from contextlib import closing
from uuid import uuid4

import httpx
import websocket

from tests.support.platform import Platform

PATIENCE = 120.0


def run(platform: Platform, name: str, token: str, code: str) -> str:
    """Start a kernel, run ``code`` in it, and return what it printed; the kernel ends with it.

    Raises:
        AssertionError: The code raised; the message is the exception's.
    """
    headers = {"Authorization": f"token {token}"}
    base = f"{platform.url}/user/{name}/api/kernels"
    with httpx.Client(headers=headers, timeout=PATIENCE) as client:
        answer = client.post(base, json={"name": "python3"})
        assert answer.status_code == 201, answer.text
        kernel = f"{base}/{answer.json()['id']}"
        try:
            address = f"{kernel}/channels".replace("http://", "ws://", 1)
            connection = websocket.create_connection(
                address, timeout=PATIENCE, header=[f"Authorization: token {token}"]
            )
            with closing(connection):
                return _execute(connection, code)
        finally:
            client.delete(kernel)


def _execute(connection: websocket.WebSocket, code: str) -> str:
    request = uuid4().hex
    header = {"msg_id": request, "msg_type": "execute_request", "session": request}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    message = {
        "header": {**header, "username": "test", "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }
    connection.send(json.dumps(message))
    printed = ""
    while True:
        reply = json.loads(connection.recv())
        if reply["parent_header"].get("msg_id") != request:
            continue
        content = reply["content"]
        match reply["msg_type"]:
            case "stream":
                printed += content["text"]
            case "error":
                raise AssertionError(f"{content['ename']}: {content['evalue']}")
            case "status" if content["execution_state"] == "idle":
                return printed
