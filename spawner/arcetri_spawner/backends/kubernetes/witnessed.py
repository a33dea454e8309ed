"""What the hub tells the ledger of a session's pod: its start and its end, as the pod says. Pure.

The same pod gives the same words, so that a hub that starts again tells nothing else than before.
Which device the session holds only its node knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from arcetri_accounting.contract import podmarks
from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.contract.witness import WALL_CLOCK


def start_of(pod: Mapping[str, Any]) -> LeaseStarted | None:
    """Return the start of a session; None before its notebook runs, or where its marks are bad."""
    at = _notebook(pod, "startedAt")
    metadata: Mapping[str, Any] = pod.get("metadata") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    raw: Mapping[str, str] = metadata.get("annotations") or {}
    if at is None:
        return None
    try:
        return LeaseStarted.model_validate(
            {
                "seq": 1,
                "session": labels.get(podmarks.SESSION),
                "account": raw.get(podmarks.ACCOUNT),
                "username": raw.get(podmarks.USERNAME),
                "group": raw.get(podmarks.GROUP),
                "kind": labels.get(podmarks.KIND),
                "flavor": labels.get(podmarks.FLAVOR),
                "flavor_type": raw.get(podmarks.FLAVOR_TYPE),
                "share": raw.get(podmarks.SHARE),
                "catalog": raw.get(podmarks.CATALOG),
                "cpu": raw.get(podmarks.CPU),
                "memory": raw.get(podmarks.MEMORY),
                "devices": (),
                "pid": 0,
                "pid_start_ticks": 0,
                "boot_id": WALL_CLOCK,
                "at": at,
                "boottime_ms": to_ms(at),
            }
        )
    except ValidationError:
        return None


def end_of(pod: Mapping[str, Any], session: str, reason: str, now: datetime) -> LeaseEnded:
    """Return the end of a session that is over; where its pod does not say when, it is now."""
    at = _notebook(pod, "finishedAt")
    return gone(session, reason, now) if at is None else _ended(session, reason, at)


def gone(session: str, reason: str, now: datetime) -> LeaseEnded:
    """Return the end of a session that was found to be over: nobody says when it ended."""
    return _ended(session, reason, now).model_copy(update={"at_is_estimate": True})


def node_of(pod: Mapping[str, Any]) -> str:
    """Where a pod is; empty before it is known."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _ended(session: str, reason: str, at: datetime) -> LeaseEnded:
    return LeaseEnded(
        seq=1, session=session, reason=reason, boot_id=WALL_CLOCK, at=at, boottime_ms=to_ms(at)
    )


def _notebook(pod: Mapping[str, Any], key: str) -> datetime | None:
    """A moment of the notebook's container, as its state has it."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status.get("name") == podmarks.NOTEBOOK_CONTAINER:
            state: Mapping[str, Any] = status.get("state") or {}
            said = (state.get("terminated") or state.get("running") or {}).get(key)
            return _moment(said) if isinstance(said, str) else None
    return None


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    # What is not known is also written as a moment of the year 1.
    return found if found > datetime(1970, 1, 2, tzinfo=UTC) else None
