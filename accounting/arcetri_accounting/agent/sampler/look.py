"""What the cycle asks of a sampler: a look at every device, within a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from arcetri_accounting.agent.clock import Instant
from arcetri_accounting.agent.readings import Reading


@dataclass(frozen=True, slots=True)
class Look:
    """What came back in time."""

    readings: Sequence[Reading] = ()
    """One of each device that is known; a second one where one came late."""
    present: frozenset[str] | None = None
    """Every device there is; None where that is not known now."""
    silent: int = 0
    """Devices that have left out their reading."""
    available: bool = False
    """There is a driver, and it answers."""


class Sampler(Protocol):
    """Where readings come from."""

    def look(self, now: Instant, wanted: frozenset[str]) -> Look:
        """Look at every device, returning after a bounded time whatever the driver does.

        Args:
            now: The moment of the cycle.
            wanted: Devices that sessions hold; one that is not known calls for a new search.
        """

    def close(self) -> None:
        """Stop looking."""


class NoSampler:
    """A node where nothing can be observed."""

    def look(self, now: Instant, wanted: frozenset[str]) -> Look:  # noqa: ARG002
        """Nothing is there."""
        return Look(present=frozenset())

    def close(self) -> None:
        """Nothing to stop."""
