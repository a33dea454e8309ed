"""The numbers of a report, from sums to rows. Pure: no database, no clock.

Everything is an integer until it is shown (``contract.units``). GPU-hours, FPGA-hours and
core-hours are never added to each other, and simulated devices never to real ones.

allocated
    Share times the time that a session held its device.
used
    Share times the utilisation, over the time in which utilisation could be *measured*; so used is
    always "of" measured, and says nothing about the rest.
occupied
    Share times the time in which a compute process was seen on the device.
unobserved
    Share times the time in which nothing at all was seen: unknown, and never idle.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from fractions import Fraction
from operator import attrgetter
from typing import Literal

from arcetri_accounting.reports.periods import month_key

By = Literal["group", "user", "flavor", "day", "month"]
BY: tuple[By, ...] = ("group", "user", "flavor", "day", "month")
PROVENANCES = ("agent", "reconciled", "imported", "generated")


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over usage; ``*_u`` in 1/10080 device-milliseconds."""

    alloc_u: int = 0
    used_u: int = 0
    util_u: int = 0
    """The part of ``alloc_u`` in which utilisation was measured."""
    occupied_u: int = 0
    unobserved_u: int = 0
    core_ms: int = 0
    """Milliseconds times thousandths of a core."""
    energy_mj: int = 0
    """As far as it was measured."""

    def __add__(self, other: Sums) -> Sums:
        if other is NOTHING or self is NOTHING:
            return self if other is NOTHING else other
        return Sums(
            self.alloc_u + other.alloc_u,
            self.used_u + other.used_u,
            self.util_u + other.util_u,
            self.occupied_u + other.occupied_u,
            self.unobserved_u + other.unobserved_u,
            self.core_ms + other.core_ms,
            self.energy_mj + other.energy_mj,
        )

    @property
    def used_fraction(self) -> Fraction | None:
        """Used of measured; None where nothing was measured."""
        return Fraction(self.used_u, self.util_u) if self.util_u else None

    @property
    def measured_unused_u(self) -> int:
        """Measured, and not used."""
        return self.util_u - self.used_u

    @property
    def presence_u(self) -> int:
        """Observed, but utilisation cannot be measured: only whether a process was there."""
        return max(0, self.alloc_u - self.util_u - self.unobserved_u)

    @property
    def unoccupied_u(self) -> int:
        """Observed, and no compute process was there."""
        return max(0, self.alloc_u - self.occupied_u - self.unobserved_u)


NOTHING = Sums()
_values = attrgetter(*(each.name for each in fields(Sums)))


@dataclass(frozen=True, slots=True)
class Entry:
    """Sums of one key, type of device and provenance, as they come from the database."""

    key: str
    flavor_type: str
    provenance: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Amounts:
    """One line of a report: each kind of hour on its own."""

    gpu: Sums = NOTHING
    fpga: Sums = NOTHING
    core_ms: int = 0
    energy_mj: int = 0
    gpu_by_provenance: Mapping[str, int] = field(default_factory=dict)
    """``alloc_u`` of the GPUs by where it is known from."""
    running: Sums = NOTHING
    """Of GPUs, what runs and is not cut yet: provisional, in no other number."""
    running_fpga: Sums = NOTHING
    running_core_ms: int = 0

    def plus(self, entry: Entry) -> Amounts:
        """With an entry added."""
        return self + of(entry)

    def with_running(self, entry: Entry) -> Amounts:
        """With an entry of the tail added."""
        return self + of_running(entry)

    def __add__(self, other: Amounts) -> Amounts:
        parts = dict(self.gpu_by_provenance)
        for name, units in other.gpu_by_provenance.items():
            parts[name] = parts.get(name, 0) + units
        return Amounts(
            self.gpu + other.gpu,
            self.fpga + other.fpga,
            self.core_ms + other.core_ms,
            self.energy_mj + other.energy_mj,
            parts,
            self.running + other.running,
            self.running_fpga + other.running_fpga,
            self.running_core_ms + other.running_core_ms,
        )

    @property
    def reconciled_u(self) -> int:
        """The part of the GPUs' ``alloc_u`` that no agent saw."""
        return self.gpu_by_provenance.get("reconciled", 0)

    @property
    def empty(self) -> bool:
        """True where there is nothing to show."""
        if self.gpu.alloc_u or self.core_ms:
            return False
        devices = (self.gpu, self.running, self.fpga, self.running_fpga)
        known = any(one != NOTHING for one in devices)
        return not (known or self.running_core_ms or self.energy_mj)

    @property
    def so_far(self) -> Sums:
        """Of GPUs (and all cores), with what runs."""
        cores = self.core_ms + self.running_core_ms
        return replace(self.gpu + self.running, core_ms=cores, energy_mj=self.energy_mj)


