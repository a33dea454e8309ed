"""What is read from the ledger's tables. Totals come from the days' roll-up alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    and_,
    cast,
    exists,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from arcetri_accounting.contract.witness import CatalogSnapshot
from arcetri_accounting.ledger.registry import SITE_SETTING, setting
from arcetri_accounting.ledger.tables import (
    MADE_FROM_NAMES,
    AllocationRow,
    CatalogRow,
    DayRow,
    Dimensions,
    MonthRow,
    OpenRow,
    Person,
    QuarterRow,
)
from arcetri_accounting.reports.access import Sight, is_below
from arcetri_accounting.reports.numbers import By, Entry, Sums, key_of_day
from arcetri_accounting.reports.query import Filter
from arcetri_accounting.reports.tail import Tail

_SUMS = ("alloc_u", "used_u", "util_u", "occupied_u", "unobserved_u", "core_ms", "energy_mj")


@dataclass(frozen=True, slots=True)
class Who:
    """A person as the ledger knows them."""

    id: int
    account: str
    name: str | None
    erased: bool

    def label(self, *, names: bool) -> str:
        """What they are shown as."""
        if self.erased:
            return f"erased person {self.id}"
        if not names:
            return self.account
        return self.name or f"person {self.id}"


@dataclass(frozen=True, slots=True)
class Held:
    """An allocation, and what it used within a period."""

    id: int
    session: str
    site: str
    who: Who
    group: str
    flavor: str
    flavor_type: str
    kind: str
    provenance: str
    simulated: bool
    node: str
    device: str
    generation: int
    model: str
    share_u: int
    shared: bool
    millicores: int
    memory: int
    first: int
    last: int
    sums: Sums
    dur_ms: int
    mem_peak: int | None
    tail: Tail | None


def newest_snapshot(session: Session) -> CatalogSnapshot | None:
    """The catalog that holds now."""
    statement = select(CatalogRow.snapshot).order_by(CatalogRow.since.desc(), CatalogRow.id.desc())
    found = session.scalars(statement.limit(1)).first()
    return None if found is None else CatalogSnapshot.model_validate(found)


def snapshots(session: Session, until: int) -> list[CatalogSnapshot]:
    """Every catalog that began to hold before a moment, in the order they did."""
    statement = (
        select(CatalogRow.snapshot)
        .where(CatalogRow.since < until)
        .order_by(CatalogRow.since, CatalogRow.id)
    )
    return [CatalogSnapshot.model_validate(found) for found in session.scalars(statement)]


def groups_with_usage(session: Session) -> list[str]:
    """Every group that anything was ever charged to."""
    return list(session.scalars(select(Dimensions.group).distinct().order_by(Dimensions.group)))


def flavors_with_usage(session: Session) -> list[str]:
    """Every flavour that was ever used."""
    return list(session.scalars(select(Dimensions.flavor).distinct().order_by(Dimensions.flavor)))


def is_person(session: Session, name: str) -> bool:
    """Whether there is anybody of a name or opaque id."""
    found = select(Person.id).where(or_(Person.account == name, Person.name == name))
    return session.scalars(found.limit(1)).first() is not None


def only_simulated(session: Session) -> bool:
    """Whether there are simulated devices here and no real ones."""
    devices = Dimensions.flavor_type != "cpu"
    real = exists().where(devices, Dimensions.simulated.is_(False))
    made_up = exists().where(devices, Dimensions.simulated.is_(True))
    return bool(session.scalar(select(and_(made_up, ~real))))


def has_both(session: Session) -> bool:
    """Whether there is usage of simulated devices, and of what is not simulated."""
    found = session.scalars(select(Dimensions.simulated).distinct())
    return len(set(found)) > 1


def choices(
    session: Session, sight: Sight, known: Iterable[str]
) -> tuple[list[str], list[str], list[str]]:
    """Groups, persons' names and flavours that a filter in this sight can have, each in order."""
    statement = (
        select(Dimensions.group, Person.name, Dimensions.flavor)
        .join(Person, Person.id == Dimensions.person_id)
        .where(seen(sight, known))
        .distinct()
    )
    found = session.execute(statement).all()
    names = {name for _, name, _ in found if name and sight.names}
    return sorted({f[0] for f in found}), sorted(names), sorted({f[2] for f in found})


def seen(sight: Sight, known: Iterable[str]) -> ColumnElement[bool]:
    """The rows in a sight, as a condition on Dimensions.

    Groups are compared here, one by one, and not by the database's LIKE, which on SQLite takes
    ``/A`` for ``/a``.
    """
    if sight.everything:
        return and_(True)
    parts: list[ColumnElement[bool]] = []
    groups = sorted(group for group in known if group in sight.groups)
    if groups:
        parts.append(Dimensions.group.in_(groups))
    if sight.person is not None:
        parts.append(_of_persons(_own(sight)))
    return or_(*parts) if parts else false()


