"""Why no node has room: the scheduler's line, in words."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from arcetri_spawner.backends.kubernetes.words import OPERATOR, Trouble
from arcetri_spawner.policy.names import shown


class Obstacle(NamedTuple):
    """Why some nodes will not do, as it is said of one node and of several."""

    one: str
    many: str


_CLAUSE = re.compile(r"(?:^|, )(\d+) (.*?)(?=, \d+ |$)")
_TAINT = re.compile(r"\{([^:}]+)[^}]*\}")
_KEPT = Obstacle("is kept for other work", "are kept for other work")
_TAINTED = Obstacle("is kept for other work or in trouble", "are kept for other work or in trouble")
_NOT_FOUND = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_OTHER_KIND = Obstacle("is of another kind", "are of another kind")
_SILENT = Obstacle("does not answer", "do not answer")
_CLOSED = Obstacle("is closed for new sessions", "are closed for new sessions")
_NO_DISK = Obstacle("has too little free disk", "have too little free disk")
_NO_MEMORY = Obstacle("has too little free memory", "have too little free memory")
_RULED_OUT = Obstacle("is ruled out by the site's rules", "are ruled out by the site's rules")
_NO_STORAGE = Obstacle("cannot have the session's storage", "cannot have the session's storage")
_UNKNOWN = Obstacle("does not fit for another reason", "do not fit for another reason")
_TAINTS: Final = {
    "node.kubernetes.io/not-ready": _SILENT,
    "node.kubernetes.io/unreachable": _SILENT,
    "node.kubernetes.io/unschedulable": _CLOSED,
    "node.kubernetes.io/disk-pressure": _NO_DISK,
    "node.kubernetes.io/memory-pressure": _NO_MEMORY,
    "node.kubernetes.io/pid-pressure": Obstacle("runs too much already", "run too much already"),
    "node.kubernetes.io/network-unavailable": Obstacle("has no network", "have no network"),
}
_LACKS: Final = {
    "cpu": Obstacle("has too few free cores", "have too few free cores"),
    "memory": _NO_MEMORY,
    "ephemeral-storage": _NO_DISK,
    "pods": Obstacle("runs as many pods as it may", "run as many pods as they may"),
}
_PHRASES: Final[tuple[tuple[str, Obstacle], ...]] = (
    ("too many pods", _LACKS["pods"]),
    ("node affinity/selector", _OTHER_KIND),
    ("node selector", _OTHER_KIND),
    ("requested node name", _OTHER_KIND),
    ("were unschedulable", _CLOSED),
    ("persistentvolume's node affinity", _NO_STORAGE),
    ("volume node affinity", _NO_STORAGE),
    ("volume zone", _NO_STORAGE),
    ("persistent volumes to bind", _NO_STORAGE),
    ("non-existent pv", _NO_STORAGE),
    ("free storage", _NO_STORAGE),
    ("available disk", _NO_STORAGE),
    (
        "max volume count",
        Obstacle("has as many volumes as it may", "have as many volumes as they may"),
    ),
    ("affinity", _RULED_OUT),
    ("topology spread", _RULED_OUT),
)


def no_room(message: str) -> Trouble:
    """Return what the scheduler's message means.

    Args:
        message: Of a ``FailedScheduling`` event, or of the condition ``PodScheduled``.
    """
    claim = _NOT_FOUND.search(message)
    if claim:
        return claim_missing(claim[1]).saying(message)
    if "unbound immediate PersistentVolumeClaims" in message:
        return volume_not_ready().saying(message)
    obstacles = read_obstacles(message)
    if not obstacles:
        return _no_node().saying(message)
    if set(obstacles) == {_OTHER_KIND}:
        return _no_such_node().saying(message)
    said = [
        f"{count} {obstacle.one if count == 1 else obstacle.many}"
        for obstacle, count in obstacles.items()
    ]
    return _full("; ".join(said)).saying(message)


def read_obstacles(message: str) -> dict[Obstacle, int]:
    """Return how many nodes will not do, by why; empty where the message names none."""
    _, _, tail = message.partition(" nodes are available:")
    tail = re.split(r"\.? preemption:|\. no new claims", tail)[0].strip().rstrip(".")
    found: dict[Obstacle, int] = {}
    for count, what in _CLAUSE.findall(tail):
        obstacle = _obstacle(what)
        found[obstacle] = found.get(obstacle, 0) + int(count)
    return found


def claim_missing(claim: str) -> Trouble:
    """The storage that the catalog names is not there."""
    return Trouble(
        f'The storage claim "{shown(claim)}" that the session needs does not exist.',
        code="claim_missing",
        remedy="An admin creates the claim in the sessions' namespace, or corrects the volume's"
        " claim in profiles.yaml.",
        final=False,
    )


def volume_not_ready() -> Trouble:
    """Storage is there, but does not come to the session."""
    return Trouble(
        "The session's storage cannot be mounted on its node yet.",
        code="volume_not_ready",
        remedy=f"The node goes on trying. If it lasts for minutes: {OPERATOR}",
        final=False,
    )


def _full(why: str) -> Trouble:
    return Trouble(
        f"No node has room for this session now: {why}.",
        code="no_room",
        remedy="It starts by itself if room comes free in time. Or stop it, and choose a smaller"
        " size or another flavour.",
        final=False,
    )


def _no_such_node() -> Trouble:
    return Trouble(
        "No node is of the kind that this flavour needs.",
        code="no_room",
        remedy="Choose another flavour. An admin compares the flavour's nodes in profiles.yaml with"
        " the labels of the cluster's nodes.",
        final=False,
    )


def _no_node() -> Trouble:
    return Trouble(
        "The cluster has no node for this session now.",
        code="no_room",
        remedy=f"Start again later. If it stays so: {OPERATOR}",
        final=False,
    )


def _obstacle(what: str) -> Obstacle:
    lacking = re.match(r"Insufficient (\S+)", what)
    if lacking:
        resource = shown(lacking[1].rstrip(","))
        device = f"no free device ({resource})"
        return _LACKS.get(resource) or Obstacle(f"has {device}", f"have {device}")
    if "taint" in what:
        taint = _TAINT.search(what)
        # Newer schedulers do not say which taint it is.
        return _TAINTS.get(taint[1], _KEPT) if taint else _TAINTED
    return next(
        (obstacle for phrase, obstacle in _PHRASES if phrase in what.lower()),
        _UNKNOWN,
    )
