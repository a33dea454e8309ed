"""A session that has a pod, as the backend keeps it in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from arcetri_spawner.backends.base import Exited, Session
from arcetri_spawner.backends.kubernetes.api import Object
from arcetri_spawner.backends.kubernetes.marks import read_marks

PORT_NAME = "notebook-port"
"""What KubeSpawner calls the port of the single-user server."""


@dataclass(slots=True)
class Live:
    """One pod of ours, from its creation until it is gone."""

    id: UUID
    uid: str
    """The pod's own: another pod of the same name would be another session's."""
    exited: asyncio.Future[Exited] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    reason: str = ""
    """Why it ends, where somebody asked for it."""
    session: Session | None = None
    """Once it answers."""
    told: bool = False
    """The ledger was told of its start."""
    watcher: asyncio.Task[None] | None = None


def url_of(pod: Object) -> str | None:
    """Where the pod's server listens, such as ``http://10.1.2.3:8888``; None before it is known."""
    address = pod.get("status", {}).get("podIP")
    port = port_of(pod)
    if not address or port is None:
        return None
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def port_of(pod: Object) -> int | None:
    """The port of the single-user server, as the pod declares it."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == PORT_NAME:
                return int(port["containerPort"])
    return None


def session_of(pod: Object, url: str) -> Session:
    """The session that a pod is.

    Raises:
        ValueError: The pod is no session's.
    """
    marks = read_marks(pod)
    if marks is None:
        raise ValueError(f"the pod {pod['metadata']['name']} is no session's")
    started = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return Session(
        id=marks.session,
        username=marks.username,
        server_name=marks.server_name,
        url=url,
        devices=(),
        started=started,
        state={"pod": pod["metadata"]["name"]},
    )
