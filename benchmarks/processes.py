"""What a process costs, as the kernel counts it."""

from __future__ import annotations

import re
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Seconds of processor that all threads of a process have had, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory in MB, of 1,000,000 bytes."""
    return _memory_mb(pid, "Rss")


def proportional_mb(pid: int) -> float:
    """Resident memory in MB; what is shared counts in part."""
    return _memory_mb(pid, "Pss")


def _memory_mb(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None  # noqa: S101 - the kernel writes it always
    return round(int(found.group(1)) * 1024 / 1e6, 1)
