"""Leases of devices, inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from arcetri_spawner.backends.base import Device
from arcetri_spawner.errors import Conflict
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.store.tables import LeaseTable, RequestTable


def lease(
    db: Session,
    request_id: UUID,
    flavor: str,
    devices: Sequence[Device],
    quota: tuple[GroupPath, int] | None,
    now: datetime,
) -> Device | None:
    """Take the first free device, or return the one the request holds already.

    Who gets one is admitted by it, in the same transaction.
    """
    request = db.get(RequestTable, request_id)
    if request is None or request.state == "ended":
        raise Conflict(
            "This request has ended, so it can hold no device.",
            code="request_ended",
            remedy="Start again from the spawn page.",
        )
    own = db.scalar(select(LeaseTable).where(LeaseTable.request_id == request_id))
    if own is not None:
        return Device(own.device_uuid, own.flavor, own.model, own.simulated)
    if quota is not None and _held(db, quota[0], flavor) >= quota[1]:
        return None
    wanted = [device.uuid for device in devices]
    taken = set(
        db.scalars(select(LeaseTable.device_uuid).where(LeaseTable.device_uuid.in_(wanted)))
    )
    device = next((device for device in devices if device.uuid not in taken), None)
    if device is not None:
        if request.state in ("asked", "waiting"):
            request.state, request.admitted_at, request.changed_at = "admitted", now, now
        db.add(
            LeaseTable(
                device_uuid=device.uuid,
                request_id=request_id,
                flavor=flavor,
                model=device.model,
                simulated=device.simulated,
                leased_at=now,
            )
        )
        db.flush()
    return device


def leases(db: Session) -> dict[str, UUID]:
    """Return who holds which device."""
    rows = db.execute(select(LeaseTable.device_uuid, LeaseTable.request_id))
    return {row.device_uuid: row.request_id for row in rows}


def free(db: Session, request_id: UUID) -> None:
    """Give back what a request holds, if anything."""
    db.execute(delete(LeaseTable).where(LeaseTable.request_id == request_id))


def _held(db: Session, group: GroupPath, flavor: str) -> int:
    query = (
        select(func.count())
        .select_from(LeaseTable)
        .join(RequestTable, RequestTable.id == LeaseTable.request_id)
        .where(LeaseTable.flavor == flavor, RequestTable.group == group)
    )
    return db.scalar(query) or 0
