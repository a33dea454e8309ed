"""One report, whoever shows it: pages, JSON, CSV, PDF and the command line all begin here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS, from_ms
from arcetri_accounting.contract.witness import CatalogSnapshot, FlavorTerms, GroupTerms
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.registry import setting
from arcetri_accounting.ledger.retention import QUARTERS_SETTING
from arcetri_accounting.ledger.rollups import site_zone
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    DiscrepancyRow,
    GapRow,
    NodeState,
    OpenRow,
    QuarantineRow,
    Stream,
    WitnessRow,
)
from arcetri_accounting.reports import access, completeness, hints, numbers, queries, quotas
from arcetri_accounting.reports.access import Reader, Sight, View, is_below
from arcetri_accounting.reports.completeness import Completeness, Gap, Known, Node
from arcetri_accounting.reports.numbers import Amounts, By, Row
from arcetri_accounting.reports.periods import Period, local_day, month, month_key, zone_of
from arcetri_accounting.reports.query import Filter
from arcetri_accounting.reports.sessions import SessionLine, lines, observed

T = TypeVar("T")

UNNAMED_SITE = "This site"
_PATIENCE_MS = 60_000
"""How far an agent's word may lie behind without anything being amiss."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every answer to one reader rests on, as one reading transaction sees it."""

    reader: Reader
    now: int
    site: str
    zone: ZoneInfo
    catalog: CatalogSnapshot | None
    known_groups: tuple[str, ...]
    leads: frozenset[str]
    only_simulated: bool
    """There are simulated devices here and no real ones."""
    sessions_from: int = 0
    """In milliseconds since 1970: single sessions are kept of what was used since; 0 means all."""

    @property
    def today(self) -> date:
        """The local date."""
        return local_day(self.now, self.zone)

    @property
    def flavors(self) -> dict[str, FlavorTerms]:
        """The catalog's flavours."""
        return dict(self.catalog.flavors) if self.catalog else {}

    @property
    def groups(self) -> dict[str, GroupTerms]:
        """The catalog's groups."""
        return dict(self.catalog.groups) if self.catalog else {}

    def this_month(self) -> Period:
        """The month that today lies in."""
        return month(month_key(self.today), self.zone)

    def kept_from(self, period: Period) -> date | None:
        """The day before which a period's sessions are no longer kept; None where all are."""
        if self.sessions_from <= period.start_ms:
            return None
        return local_day(self.sessions_from, self.zone)

    def moment(self, milliseconds: int) -> str:
        """A moment as people read it here."""
        return f"{from_ms(milliseconds).astimezone(self.zone):%Y-%m-%d %H:%M}"

    def title(self, flavor: str) -> str:
        """A flavour's title, or its name where the catalog no longer has it."""
        terms = self.flavors.get(flavor)
        return terms.title if terms else flavor


@dataclass(frozen=True, slots=True)
class Asked:
    """A report that a reader asks for."""

    wanted: Filter
    by: By = "group"
    view: View | None = None
    """None means the one that fits: all for administrators, else the group that is filtered by
    where the reader leads it, else one's own."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report's numbers, and what has to be said with them."""

    context: Context
    wanted: Filter
    by: By
    view: View
    sight: Sight
    rows: list[Row]
    accounts: dict[str, str]
    """By user: the opaque id of each row's key."""
    total: Amounts
    completeness: Completeness
    notes: list[str]
    """What a reader must know about the data's completeness."""

    @property
    def covers(self) -> str:
        """Whose usage it is, in words."""
        return covers(self.context, self.wanted, self.view)


def context(session: Session, reader: Reader, now: int) -> Context:
    """Read what every answer rests on."""
    catalog = queries.newest_snapshot(session)
    known = tuple(queries.groups_with_usage(session))
    terms = catalog.groups if catalog else {}
    reader = access.with_office(reader, catalog.admins if catalog else ())
    return Context(
        reader=reader,
        now=now,
        site=catalog.site if catalog else UNNAMED_SITE,
        zone=zone_of(site_zone(session)),
        catalog=catalog,
        known_groups=known,
        leads=access.led(reader, terms, known),
        only_simulated=queries.only_simulated(session),
        sessions_from=int(setting(session, QUARTERS_SETTING) or 0) * QUARTER_MS,
    )


