"""What a sampler says about a device, and what is kept of it until it is accounted for.

All moments are CLOCK_BOOTTIME in milliseconds. A span ``(begin, end)`` is what a value holds for:
utilisation for the time since the sample before it, a process's presence for the time since the
last look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FULL = 10_000
"""Utilisation is counted in hundredths of a percent: this is all of a device."""

Busy = tuple[int, int, int]
"""From, to, and the mean utilisation in hundredths of a percent."""
Seen = tuple[int, int, bool]
"""From, to, and whether a compute process was there."""
EnergyMethod = Literal["measured", "split"]


@dataclass(frozen=True, slots=True)
class Device:
    """What is there."""

    uuid: str
    model: str = ""
    parent: str = ""
    """The GPU of a MIG instance."""
    profile: str = ""
    weight: int = 10_080
    """Of its physical device in 1/10080; 0 for a GPU in MIG mode."""


@dataclass(slots=True)
class Reading:
    """One look at a device; what could not be read is empty or None."""

    uuid: str
    at: int
    busy: Sequence[Busy] = ()
    seen_from: int | None = None
    """Since when the presence below holds; None where it could not be read."""
    occupied: bool = False
    memory: int | None = None
    """Bytes held by processes."""
    energy: tuple[int, int, int] | None = None
    """From, to, millijoules."""
    energy_method: EnergyMethod = "measured"
    down: bool = False
    """It is known to be lost: nothing can be read, and there is nothing to wait for."""


@dataclass(slots=True)
class Track:
    """What was read of one device and is not yet accounted for."""

    horizon: int = -1
    """Up to when it has been looked at."""
    busy: list[Busy] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    energy: list[tuple[int, int, int]] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)
    method: EnergyMethod = "measured"

    def add(self, reading: Reading) -> None:
        """Take a reading; what lies before the last one of its sort is cut off."""
        if reading.at > self.horizon:
            self.horizon = reading.at
        for begin, end, value in reading.busy:
            begin = max(begin, self.busy[-1][1]) if self.busy else begin
            if end > begin:
                self.busy.append((begin, end, min(max(value, 0), FULL)))
        if reading.seen_from is not None:
            begin = max(reading.seen_from, self.seen[-1][1]) if self.seen else reading.seen_from
            if reading.at > begin:
                self.seen.append((begin, reading.at, reading.occupied))
        if reading.energy is not None and reading.energy[1] > reading.energy[0]:
            self.energy.append(reading.energy)
            self.method = reading.energy_method
        if reading.memory is not None:
            self.memory.append((reading.at, reading.memory))

    def forget(self, before: int) -> None:
        """Drop what ends by then, but the last look, which says what was there."""
        if self.busy:
            _drop(self.busy, before, keep=0)
        if self.seen:
            _drop(self.seen, before, keep=1)
        if self.energy:
            _drop(self.energy, before, keep=0)
        while self.memory and self.memory[0][0] <= before:
            del self.memory[0]


def _drop(spans: list[Any], before: int, keep: int) -> None:
    """Drop spans from the beginning that end by then, but so many at the end."""
    while len(spans) > keep and spans[0][1] <= before:
        del spans[0]
