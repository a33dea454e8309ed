"""What the local backend is told once, at the hub's start."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from arcetri_accounting.contract.journal import JOURNAL_NAME


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """Settings of the local backend; what a session may have comes from the catalog."""

    state_dir: Path
    """Absolute path of the state folder."""
    instance_id: str
    """Tells this state folder's processes from those of another on the same machine."""
    accounts: bool = False
    """True: each user's sessions run under a numeric account of their own (needs root)."""
    mounts: bool = False
    """True: sessions see their volumes mounted at the catalog's places, which ``mounts.why_not``
    says is possible here; False: linked below a folder of the state folder."""
    python: Path = field(default_factory=lambda: Path(sys.executable))
    """The interpreter that serves environments whose ``local`` is ``default``."""
    simulate: bool = True
    """False: no simulated device is on offer, whatever the catalog says."""
    start_timeout: float = 170.0
    """Seconds a server may take to answer; then the start fails and nothing of it remains."""
    device_interval: float = 10.0
    """Seconds between two looks at the machine's devices."""
    device_timeout: float = 5.0
    """Seconds one look may take; a slower one makes the inventory stale."""
    min_free: int = 16 * 1024 * 1024
    """Bytes that must be free on the state folder's disk for anything new to start."""
    keep_logs: int = 50
    """How many ended sessions' folders, with their logs, are kept."""

    @property
    def sessions_dir(self) -> Path:
        """A folder per session: its log, its settings, its runtime files."""
        return self.state_dir / "sessions"

    @property
    def storage_dir(self) -> Path:
        """A folder per claim."""
        return self.state_dir / "storage"

    @property
    def views_dir(self) -> Path:
        """A folder per person, from which every volume is found at its mount path."""
        return self.state_dir / "view"

    @property
    def journal_path(self) -> Path:
        """The lease journal; the observer's acknowledgement lies beside it."""
        return self.state_dir / "journal" / JOURNAL_NAME