def covers(found: Context, wanted: Filter, view: View) -> str:
    """Whose usage a view shows, in words."""
    part = f" in {wanted.group}" if wanted.group else ""
    below = " and the groups below it" if wanted.group and wanted.below else ""
    if view == "own":
        return f"The usage of {found.reader.name} alone{part}{below}."
    if wanted.user:
        return f"The usage of {wanted.user}{part}{below}."
    if view == "group" and not found.reader.everything:
        led = ", ".join(sorted(found.leads))
        return f"Everybody's usage in {wanted.group or led}{below}."
    return f"Everybody's usage{part}{below}."


def unknown(session: Session, found: Context, wanted: Filter) -> list[str]:
    """Sentences about names in a filter that neither the ledger nor the catalog has.

    For who reads everything: to others it would tell who is there.
    """
    said = []
    for what, name, names in (
        ("group", wanted.group, {*found.groups, *found.known_groups}),
        ("flavour", wanted.flavor, {*found.flavors, *queries.flavors_with_usage(session)}),
    ):
        below = what == "group" and wanted.below
        if name is None or name in names or (below and any(is_below(one, name) for one in names)):
            continue
        near = get_close_matches(name, names, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        said.append(f"Neither the ledger nor the catalog knows a {what} {name}.{meant}")
    if wanted.user is not None and not queries.is_person(session, wanted.user):
        said.append(f"The ledger knows nobody of the name or id {wanted.user}.")
    return said


def choose_view(found: Context, wanted: Filter, view: View | None) -> tuple[View, Sight]:
    """The view that is asked for, or meant, and what may be seen in it.

    Raises:
        arcetri_accounting.ledger.errors.Forbidden: The reader has no such view.
    """
    chosen = view or access.default_view(found.reader, found.leads, wanted.group)
    elsewhere = wanted.group is not None and wanted.group not in found.leads
    if chosen == "group" and elsewhere and not found.reader.everything:
        access.refuse_group(str(wanted.group))
    return chosen, access.sight(found.reader, chosen, found.leads)


def report(session: Session, found: Context, asked: Asked, quality: Known | None = None) -> Report:
    """Make a report.

    Args:
        session: A reading transaction.
        found: What every answer rests on.
        asked: What is asked for.
        quality: What is known of the period's data, where it has been read already.

    Raises:
        arcetri_accounting.ledger.errors.Forbidden: The reader may not see it.
    """
    wanted = asked.wanted
    view, sight = choose_view(found, wanted, asked.view)
    groups = found.known_groups
    running = queries.running(session, wanted, sight, groups, asked.by)
    accounts: dict[str, str] = {}
    if asked.by == "user":
        entries, who = queries.entries_by_person(session, wanted, sight, groups)
        who |= queries.people(session, {int(entry.key) for entry in running} - who.keys())
        labels = {str(id_): one.label(names=sight.names) for id_, one in who.items()}
        folded = numbers.rows(entries, running, asked.by, labels.__getitem__)
        accounts = {row.key: who[int(row.key)].account for row in folded}
    else:
        entries = queries.entries(session, wanted, sight, groups, asked.by)
        label = found.title if asked.by == "flavor" else str
        folded = numbers.rows(entries, running, asked.by, label)
    total = numbers.total(folded)
    quality = quality or known(session, wanted.period, found.now)
    kept_from = found.kept_from(wanted.period)
    judged = completeness.judge(quality, wanted.period, total, found.now, kept_from)
    return Report(
        context=found,
        wanted=wanted,
        by=asked.by,
        view=view,
        sight=sight,
        rows=folded,
        accounts=accounts,
        total=total,
        completeness=judged,
        notes=completeness.sentences(judged, wanted.period, found.moment),
    )


def known(session: Session, period: Period, now: int) -> Known:
    """What the ledger knows at ``now`` about the quality of a period's data."""
    start, end = period.start_ms, period.end_ms
    seen = [
        WitnessRow.started_at < end,
        or_(WitnessRow.ended_at.is_(None), WitnessRow.ended_at >= start),
    ]
    busy = set(session.scalars(select(WitnessRow.node).where(*seen).distinct()))
    nodes = tuple(
        Node(one.node, one.received_at, one.interval_ms, one.pending, one.node in busy)
        for one in session.scalars(select(NodeState).order_by(NodeState.node))
    )
    gaps = tuple(
        Gap(node, code, t0, t1)
        for node, code, t0, t1 in session.execute(
            select(Stream.node, GapRow.code, GapRow.t0, GapRow.t1)
            .join(Stream, Stream.id == GapRow.stream_id)
            .where(GapRow.t0 < end, GapRow.t1 >= start)
            .order_by(GapRow.t0)
        )
    )
    quarantined = (
        select(func.count())
        .select_from(QuarantineRow)
        .where(QuarantineRow.received_at >= start, QuarantineRow.received_at < end)
    )
    told = exists().where(WitnessRow.session == DiscrepancyRow.session, *seen)
    discrepancies = select(func.count(DiscrepancyRow.session.distinct())).where(told)
    awaiting = (
        select(func.count())
        .select_from(WitnessRow)
        .where(*seen, WitnessRow.ended_at.is_not(None), WitnessRow.reconciled_at.is_(None))
    )
    counts = (quarantined, discrepancies, awaiting)
    found = session.execute(select(*(count.scalar_subquery() for count in counts))).one()
    set_aside, disputed, uncompared = found
    untold = _untold(session, min(end, now - _PATIENCE_MS))
    return Known(nodes, gaps, set_aside, disputed, uncompared, untold)


def _untold(session: Session, until: int) -> tuple[tuple[str, int], ...]:
    """Sessions that run by the witness's word and are not told of up to a moment, by node."""
    tail = select(func.max(OpenRow.t0 + OpenRow.dur_ms)).where(
        OpenRow.allocation_id == AllocationRow.id
    )
    told = exists().where(
        AllocationRow.session == WitnessRow.session,
        AllocationRow.node == WitnessRow.node,
        or_(AllocationRow.last >= until, tail.correlate(AllocationRow).scalar_subquery() >= until),
    )
    rows = session.execute(
        select(WitnessRow.node, func.count())
        .where(WitnessRow.ended_at.is_(None), WitnessRow.started_at < until, ~told)
        .group_by(WitnessRow.node)
        .order_by(WitnessRow.node)
    )
    return tuple((node or "", count) for node, count in rows)


@dataclass(frozen=True, slots=True)
class SessionList:
    """One page of the sessions behind a number."""

    lines: list[SessionLine]
    count: int
    """Of all pages."""
    view: View
    sight: Sight


def session_list(
    session: Session, found: Context, asked: Asked, *, limit: int, offset: int = 0
) -> SessionList:
    """The sessions behind a number, the newest first."""
    view, sight = choose_view(found, asked.wanted, asked.view)
    held, count = queries.session_page(
        session, asked.wanted, sight, found.known_groups, limit=limit, offset=offset
    )
    return SessionList(lines(held, asked.wanted.period), count, view, sight)


def session_named(
    session: Session, found: Context, name: str, period: Period
) -> tuple[list[SessionLine], Sight]:
    """The session of a name, as far as the reader may see it; an id may be several people's."""
    sight = access.whole_sight(found.reader, found.leads)
    wanted = Filter(period, simulated="both")
    held = queries.one_session(session, name, sight, found.known_groups, wanted)
    return lines(held, period), sight


@dataclass(frozen=True, slots=True)
class Advice:
    """What a period's sessions teach."""

    idle: list[hints.Idle]
    hints: list[hints.Hint]
    view: View


def advice(session: Session, found: Context, asked: Asked) -> Advice:
    """Sessions that held a device unused, and what a smaller one would have done."""
    view, sight = choose_view(found, asked.wanted, asked.view)
    held = queries.held(session, asked.wanted, sight, found.known_groups, devices_only=True)
    seen = observed(lines(held, asked.wanted.period), names=sight.names)
    terms = {path: term.startable for path, term in found.groups.items()}
    return Advice(hints.idle(seen), hints.hints(seen, found.flavors, terms), view)


def quota_use(
    session: Session, found: Context, group: str, asked: Asked
) -> tuple[Sequence[quotas.Quota], dict[str, int]]:
    """A group's quotas over a period, as far as it has passed, and what was allocated, by flavour.

    Raises:
        arcetri_accounting.ledger.errors.Forbidden: The reader does not lead the group.
    """
    if not found.reader.everything and group not in found.leads:
        access.refuse_group(group)
    period = asked.wanted.period
    end = min(period.end_ms, found.now)
    lines = quotas.over(queries.snapshots(session, end), group, period.start_ms, end)
    wanted = Filter(period, group=group, simulated=asked.wanted.simulated)
    made = report(session, found, Asked(wanted, "flavor", "group"))
    used = {row.key: row.amounts.gpu.alloc_u + row.amounts.fpga.alloc_u for row in made.rows}
    return lines, used


def read(database: Database, reader: Reader, now: int, work: Callable[[Session, Context], T]) -> T:
    """Run ``work`` on one state of the ledger."""
    return database.read(lambda session: work(session, context(session, reader, now)))
