"""One look at a GPU, which another thread can go on with where the driver hangs at an instance."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from arcetri_accounting.agent.clock import Instant
from arcetri_accounting.agent.readings import Device, Reading
from arcetri_accounting.agent.sampler import library
from arcetri_accounting.agent.sampler.library import Handle

SLEPT_MS: Final = 1000
Energy = tuple[int, int, int]
"""From, to, millijoules."""


@dataclass(slots=True)
class Part:
    """What is looked at: the GPU itself, or an instance of it."""

    device: Device
    handle: Handle
    gpm: library.Gpm | None = None
    looked: int | None = None
    """When its processes were read last, by CLOCK_BOOTTIME; None where the machine slept since."""
    sampled: int | None = None
    """Up to when its utilisation is known."""
    stamp: int = 0
    """Of its last sample, as the driver says it."""
    measured: Instant | None = None
    """When its utilisation was read last, where there is no buffer."""
    hung: bool = False
    """A thread is in the driver for it and is not waited for, or came back and is not told of."""
    owed: Energy | None = None
    """What it is to be told of energy as soon as it is read."""
    remade: bool = False
    """It is known to be another one than before, and nobody was told yet."""

    def close(self) -> None:
        """Give back what reads it, unless a thread hangs in there with it.

        Raises:
            NvmlError: It cannot be given back.
        """
        if self.gpm is not None and not self.hung:
            self.gpm.close()


@dataclass(frozen=True, slots=True)
class Late:
    """What came of an instance that was passed by."""

    part: Part
    reading: Reading | None
    """None where the driver could not tell."""
    share: Energy | None
    """Of the energy, as the reading has it."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What one look at a board gives."""

    readings: Sequence[Reading]
    present: frozenset[str]
    errors: int = 0
    unloaded: bool = False
    """The driver has to be initialised anew."""


@dataclass(slots=True)
class Turn:
    """How far a look has come. One thread is at it; it ends its part if it is passed by."""

    began: Instant
    remade: bool
    """The instances are known to be others than before."""
    left: Iterator[tuple[Part, Energy | None]]
    """The instances not yet read, each with its share of the energy."""
    processes: library.Processes
    """This thread's own: one that hangs keeps writing where it was told to."""
    readings: list[Reading]
    stale: set[str] = field(default_factory=set)
    """Instances that are there no more."""
    hand: deque[Part] = field(default_factory=deque)
    """The instance that is being read. Who takes it out of here goes on with the rest: this thread
    once it has read it, or the one that waits no more. A deque settles that without a lock."""

    def go_past(self) -> Turn | None:
        """The turn as it goes on without the instance in hand; None where there is none."""
        try:
            part = self.hand.pop()
        except IndexError:
            return None
        part.hung = True
        part.remade = part.remade or self.remade
        return Turn(
            self.began,
            self.remade,
            self.left,
            library.Processes(),
            self.readings,
            self.stale,
        )


def joined(first: Energy | None, then: Energy | None) -> Energy | None:
    """Two measurements as one; only the later one where time between them was not measured."""
    if first is None or then is None:
        return first or then
    return (first[0], then[1], first[2] + then[2]) if first[1] == then[0] else then


def slept(before: Instant, now: Instant) -> bool:
    """Whether the machine slept between two moments."""
    return (now.boot - before.boot) - (now.awake - before.awake) >= SLEPT_MS
