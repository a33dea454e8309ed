"""What a session says of its activity, read without trust: its user may have written the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from arcetri_hub.reaper.decide import Activity

BUSY_STATES = frozenset({"busy", "starting", "restarting", "autorestarting"})
"""Kernel states in which something is being done for the user."""


class Unreadable(ValueError):
    """An answer that is not what jupyter-server's API gives."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The bodies of ``api/status``, ``api/kernels`` and ``api/terminals``."""

    status: bytes
    kernels: bytes
    terminals: bytes | None
    """None where the session offers no terminals."""


def read_activity(answers: Answers) -> Activity:
    """Join the three answers into one.

    Raises:
        Unreadable: One of them is no JSON, or lacks what every jupyter-server sends.
    """
    status = _json(answers.status)
    if not isinstance(status, dict):
        raise Unreadable("api/status is no object")
    stamps = [_stamp(status.get("last_activity"))]
    busy = False
    signs = [f"status {stamps[0].isoformat()}"]
    for kernel in _objects(answers.kernels, "api/kernels"):
        stamp = _stamp(kernel.get("last_activity"))
        state = str(kernel.get("execution_state", ""))
        busy = busy or state in BUSY_STATES
        stamps.append(stamp)
        signs.append(f"kernel {kernel.get('id')} {state} {stamp.isoformat()}")
    if answers.terminals is not None:
        for terminal in _objects(answers.terminals, "api/terminals"):
            stamp = _stamp(terminal.get("last_activity"))
            stamps.append(stamp)
            signs.append(f"terminal {terminal.get('name')} {stamp.isoformat()}")
    return Activity(last=max(stamps), busy=busy, signs=frozenset(signs))


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("an answer is no JSON") from error


def _objects(body: bytes, what: str) -> Sequence[dict[str, object]]:
    items = _json(body)
    if not isinstance(items, list):
        raise Unreadable(f"{what} is no list")
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) != len(items):
        raise Unreadable(f"{what} holds something that is no object")
    return objects


def _stamp(value: object) -> datetime:
    if not isinstance(value, str):
        raise Unreadable("a time is missing")
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError as error:
        raise Unreadable("a time cannot be read") from error
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    try:
        return stamp.astimezone(UTC)
    except OverflowError as error:
        raise Unreadable("a time cannot be") from error