def _own(sight: Sight) -> ColumnElement[bool]:
    """The reader, as a condition on Person.

    Where the hub says which account they are, only what was recorded without one goes by the name:
    the same name may have been another person's before.
    """
    named = Person.name == sight.person
    if sight.account is None:
        return named
    nameless = (Person.account.startswith(made, autoescape=True) for made in MADE_FROM_NAMES)
    return or_(Person.account == sight.account, and_(named, or_(*nameless)))


def _of_persons(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return Dimensions.person_id.in_(select(Person.id).where(condition))


def narrowed(wanted: Filter, sight: Sight, known: Sequence[str]) -> list[ColumnElement[bool]]:
    """The rows of a filter in a sight, as conditions on Dimensions; not the period."""
    found = [] if sight.everything else [seen(sight, known)]
    if wanted.simulated != "both":
        found.append(Dimensions.simulated.is_(wanted.simulated == "only"))
    if wanted.group is not None:
        below = [g for g in known if is_below(g, wanted.group)] if wanted.below else []
        found.append(Dimensions.group.in_([wanted.group, *below]))
    if wanted.user is not None:
        named = Person.account == wanted.user
        found.append(_of_persons(or_(named, Person.name == wanted.user) if sight.names else named))
    if wanted.flavor is not None:
        found.append(Dimensions.flavor == wanted.flavor)
    if wanted.kind is not None:
        found.append(Dimensions.kind == wanted.kind)
    return found


def _whole(total: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL answers a sum of large integers as a decimal.
    return cast(total, BigInteger)


def _sum_columns(
    table: type[DayRow] | type[QuarterRow] | type[MonthRow],
) -> list[ColumnElement[int]]:
    sums = {name: func.coalesce(func.sum(getattr(table, name)), 0) for name in _SUMS}
    return [_whole(column).label(name) for name, column in sums.items()]


def entries(
    session: Session, wanted: Filter, sight: Sight, known: Sequence[str], by: By
) -> list[Entry]:
    """Sums by key, type of device and provenance, from the days' roll-up alone."""
    conditions = narrowed(wanted, sight, known)
    if by in ("day", "month"):
        kind = (DayRow.day, Dimensions.flavor_type, Dimensions.provenance)
        by_day = (
            select(*kind, *_sum_columns(DayRow))
            .join(Dimensions, Dimensions.id == DayRow.dimensions_id)
            .where(_days(wanted), *conditions)
            .group_by(*kind)
        )
        return [
            Entry(key_of_day(day, by), flavor_type, provenance, Sums(*sums))
            for day, flavor_type, provenance, *sums in session.execute(by_day)
        ]
    keys: dict[By, InstrumentedAttribute[Any]] = {
        "group": Dimensions.group,
        "user": Dimensions.person_id,
        "flavor": Dimensions.flavor,
    }
    kinds = (keys[by], Dimensions.flavor_type, Dimensions.provenance)
    inner = _by_dimensions(wanted, sight, conditions)
    statement = (
        select(*kinds, *_outer_sums(inner))
        .join(inner, inner.c.dimensions_id == Dimensions.id)
        .where(*conditions)
        .group_by(*kinds)
    )
    return [
        Entry(str(key), flavor_type, provenance, Sums(*sums))
        for key, flavor_type, provenance, *sums in session.execute(statement)
    ]


def entries_by_person(
    session: Session, wanted: Filter, sight: Sight, known: Sequence[str]
) -> tuple[list[Entry], dict[int, Who]]:
    """As ``entries`` by user, and who the users are: asking for thousands by number takes long."""
    conditions = narrowed(wanted, sight, known)
    inner = _by_dimensions(wanted, sight, conditions)
    kinds = (Person.id, Dimensions.flavor_type, Dimensions.provenance)
    statement = (
        select(*kinds, Person.account, Person.name, Person.erased_at, *_outer_sums(inner))
        .join(inner, inner.c.dimensions_id == Dimensions.id)
        .join(Person, Person.id == Dimensions.person_id)
        .where(*conditions)
        .group_by(*kinds)
    )
    result, who = [], {}
    for id_, flavor_type, provenance, account, name, erased, *sums in session.execute(statement):
        result.append(Entry(str(id_), flavor_type, provenance, Sums(*sums)))
        who[id_] = Who(id_, account, name, erased is not None)
    return result, who


def _days(wanted: Filter) -> ColumnElement[bool]:
    period = wanted.period
    return DayRow.day.between(period.first.toordinal(), period.last.toordinal())


def _by_dimensions(
    wanted: Filter, sight: Sight, conditions: Sequence[ColumnElement[bool]]
) -> Subquery:
    # Summed by the roll-up's own key before anything is joined: twice as fast as after.
    summed = select(DayRow.dimensions_id, *_sum_columns(DayRow)).where(_days(wanted))
    if len(conditions) > 1 or not sight.everything:
        wished = select(Dimensions.id).where(*conditions)
        summed = summed.where(DayRow.dimensions_id.in_(wished))
    return summed.group_by(DayRow.dimensions_id).subquery()


def _outer_sums(inner: Subquery) -> list[ColumnElement[int]]:
    return [_whole(func.sum(inner.c[name])) for name in _SUMS]


def running(
    session: Session, wanted: Filter, sight: Sight, known: Sequence[str], by: By
) -> list[Entry]:
    """What runs and is not cut yet, by key, as far as it lies within the period."""
    period = wanted.period
    statement = (
        select(OpenRow, AllocationRow, Dimensions)
        .join(AllocationRow, AllocationRow.id == OpenRow.allocation_id)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .where(*narrowed(wanted, sight, known))
    )
    result = []
    for row, allocation, dimensions in session.execute(statement):
        keys = {"group": dimensions.group, "flavor": dimensions.flavor}
        key = keys.get(by, str(dimensions.person_id))
        for day, sums in _tail(row, allocation).days(period):
            if by in ("day", "month"):
                key = key_of_day(day.toordinal(), by)
            result.append(Entry(key, dimensions.flavor_type, dimensions.provenance, sums))
    return result


def _tail(row: OpenRow, allocation: AllocationRow) -> Tail:
    return Tail(
        t0=row.t0,
        dur_ms=row.dur_ms,
        share_u=allocation.share_u,
        millicores=allocation.millicores,
        util_ms=row.util_ms,
        used_u=row.used_u or 0,
        occupied_ms=row.occupied_ms,
        unobserved_ms=row.unobserved_ms,
        energy_mj=row.energy_mj or 0,
        mem_peak=row.mem_peak,
    )


def people(session: Session, ids: Iterable[int]) -> dict[int, Who]:
    """Persons by their number."""
    wanted = sorted(set(ids))
    found: dict[int, Who] = {}
    for at in range(0, len(wanted), 500):
        statement = select(Person.id, Person.account, Person.name, Person.erased_at)
        for id_, account, name, erased in session.execute(
            statement.where(Person.id.in_(wanted[at : at + 500]))
        ):
            found[id_] = Who(id_, account, name, erased is not None)
    return found


def _who(one: Person) -> Who:
    return Who(one.id, one.account, one.name, one.erased_at is not None)


def _held_statement(wanted: Filter) -> Select[Any]:
    first, after = wanted.period.quarters
    within = and_(
        QuarterRow.allocation_id == AllocationRow.id,
        QuarterRow.quarter >= first,
        QuarterRow.quarter < after,
    )
    columns: list[Any] = [
        AllocationRow,
        Dimensions,
        Person,
        func.coalesce(func.sum(QuarterRow.dur_ms), 0),
        func.max(QuarterRow.mem_peak),
        *_sum_columns(QuarterRow),
    ]
    return (
        select(*columns)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .join(Person, Person.id == Dimensions.person_id)
        .outerjoin(QuarterRow, within)
        .group_by(AllocationRow.id, Dimensions.id, Person.id)
        .order_by(AllocationRow.first, AllocationRow.id)
    )


def _overlapping(wanted: Filter) -> list[ColumnElement[bool]]:
    start, end = wanted.period.start_ms, wanted.period.end_ms
    # ``last`` is where cut usage ends: what runs may have gone on from there into the period.
    runs = exists().where(OpenRow.allocation_id == AllocationRow.id)
    return [AllocationRow.first < end, or_(AllocationRow.last >= start, runs)]


def _counts(wanted: Filter) -> ColumnElement[bool]:
    """An allocation has something in the period: what was withdrawn does not."""
    first, after = wanted.period.quarters
    used = (
        exists()
        .where(
            QuarterRow.allocation_id == AllocationRow.id,
            QuarterRow.quarter >= first,
            QuarterRow.quarter < after,
            QuarterRow.dur_ms > 0,
        )
        .correlate(AllocationRow)
    )
    runs = exists().where(
        OpenRow.allocation_id == AllocationRow.id, OpenRow.t0 < wanted.period.end_ms
    )
    return or_(used, runs)


def _held(session: Session, found: Sequence[Any]) -> list[Held]:
    tails: dict[int, OpenRow] = {}
    ids = [row[0].id for row in found]
    for at in range(0, len(ids), 500):
        some = select(OpenRow).where(OpenRow.allocation_id.in_(ids[at : at + 500]))
        tails.update((one.allocation_id, one) for one in session.scalars(some))
    own_site = setting(session, SITE_SETTING) or ""
    result = []
    for allocation, dimensions, person, dur_ms, mem_peak, *sums in found:
        tail = tails.get(allocation.id)
        result.append(
            Held(
                id=allocation.id,
                session=allocation.session,
                site=dimensions.site or own_site,
                who=_who(person),
                group=dimensions.group,
                flavor=dimensions.flavor,
                flavor_type=dimensions.flavor_type,
                kind=dimensions.kind,
                provenance=dimensions.provenance,
                simulated=dimensions.simulated,
                node=allocation.node,
                device=allocation.device,
                generation=allocation.generation,
                model=allocation.model,
                share_u=allocation.share_u,
                shared=allocation.shared,
                millicores=allocation.millicores,
                memory=allocation.memory,
                first=allocation.first,
                last=allocation.last,
                sums=Sums(*sums),
                dur_ms=int(dur_ms),
                mem_peak=mem_peak,
                tail=None if tail is None else _tail(tail, allocation),
            )
        )
    return result


def held(
    session: Session,
    wanted: Filter,
    sight: Sight,
    known: Sequence[str],
    *,
    devices_only: bool = False,
) -> list[Held]:
    """Every allocation with usage in the period, oldest first."""
    conditions = [*narrowed(wanted, sight, known), *_overlapping(wanted), _counts(wanted)]
    statement = _held_statement(wanted).where(*conditions)
    if devices_only:
        statement = statement.where(Dimensions.flavor_type == "gpu")
    return _held(session, session.execute(statement).all())


def running_sessions(
    session: Session, wanted: Filter, sight: Sight, known: Sequence[str]
) -> list[Held]:
    """The allocations that run now, the newest first."""
    runs = exists().where(OpenRow.allocation_id == AllocationRow.id)
    statement = _held_statement(wanted).where(*narrowed(wanted, sight, known), runs)
    return _held(session, session.execute(statement).all())[::-1]


def session_page(
    session: Session,
    wanted: Filter,
    sight: Sight,
    known: Sequence[str],
    *,
    limit: int,
    offset: int,
) -> tuple[list[Held], int]:
    """The allocations of one page of sessions, the newest session first, and how many there are.

    What belongs to one session comes together, whatever the page.
    """
    conditions = [*narrowed(wanted, sight, known), *_overlapping(wanted), _counts(wanted)]
    sessions = (
        select(AllocationRow.session, Dimensions.person_id, func.max(AllocationRow.first))
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .where(*conditions)
        .group_by(AllocationRow.session, Dimensions.person_id)
    )
    count = session.scalar(select(func.count()).select_from(sessions.subquery())) or 0
    newest = sessions.order_by(func.max(AllocationRow.first).desc(), AllocationRow.session)
    page = session.execute(newest.limit(limit).offset(offset)).all()
    if not page:
        return [], count
    chosen = or_(
        *(
            and_(AllocationRow.session == name, Dimensions.person_id == person)
            for name, person, _ in page
        )
    )
    found = session.execute(_held_statement(wanted).where(*conditions, chosen)).all()
    place = {(name, person): number for number, (name, person, _) in enumerate(page)}
    lines = _held(session, found)
    return sorted(lines, key=lambda one: (place[one.session, one.who.id], one.first, one.id)), count


def one_session(
    session: Session, name: str, sight: Sight, known: Sequence[str], wanted: Filter
) -> list[Held]:
    """The allocations of one session that are in sight, whole; none where there are none.

    What the period of ``wanted`` says of quarter hours is meant to be all that are kept: with those
    come the months of what is not.
    """
    statement = _held_statement(wanted).where(AllocationRow.session == name, seen(sight, known))
    found = _held(session, session.execute(statement).all())
    return [_with_months(session, one) for one in found]


def _with_months(session: Session, one: Held) -> Held:
    row = session.execute(
        select(func.coalesce(_whole(func.sum(MonthRow.dur_ms)), 0), func.max(MonthRow.mem_peak))
        .add_columns(*_sum_columns(MonthRow))
        .where(MonthRow.allocation_id == one.id)
    ).one()
    dur_ms, peak, *sums = row
    peaks = [known for known in (peak, one.mem_peak) if known is not None]
    return replace(
        one,
        sums=one.sums + Sums(*sums),
        dur_ms=one.dur_ms + dur_ms,
        mem_peak=max(peaks, default=None),
    )


def quarters_of(session: Session, allocation_ids: Sequence[int]) -> list[QuarterRow]:
    """The quarter hours of some allocations, in order."""
    statement = (
        select(QuarterRow)
        .where(QuarterRow.allocation_id.in_(allocation_ids))
        .order_by(QuarterRow.quarter, QuarterRow.allocation_id)
    )
    return list(session.scalars(statement))
