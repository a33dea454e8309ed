"""Who holds what: the events that a source of allocations gives the agent.

Locally they come from the hub's lease journal; on Kubernetes the kubelet and the pods say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from arcetri_accounting.contract.usage import Allocation


@dataclass(frozen=True, slots=True)
class Started:
    """A session holds its devices from now on."""

    seq: int
    session: str
    allocations: tuple[Allocation, ...]
    """One for each device; a single one without device where it holds none."""
    username: str
    wall: int
    """When, in milliseconds since 1970."""
    boot: int
    """When, by CLOCK_BOOTTIME in milliseconds, within ``boot_id``."""
    boot_id: str
    pid: int = 0
    """The session's first process; 0 where it is not known."""
    pid_start_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A session holds nothing any more."""

    seq: int
    session: str
    wall: int
    boot: int
    boot_id: str
    estimated: bool = False
    """It was found ended later; the moment is when it was found."""
    devices: tuple[str, ...] = ()
    """Only its allocations of these have ended; all of them where none is named."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """Something that cannot be read, and will never be."""

    seq: int
    """The number after the last one before it: the damaged one's own, most often."""
    detail: str


Event = Started | Ended | Damaged


class SourceError(Exception):
    """The source cannot be read now; it is tried again at the next cycle."""


class AllocationSource(Protocol):
    """Where allocations come from; numbered, so that after a crash none is taken twice."""

    def poll(self, after: int) -> list[Event]:
        """What has come since the last call, numbered above ``after``, in order; never waits.

        Raises:
            SourceError: It cannot be read.
        """

    def acknowledge(self, seq: int) -> None:
        """Tell the source that everything up to this number is kept durably here.

        Raises:
            SourceError: It cannot be told; it is told the next number later.
        """

    def known_before(self) -> int:
        """The highest number ever acknowledged, as far as the source remembers; 0 for none."""

    def alive(self) -> Mapping[tuple[str, str], int]:
        """By session and device, when a holding was last known to last, by CLOCK_BOOTTIME.

        Nothing of it is counted beyond that before the source says more. Empty where the source
        tells of ends within ``books.LAG_MS``.
        """
