"""When the container runtime itself says that a container ran: asked of containerd, in nanoseconds.

``python -m tests.cluster.runtime CONTAINER...`` runs in the cluster's mounts, where the socket is.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from typing import Any

import httpx

from tests.cluster.cluster import Cluster
from tests.cluster.configuration import CONTAINERD_SOCKET

_STARTED, _FINISHED = 5, 6
"""Fields of ``runtime.v1.ContainerStatus``."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A container's life, in nanoseconds since 1970; 0 for an end that has not come."""

    started: int
    finished: int

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.finished - self.started) / 1e9


def ran(cluster: Cluster, *containers: str) -> dict[str, Ran]:
    """What the runtime says of containers, given by their ids."""
    command = [sys.executable, "-m", "tests.cluster.runtime", *containers]
    return {one: Ran(*times) for one, times in json.loads(cluster.run(command)).items()}


def _status(client: httpx.Client, container: str) -> tuple[int, int]:
    name = container.encode()
    message = b"\x0a" + bytes([len(name)]) + name
    answer = client.post(
        "/ContainerStatus",
        content=struct.pack(">BI", 0, len(message)) + message,
        headers={"content-type": "application/grpc", "te": "trailers"},
    )
    assert answer.headers.get("grpc-status", "0") == "0", answer.headers
    status = _fields(answer.content[5:])[1]
    found = _fields(status)
    return found.get(_STARTED, 0), found.get(_FINISHED, 0)


def _fields(data: bytes) -> dict[int, Any]:
    """A message's fields by number: numbers, and what else is bytes."""
    found: dict[int, Any] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        else:
            assert tag & 7 == 2, tag
            length = number()
            found[tag >> 3] = data[at : at + length]
            at += length
    return found


if __name__ == "__main__":
    transport = httpx.HTTPTransport(uds=CONTAINERD_SOCKET, http1=False, http2=True)
    base = "http://localhost/runtime.v1.RuntimeService"
    with httpx.Client(transport=transport, base_url=base, timeout=10) as runtime:
        sys.stdout.write(json.dumps({one: _status(runtime, one) for one in sys.argv[1:]}))
