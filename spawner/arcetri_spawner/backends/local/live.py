"""A session that this hub watches, and the records of its start and end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from arcetri_accounting.contract.journal import LeasedDevice, LeaseEnded, LeaseStarted
from arcetri_spawner.backends.base import Device, Exited, Session
from arcetri_spawner.backends.local.process import Keeper
from arcetri_spawner.backends.local.procs import ProcessKey, boot_id, boottime_ms
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store.records import SessionRecord


@dataclass(slots=True)
class Live:
    """A session whose keeper is watched."""

    session: Session
    keeper: Keeper
    folder: Path
    exited: asyncio.Future[Exited] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Done when every process is gone and the journal knows."""
    reason: str = ""
    """Why it was asked to end; empty while nobody asked."""
    watcher: asyncio.Task[None] | None = None


def record_of(
    grant: Grant,
    devices: Sequence[Device],
    key: ProcessKey,
    *,
    ports: Sequence[int],
    port: int,
    base_url: str,
    started: datetime,
) -> SessionRecord:
    """What the store keeps, enough to find the session again."""
    return SessionRecord(
        id=grant.request_id,
        username=grant.username,
        account_id=grant.account_id,
        server_name=grant.server_name,
        group=grant.group,
        flavor=grant.flavor,
        devices=[asdict(device) for device in devices],
        pid=key.pid,
        pid_start_ticks=key.start_ticks,
        boot_id=key.boot_id,
        port=port,
        base_url=base_url,
        state={"ports": list(ports)},
        started=started,
    )


def session_of(record: SessionRecord, port: int) -> Session:
    """The session as pages and JupyterHub know it."""
    return Session(
        id=record.id,
        username=record.username,
        server_name=record.server_name,
        url=f"http://127.0.0.1:{port}",
        devices=tuple(Device(**device) for device in record.devices),
        started=record.started,
        state={"port": port},
    )


def key_of_record(record: SessionRecord) -> ProcessKey:
    """Which process was recorded."""
    return ProcessKey(record.pid, record.pid_start_ticks, record.boot_id)


def start_record(
    grant: Grant, devices: Sequence[Device], key: ProcessKey, at: datetime
) -> LeaseStarted:
    """The journal's record of a start; its number comes when it is written."""
    return LeaseStarted(
        seq=1,
        session=str(grant.request_id),
        account=grant.account_id,
        username=grant.username,
        group=grant.group,
        kind="batch" if grant.kind == "batch" else "notebook",
        flavor=grant.flavor,
        flavor_type=grant.flavor_type,
        share=grant.share,
        catalog=grant.catalog_digest,
        cpu=grant.cpu,
        memory=grant.memory,
        devices=tuple(
            LeasedDevice(uuid=device.uuid, model=device.model, simulated=device.simulated)
            for device in devices
        ),
        pid=key.pid,
        pid_start_ticks=key.start_ticks,
        boot_id=key.boot_id,
        at=at,
        boottime_ms=boottime_ms(),
    )


def end_record(session: str, reason: str) -> LeaseEnded:
    """The journal's record of an end that is seen as it happens; its number comes when written."""
    return LeaseEnded(
        seq=1,
        session=session,
        reason=reason,
        boot_id=boot_id(),
        at=datetime.now(UTC),
        boottime_ms=boottime_ms(),
    )
