"""What a sampler says about a device, and what is kept of it until it is accounted for.

All moments are CLOCK_BOOTTIME in milliseconds. A span ``(begin, end)`` is what a value holds for:
utilisation for the time since the sample before it, a process's presence for the time since the
last look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

FULL = 10_000
"""Utilisation is counted in hundredths of a percent: this is all of a device."""

Busy = tuple[int, int, int]
"""From, to, and the mean utilisation in hundredths of a percent."""
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

    device: Device
    at: int
    busy: Sequence[Busy] = ()
    seen_from: int | None = None
    """Since when the presence below holds; None where it could not be read."""
    occupied: bool = False
    memory: int | None = None
    """Bytes held by processes."""
    energy: tuple[int, int, int] | None = None
    """From, to, millijoules; it ends by ``at``."""
    energy_method: EnergyMethod = "measured"
    down: bool = False
    """It is known to be lost: nothing can be read, and there is nothing to wait for."""
    remade: bool = False
    """It is known to be another one than before."""


@dataclass(slots=True)
class Track:
    """What was read of one device and is not yet accounted for."""

    horizon: int = -1
    """Up to when it has been looked at."""
    busy: list[Busy] = field(default_factory=list)
    looks: list[Reading] = field(default_factory=list)
    """Of presence, memory and energy."""
    seen_until: int = -1
    """Up to where presence is known."""

    def add(self, reading: Reading) -> None:
        """Take a reading; what lies before the last one of its sort is cut off."""
        at = reading.at
        if at > self.horizon:
            self.horizon = at
        if reading.busy:
            self._measured(reading.busy)
            reading.busy = ()
        since, energy = reading.seen_from, reading.energy
        if since is not None:
            if since < self.seen_until:
                reading.seen_from = since = self.seen_until
            if since < at:
                self.seen_until = at
            else:
                reading.seen_from = since = None
        if energy is not None and energy[0] >= energy[1]:
            reading.energy = energy = None
        if since is not None or energy is not None or reading.memory is not None:
            self.looks.append(reading)

    def _measured(self, spans: Sequence[Busy]) -> None:
        busy = self.busy
        for begin, end, value in spans:
            begin = max(begin, busy[-1][1]) if busy else begin
            if end > begin:
                busy.append((begin, end, min(max(value, 0), FULL)))

    def forget(self, before: int) -> None:
        """Drop what ends by then, but the last look, which says what was there."""
        looks, busy = self.looks, self.busy
        while len(looks) > 1 and looks[0].at <= before:
            del looks[0]
        while busy and busy[0][1] <= before:
            del busy[0]
