"""A session that has a pod, as the backend keeps it in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from arcetri_accounting.contract.podmarks import NOTEBOOK_CONTAINER
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


def base_url_of(pod: Object) -> str:
    """The path of the pod's server, as it was told; where that is not known, any will do to ask."""
    for entry in _notebook(pod).get("env", ()):
        if entry.get("name") == "JUPYTERHUB_SERVICE_PREFIX" and entry.get("value"):
            return str(entry["value"])
    return "/"


def own_secret(pod: Object) -> str | None:
    """The Secret that a pod's containers need and that is created right after it; None for none."""
    own: str = pod["metadata"]["name"]
    for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
        for entry in container.get("env", ()):
            if entry.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == own:
                return own
    return None


def age_of(pod: Object, now: datetime) -> float:
    """Seconds since a pod was created; none where the clocks of hub and cluster disagree."""
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return max((now - created).total_seconds(), 0.0)


def _notebook(pod: Object) -> Object:
    containers: list[Object] = pod["spec"]["containers"]
    return next((one for one in containers if one["name"] == NOTEBOOK_CONTAINER), {})


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
