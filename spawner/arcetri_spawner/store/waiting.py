"""Requests that wait and that are admitted, inside a transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_spawner.backends.base import Device
from arcetri_spawner.errors import Conflict
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store import grants, leases, requests
from arcetri_spawner.store.records import BEFORE_START, InLine, Standing
from arcetri_spawner.store.tables import LeaseTable, RequestTable

MOVED: Final = "moved"
"""How a request ended that its user exchanged for another one."""


def waits_no_more() -> Conflict:
    """What is said where a request was to be exchanged, and its turn has come."""
    return Conflict(
        "This request waits no more: it is about to start.",
        code="waits_no_more",
        remedy="Look at it again.",
    )


def in_line(db: Session, request_id: UUID) -> InLine:
    """Return where a live request stands, and what it holds."""
    request = _live(db, request_id)
    own = db.scalar(select(LeaseTable).where(LeaseTable.request_id == request_id))
    device = Device(own.device_uuid, own.flavor, own.model, own.simulated) if own else None
    return InLine(request.place, device)


def standing(db: Session, request_id: UUID) -> Standing | None:
    """Return where a request is, live or ended; None where there is none."""
    row = db.get(RequestTable, request_id)
    if row is None:
        return None
    return Standing(
        row.id,
        row.account_id,
        row.username,
        row.server_name,
        row.flavor,
        row.group,
        row.state,
        row.reason,
        row.message,
        row.details or "",
    )


def admitted(db: Session, request_id: UUID, hold_until: datetime, now: datetime) -> None:
    """Write that a request's turn has come; one that starts or has ended stays as it is."""
    request = db.get(RequestTable, request_id)
    if request is None or request.state not in BEFORE_START:
        return
    if request.state != "admitted":
        request.state, request.changed_at = "admitted", now
    request.admitted_at = request.admitted_at or now
    request.hold_until = hold_until


def back_in_line(db: Session, request_id: UUID, now: datetime) -> None:
    """Have an admitted request wait again, at its old place."""
    leases.free(db, request_id)
    request = db.get(RequestTable, request_id)
    if request is not None and request.state in BEFORE_START:
        request.state, request.changed_at = "waiting", now
        request.admitted_at = request.hold_until = None


def begin(db: Session, grant: Grant, by_itself: bool, now: datetime) -> None:
    """Write that a request starts, with what it was granted now, and whether by itself."""
    request = _live(db, grant.request_id)
    request.state, request.changed_at = "starting", now
    request.grant = grants.dump(grant)
    request.by_itself = by_itself
    request.hold_until = None


def hold(db: Session, request_id: UUID, until: datetime | None) -> None:
    """Write until when a session is kept for somebody to open it."""
    request = db.get(RequestTable, request_id)
    if request is not None and request.state != "ended":
        request.hold_until = until


def exchange(db: Session, old: UUID, grant: Grant, now: datetime) -> None:
    """End one request and write another, so that there is always exactly one of the two."""
    request = _live(db, old)
    if request.state not in ("asked", "waiting"):
        raise waits_no_more()
    requests.mark(db, old, "ended", MOVED, "", now)
    # What is written next must find the server's name free.
    db.flush()
    db.expire(request)
    requests.open_request(db, grant, now)


def take_back(db: Session, request_id: UUID, instead: UUID, now: datetime) -> None:
    """Have the old request wait again; the new one goes without a trace."""
    new = db.get(RequestTable, instead)
    old = db.get(RequestTable, request_id)
    if new is None or old is None or old.reason != MOVED:
        return
    leases.free(db, instead)
    db.delete(new)
    db.flush()
    old.state, old.reason, old.ended_at, old.changed_at = "waiting", "", None, now


def wish(db: Session, request_id: UUID, returns: bool) -> None:
    """Write whether a live request goes back in line, should its session be ended for others.

    That it does is what holds where nothing is written; ``True`` is written with the end alone.
    """
    request = db.get(RequestTable, request_id)
    if request is not None and request.state != "ended":
        request.returns = None if returns else False


def go_back(
    db: Session, old: UUID, grant: Grant, reason: str, message: str, now: datetime
) -> datetime | None:
    """End a request whose session has ended, and write another one at its place.

    Nothing is counted anew: there are as many requests of the person as before.
    """
    request = db.get(RequestTable, old)
    if request is None:
        return None
    if db.get(RequestTable, grant.request_id) is not None:
        return request.asked_at
    if not requests.mark(db, old, "ended", reason, message, now):
        return None
    leases.free(db, old)
    # What is written next must find the server's name free.
    db.flush()
    db.expire(request)
    requests.add(db, grant, "waiting", asked=request.asked_at, now=now, place=request.place)
    return request.asked_at


def _live(db: Session, request_id: UUID) -> RequestTable:
    request = db.get(RequestTable, request_id)
    if request is None or request.state == "ended":
        raise Conflict(
            "This request has ended.",
            code="request_ended",
            remedy="Start again from the spawn page.",
        )
    return request
