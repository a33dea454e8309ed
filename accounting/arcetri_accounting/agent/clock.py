"""Time as the agent needs it: where a moment lies, and how long something took.

Durations come from CLOCK_BOOTTIME, which neither steps nor stops while the machine sleeps; the wall
clock only says where they lie. CLOCK_MONOTONIC stops while the machine sleeps, so that the two
together tell a sleep.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple, Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Instant(NamedTuple):
    """One moment by three clocks, in milliseconds."""

    wall: int
    """Since 1970 in UTC."""
    boot: int
    """CLOCK_BOOTTIME."""
    awake: int
    """CLOCK_MONOTONIC."""

    @property
    def offset(self) -> int:
        """What has to be added to the boot time to have the wall clock's."""
        return self.wall - self.boot


class Clock(Protocol):
    """Where the agent has its time from."""

    @property
    def boot_id(self) -> str:
        """Names this boot of the machine."""

    def now(self) -> Instant:
        """This moment."""

    def boottime(self) -> int:
        """This moment by CLOCK_BOOTTIME alone, in milliseconds."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = _BOOT_ID.read_text(encoding="ascii").strip()

    @property
    def boot_id(self) -> str:
        """The kernel's random id of this boot."""
        return self._boot_id

    def now(self) -> Instant:
        """This moment."""
        return Instant(
            time.time_ns() // 1_000_000,
            time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
            time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000,
        )

    def boottime(self) -> int:
        """This moment by CLOCK_BOOTTIME alone, in milliseconds."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
