"""Which devices are there, in which of their lives, and since when: pure.

A device that keeps its uuid can be another one: a MIG instance made anew, a GPU whose driver was
loaded anew. Each life is a generation. One that goes away and comes back has the next generation,
and so has every device after a reboot.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Final

from arcetri_accounting.agent.readings import Device, Reading
from arcetri_accounting.contract.units import QUARTER_MS


@dataclass(slots=True)
class Known:
    """A device that was seen once."""

    device: Device
    generation: int = 1
    """Counts its lives."""
    state: str = "gone"
    """``up``, ``down`` (lost, but its place is known), ``gone``."""
    fresh: bool = True
    """Its generation has not been seen yet."""
    b0: int = 0
    offset: int = 0
    through: int = 0
    cut: int = field(init=False)
    """Where its span is to be cut: at the next quarter hour."""
    name: str = field(init=False)
    """Under which what does not change of it is kept."""

    def __post_init__(self) -> None:
        self.name = f"device {self.device.uuid}"
        self.cut = _next_quarter(self.through, self.offset)


@dataclass(slots=True)
class Presences:
    """Every device of the node."""

    patience: int
    """How long nothing may be heard of a device before it counts as not reported, in ms."""
    known: dict[str, Known] = field(default_factory=dict)

    def generation(self, uuid: str) -> int:
        """The generation of a device; 1 for one never seen."""
        known = self.known.get(uuid)
        return 1 if known is None else known.generation

    def standing(self, uuid: str) -> tuple[object, ...] | None:
        """All of a device that does not change by time going on; None for one never seen."""
        known = self.known.get(uuid)
        if known is None:
            return None
        return known.device, known.generation, known.state, known.fresh, known.b0, known.offset

    def reboot(self) -> Iterator[dict[str, object]]:
        """The machine has booted: close everything, and count a generation further."""
        for known in self.known.values():
            yield from _close(known)
            if not known.fresh:
                known.generation += 1
            known.state, known.fresh = "gone", True

    def goes_on(self, reading: Reading) -> bool:
        """Take a look at a device that is there as before; False where there is more to it.

        Nearly every look is one of these. What ``see`` makes of it is the same.
        """
        known = self.known.get(reading.device.uuid)
        if (
            known is None
            or known.device is not reading.device
            or known.state != "up"
            or reading.down
            or reading.remade
            or not known.through <= reading.at < known.cut
            or reading.at - known.through > self.patience
        ):
            return False
        known.through = reading.at
        return True

    def see(self, reading: Reading, offset: int) -> Iterator[dict[str, object]]:
        """Take a look at a device; yields what is finished by it."""
        uuid = reading.device.uuid
        known = self.known.get(uuid)
        if known is None:
            known = self.known[uuid] = Known(reading.device)
        state = "down" if reading.down else "up"
        returned = state == "up" and known.state != "up" and not known.fresh
        changed = reading.device != known.device and not reading.down
        if reading.remade or returned or state != known.state or changed:
            yield from _close(known)
            if reading.remade or returned:
                known.generation += not known.fresh
            _open(known, state, reading.at, offset)
        elif reading.at - known.through > self.patience:
            yield from _close(known)
            _open(known, state, reading.at, offset)
        else:
            while (cut := known.cut) <= reading.at:
                known.through = cut
                yield from _close(known)
                _open(known, state, cut, known.offset)
            known.through = max(known.through, reading.at)
        if state == "up":
            known.fresh = False
            known.device = reading.device

    def gone(self, present: Set[str]) -> Iterator[dict[str, object]]:
        """These are all there are: what else was known is there no more."""
        for uuid in self.known.keys() - present:
            known = self.known[uuid]
            if known.state != "gone":
                yield from _close(known)
                known.state = "gone"

    def step(self, offset: int) -> Iterator[dict[str, object]]:
        """The wall clock is another: cut everything."""
        for known in self.known.values():
            if known.state != "gone":
                yield from _close(known)
                _open(known, known.state, known.through, offset)

    def cut_all(self) -> Iterator[dict[str, object]]:
        """Cut everything where it stands."""
        for known in self.known.values():
            if known.state != "gone":
                yield from _close(known)
                _open(known, known.state, known.through, known.offset)


_STATES: Final = ("up", "down")


def _open(known: Known, state: str, at: int, offset: int) -> None:
    known.state, known.b0, known.through, known.offset = state, at, at, offset
    known.cut = _next_quarter(at, offset)


def _next_quarter(at: int, offset: int) -> int:
    return ((at + offset) // QUARTER_MS + 1) * QUARTER_MS - offset


def _close(known: Known) -> Iterator[dict[str, object]]:
    if known.state not in _STATES or known.through <= known.b0:
        return
    device = known.device
    yield {
        "type": "presence",
        "device": device.uuid,
        "generation": known.generation,
        "parent": device.parent,
        "model": device.model,
        "profile": device.profile,
        "weight": device.weight,
        "state": known.state,
        "t0": known.b0 + known.offset,
        "dur_ms": known.through - known.b0,
        "b0": known.b0,
    }