def of(entry: Entry) -> Amounts:
    """What an entry adds to a line."""
    sums = entry.sums
    core_ms, energy_mj = sums.core_ms, sums.energy_mj
    if entry.flavor_type == "gpu":
        return Amounts(sums, NOTHING, core_ms, energy_mj, {entry.provenance: sums.alloc_u})
    fpga = sums if entry.flavor_type == "fpga" else NOTHING
    return Amounts(NOTHING, fpga, core_ms, energy_mj)


def of_running(entry: Entry) -> Amounts:
    """What an entry of the tail adds to a line."""
    sums = entry.sums
    gpu = sums if entry.flavor_type == "gpu" else NOTHING
    fpga = sums if entry.flavor_type == "fpga" else NOTHING
    return Amounts(running=gpu, running_fpga=fpga, running_core_ms=sums.core_ms)


@dataclass(frozen=True, slots=True)
class Row:
    """A line with its key, and the text to show for it."""

    key: str
    label: str
    amounts: Amounts


def rows(
    entries: Iterable[Entry],
    running: Iterable[Entry],
    by: By,
    label: Callable[[str], str] = str,
) -> list[Row]:
    """Fold entries into one row a key, in the order people look for them.

    Days and months come in their order, the rest with the most GPU-hours first.
    """
    folded: dict[str, Amounts] = {}
    additions = itertools.chain(
        ((entry.key, of(entry)) for entry in entries),
        ((entry.key, of_running(entry)) for entry in running),
    )
    for key, amounts in additions:
        before = folded.get(key)
        folded[key] = amounts if before is None else before + amounts
    found = [Row(key, label(key), amounts) for key, amounts in folded.items() if not amounts.empty]
    if by in ("day", "month"):
        return sorted(found, key=lambda row: row.key)
    return sorted(found, key=_weight)


def _weight(row: Row) -> tuple[int, int, int, str, str]:
    amounts = row.amounts
    return (
        -(amounts.gpu.alloc_u + amounts.running.alloc_u),
        -(amounts.fpga.alloc_u + amounts.running_fpga.alloc_u),
        -(amounts.core_ms + amounts.running_core_ms),
        row.label,
        row.key,
    )


def total(lines: Iterable[Row]) -> Amounts:
    """The sum of rows; the same whatever they are by."""
    amounts = [line.amounts for line in lines]
    parts: dict[str, int] = {}
    for one in amounts:
        for name, units in one.gpu_by_provenance.items():
            parts[name] = parts.get(name, 0) + units
    return Amounts(
        _summed([one.gpu for one in amounts]),
        _summed([one.fpga for one in amounts]),
        sum(one.core_ms for one in amounts),
        sum(one.energy_mj for one in amounts),
        parts,
        _summed([one.running for one in amounts]),
        _summed([one.running_fpga for one in amounts]),
        sum(one.running_core_ms for one in amounts),
    )


def _summed(many: Sequence[Sums]) -> Sums:
    """As adding them one by one, without an object for each step."""
    some = [_values(one) for one in many if one is not NOTHING]
    return Sums(*map(sum, zip(*some, strict=True))) if some else NOTHING


def key_of_day(ordinal: int, by: By) -> str:
    """The key of a day's roll-up where rows are by day or month."""
    day = date.fromordinal(ordinal)
    return month_key(day) if by == "month" else day.isoformat()
