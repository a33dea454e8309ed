"""What the agent counts about itself; read by its metrics, ``docs/reference/metrics.md``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Counters since the start, and gauges. Integers only: any thread may read them."""

    cycles: int = 0
    cycles_missed: int = 0
    """Cycles that were left out because one before took longer than the interval."""
    cycle_ms: int = 0
    """What the last cycle took."""
    segments: int = 0
    presences: int = 0
    gaps: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "spool_lost",
                "spool_corrupt",
                "disk_full",
                "journal_damaged",
                "clock",
                "suspended",
            ),
            0,
        )
    )
    """By code."""
    deliveries: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("accepted", "unreachable", "refused", "nonsense", "failed"), 0
        )
    )
    """By outcome: ``refused`` is 4xx, ``failed`` 5xx, ``nonsense`` an answer that cannot be."""
    acknowledged: int = 0
    """Records that the ledger has acknowledged."""
    quarantined: int = 0
    """Records that the ledger has set aside."""
    spool_errors: int = 0
    source_errors: int = 0
    nvml_errors: int = 0
    kubelet_errors: int = 0
    """Times the kubelet did not say who holds what."""
    watch_errors: int = 0
    """Times the API server's pods could not be followed."""
    kubelet_up: int = 0
    pods_up: int = 0
    depth: int = 0
    """Records that wait in the spool."""
    unwritten: int = 0
    """Records that wait in memory because the spool cannot be written."""
    holdings: int = 0
    devices_up: int = 0
    devices_down: int = 0
    devices_silent: int = 0
    """Devices whose reading is overdue."""
    nvml: int = 0
    """1 where NVML answers."""
    last_delivery: int = 0
    """When the ledger last accepted a batch, in milliseconds since 1970."""
