"""Reads what the division of devices' time is made from, a day at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import QUARTER_MS, hours, quarters
from arcetri_accounting.ledger.errors import Forbidden
from arcetri_accounting.ledger.retention import QUARTERS_SETTING
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    Dimensions,
    GapRow,
    OpenRow,
    PresenceRow,
    QuarterRow,
    SettingRow,
    Stream,
)
from arcetri_accounting.reports.capacity import (
    QUARTER_U,
    DeviceType,
    Division,
    Doubt,
    Held,
    Seen,
    divide,
)
from arcetri_accounting.reports.periods import BadPeriod, Period
from arcetri_accounting.reports.service import Context

CapacityBy = Literal["device", "model"]
CAPACITY_BY: tuple[CapacityBy, ...] = ("device", "model")
MAX_DAYS: Final = 366
_LONGEST_MS: Final = 31 * 86_400_000
"""Of a presence, by the contract."""
_DAY_QUARTERS: Final = 96


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A physical device, or all of one model."""

    key: str
    type: DeviceType
    model: str
    devices: int
    parts: Division


@dataclass(frozen=True, slots=True)
class Capacity:
    """How the time of devices divides over a period, as far as it has passed."""

    context: Context
    period: Period
    until: int
    """To where it is counted, in milliseconds since 1970: a whole quarter hour."""
    by: CapacityBy
    simulated: bool
    lines: list[DeviceLine]
    totals: list[DeviceLine]
    """One for each type: hours of GPUs and of FPGAs are never added up."""
    unplaced_u: int
    """Allocated on slices of which no agent ever said on what device they lie."""

    @property
    def notes(self) -> list[str]:
        """What a reader must know about the numbers."""
        said = []
        if self.until < self.period.end_ms:
            said.append(f"Counted until {self.context.moment(self.until)}.")
        if self.unplaced_u:
            said.append(
                f"{hours(self.unplaced_u):.2f} hours were allocated on slices of which no agent"
                " said on what device they lie; they are in no row."
            )
        beyond = sum(line.parts.beyond for line in self.totals)
        if beyond:
            said.append(
                f"{hours(beyond):.2f} hours were allocated on top of a device's whole, by sessions"
                " that overlap; they are in no row."
            )
        return said


@dataclass(slots=True)
class _Known:
    """What was learnt of devices on the way."""

    parents: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    types: dict[str, DeviceType] = field(default_factory=dict)


