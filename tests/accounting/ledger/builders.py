"""Deliveries as agents and the spawner make them."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

from arcetri_accounting.contract.usage import Allocation

T0 = 1_774_000_000_000 // 900_000 * 900_000
"""A quarter hour of March 2026, in milliseconds."""
BOOT = "boot-1"


def token_file(path: Path, *credentials: dict[str, str]) -> Path:
    """Write a credentials file; each entry has its ``token`` in place of the digest."""
    entries = []
    for one in credentials:
        rest = {name: value for name, value in one.items() if name != "token"}
        rest["sha256"] = hashlib.sha256(one["token"].encode()).hexdigest()
        entries.append(rest)
    path.write_text(json.dumps(entries), encoding="utf-8")
    path.chmod(0o600)
    return path


def allocation(session: str = "s1", device: str = "GPU-1", **changes: Any) -> Allocation:
    """A whole T4 of alice's."""
    values: dict[str, Any] = {
        "session": session,
        "device": device,
        "account": "a-alice",
        "group": "/g/cms",
        "flavor": "t4",
        "flavor_type": "gpu",
        "share": Fraction(1),
        "catalog": "c" * 64,
        "model": "Tesla T4",
        "millicores": 2000,
        "memory": 2**33,
    }
    return Allocation.model_validate(values | changes)


def segment(
    seq: int, of: Allocation, t0: int, dur_ms: int = 300_000, **changes: Any
) -> dict[str, Any]:
    """A segment of which nothing was observed, unless it is said otherwise."""
    return {
        "type": "segment",
        "seq": seq,
        "allocation": of.key(),
        "t0": t0,
        "dur_ms": dur_ms,
        "b0": t0 - T0 + 1_000_000,
        "unobserved_ms": dur_ms,
    } | changes


def batch(
    records: list[dict[str, Any]],
    *allocations: Allocation,
    node: str = "n1",
    epoch: str = "e1",
    heartbeat: int = 1,
    **changes: Any,
) -> dict[str, Any]:
    """A batch of these records."""
    return {
        "v": 1,
        "node": node,
        "boot": BOOT,
        "epoch": epoch,
        "heartbeat": heartbeat,
        "sent_at": T0,
        "people": {one.account: one.account.removeprefix("a-") for one in allocations},
        "allocations": {one.key(): one.model_dump(mode="json") for one in allocations},
        "records": records,
    } | changes


def moment(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()


def started(
    seq: int,
    session: str = "s1",
    at: int = T0,
    devices: tuple[str, ...] = ("GPU-1",),
    **changes: Any,
) -> dict[str, Any]:
    """A session's start as the spawner saw it."""
    return {
        "v": 1,
        "type": "start",
        "seq": seq,
        "session": session,
        "account": "a-alice",
        "username": "alice",
        "group": "/g/cms",
        "flavor": "t4",
        "flavor_type": "gpu",
        "share": "1",
        "catalog": "c" * 64,
        "cpu": 2.0,
        "memory": 2**33,
        "devices": [{"uuid": one, "model": "Tesla T4"} for one in devices],
        "pid": 1,
        "pid_start_ticks": 1,
        "boot_id": BOOT,
        "at": moment(at),
        "boottime_ms": at - T0 + 1_000_000,
        "node": "n1",
    } | changes


def ended(seq: int, session: str = "s1", at: int = T0, **changes: Any) -> dict[str, Any]:
    """Its end."""
    return {
        "v": 1,
        "type": "end",
        "seq": seq,
        "session": session,
        "reason": "stopped",
        "boot_id": BOOT,
        "at": moment(at),
        "boottime_ms": at - T0 + 1_000_000,
        "node": "n1",
    } | changes


def catalog(seq: int, since: int = T0, zone: str = "Europe/Rome", **changes: Any) -> dict[str, Any]:
    """A catalog that begins to hold."""
    snapshot = {
        "v": 1,
        "digest": "c" * 64,
        "since": moment(since),
        "site": "CNAF",
        "timezone": zone,
    } | changes
    return {"v": 1, "type": "catalog", "seq": seq, "snapshot": snapshot}


def seen(*events: dict[str, Any], epoch: str = "w1", writer: str = "hub") -> dict[str, Any]:
    """A witness's batch."""
    return {"v": 1, "writer": writer, "epoch": epoch, "events": list(events)}