def capacity(
    session: Session, found: Context, period: Period, by: CapacityBy, *, simulated: bool
) -> Capacity:
    """Divide the whole time of every device that the ledger knows something of in a period.

    Raises:
        Forbidden: The reader does not read everything.
        BadPeriod: The period is too long.
    """
    if not found.reader.everything:
        raise Forbidden(
            "Only administrators read how the devices' time divides.",
            code="not_admin",
            remedy="Your own usage is on your own page.",
        )
    if (period.last - period.first) >= timedelta(days=MAX_DAYS):
        raise BadPeriod(
            f"The period {period} has more than {MAX_DAYS} days.", remedy="Ask for a shorter one."
        )
    first, after = period.quarters
    after = max(first, min(after, found.now // QUARTER_MS))
    known = _Known()
    slices: set[str] = set()
    unplaced = 0
    sums: dict[str, Division] = {}
    counted: dict[str, int] = {}
    _learn(session, known, first, after, simulated=simulated)
    for begin in range(first, after, _DAY_QUARTERS):
        span = begin, min(begin + _DAY_QUARTERS, after)
        held = []
        for one, alone in _held(session, known, span, simulated=simulated):
            if alone or one.device in slices:
                slices.add(one.device)
                unplaced += one.alloc_u
            else:
                held.append(one)
        divided = divide(
            _seen(session, span, simulated=simulated), _doubts(session, span), held,
            known.parents, span,
        )  # fmt: skip
        for device, parts in divided.items():
            sums.setdefault(device, Division()).add(parts)
            counted[device] = counted.get(device, 0) + span[1] - span[0]
    for device, parts in sums.items():
        parts.unreported += (after - first - counted[device]) * QUARTER_U
    devices = [
        DeviceLine(device, known.types.get(device, "gpu"), known.models.get(device, ""), 1, parts)
        for device, parts in sorted(sums.items())
    ]
    lines = devices if by == "device" else _together(devices, "model")
    return Capacity(
        found, period, after * QUARTER_MS, by, simulated, lines, _together(devices, "type"),
        unplaced,
    )  # fmt: skip


def _together(devices: Iterable[DeviceLine], by: Literal["model", "type"]) -> list[DeviceLine]:
    groups: dict[tuple[DeviceType, str], list[DeviceLine]] = {}
    for one in devices:
        groups.setdefault((one.type, one.model if by == "model" else ""), []).append(one)
    lines = []
    for (kind, model), some in sorted(groups.items()):
        parts = Division()
        for one in some:
            parts.add(one.parts)
        key = (model or "unknown") if by == "model" else kind
        lines.append(DeviceLine(key, kind, model, len(some), parts))
    return lines


def _within(span: tuple[int, int]) -> tuple[int, int]:
    return span[0] * QUARTER_MS, span[1] * QUARTER_MS


def _learn(session: Session, known: _Known, first: int, after: int, *, simulated: bool) -> None:
    begin, end = _within((first, after))
    statement = (
        select(PresenceRow.device, PresenceRow.parent, PresenceRow.model)
        .where(PresenceRow.simulated == simulated)
        .distinct()
    )
    told = (PresenceRow.t0 < end, PresenceRow.t0 >= begin - _LONGEST_MS)
    _note(known, session.execute(statement.where(*told)))
    held = session.scalars(
        select(AllocationRow.device)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .where(
            AllocationRow.first < end,
            AllocationRow.last >= begin,
            AllocationRow.device != "",
            Dimensions.simulated == simulated,
        )
        .distinct()
    )
    missing = sorted(set(held) - known.models.keys() - known.parents.keys())
    for at in range(0, len(missing), 500):
        some = PresenceRow.device.in_(missing[at : at + 500])
        _note(known, session.execute(statement.where(some)))


def _note(known: _Known, rows: Iterable[Any]) -> None:
    for device, parent, model in sorted(map(tuple, rows)):
        if parent:
            known.parents[device] = parent
        else:
            known.models[device] = model


def _seen(session: Session, span: tuple[int, int], *, simulated: bool) -> Iterator[Seen]:
    begin, end = _within(span)
    near = (PresenceRow.t0 < end, PresenceRow.t0 >= begin - _LONGEST_MS)
    longest = session.scalar(select(func.max(PresenceRow.dur_ms)).where(*near)) or 0
    rows = session.execute(
        select(
            Stream.node, PresenceRow.device, PresenceRow.parent, PresenceRow.weight,
            PresenceRow.state, PresenceRow.t0, PresenceRow.dur_ms,
        )
        .join(Stream, Stream.id == PresenceRow.stream_id)
        .where(
            PresenceRow.t0 < end,
            PresenceRow.t0 > begin - longest,
            PresenceRow.simulated == simulated,
        )
    )  # fmt: skip
    for node, device, parent, weight, state, t0, dur_ms in rows:
        yield Seen(node, device, parent, weight, state == "down", t0, t0 + dur_ms)


def _doubts(session: Session, span: tuple[int, int]) -> list[Doubt]:
    begin, end = _within(span)
    rows = session.execute(
        select(Stream.node, GapRow.t0, GapRow.t1)
        .join(Stream, Stream.id == GapRow.stream_id)
        .where(GapRow.t0 < end, GapRow.t1 > begin)
    )
    doubts = [Doubt(node, t0, t1) for node, t0, t1 in rows]
    kept = session.scalar(select(SettingRow.value).where(SettingRow.name == QUARTERS_SETTING))
    dropped = int(kept or 0) * QUARTER_MS
    if dropped > begin:
        # Who held what then is no longer kept by device: what was seen says nothing without it.
        nodes = session.scalars(select(Stream.node).distinct())
        doubts += [Doubt(node, begin, dropped) for node in nodes]
    return doubts


def _held(
    session: Session, known: _Known, span: tuple[int, int], *, simulated: bool
) -> Iterator[tuple[Held, bool]]:
    """What was held, and whether it is a slice of which nothing says where it lies."""
    columns: tuple[Any, ...] = (
        AllocationRow.device, AllocationRow.model, AllocationRow.share_u, AllocationRow.shared,
        Dimensions.flavor_type,
    )  # fmt: skip
    where = (AllocationRow.device != "", Dimensions.simulated == simulated)
    rows: Iterable[Any] = session.execute(
        select(*columns, QuarterRow.quarter, QuarterRow.alloc_u, QuarterRow.dur_ms)
        .join(AllocationRow, AllocationRow.id == QuarterRow.allocation_id)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .where(QuarterRow.quarter >= span[0], QuarterRow.quarter < span[1], *where)
        .order_by(QuarterRow.quarter, AllocationRow.id)
    )
    for device, model, share, shared, kind, quarter, alloc_u, dur_ms in rows:
        alone = _describe(known, device, model, kind, share=share, shared=shared)
        yield Held(device, quarter, alloc_u, share, dur_ms, shared), alone
    begin, end = _within(span)
    running: Iterable[Any] = session.execute(
        select(*columns, OpenRow.t0, OpenRow.dur_ms)
        .join(AllocationRow, AllocationRow.id == OpenRow.allocation_id)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .where(OpenRow.t0 < end, OpenRow.t0 + OpenRow.dur_ms > begin, *where)
    )
    for device, model, share, shared, kind, t0, dur_ms in running:
        alone = _describe(known, device, model, kind, share=share, shared=shared)
        for quarter, q0, q1 in quarters(max(t0, begin), min(t0 + dur_ms, end)):
            yield Held(device, quarter, share_u=share, waiting_u=share * (q1 - q0)), alone


def _describe(
    known: _Known, device: str, model: str, kind: str, *, share: int, shared: bool
) -> bool:
    if device in known.parents:
        return False
    if device not in known.models:
        if share != SHARE_UNITS and not shared:
            return True
        known.models[device] = model
    known.types[device] = "fpga" if kind == "fpga" else "gpu"
    return False
