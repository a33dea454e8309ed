"""A generated half-year of usage, so that a demonstration's reports have something to say.

Made from the groups, quotas and flavours of a catalog and a seed: the same ones give the same
history, to the millisecond. Everything in it has the provenance ``generated`` and is simulated, so
no total of real devices ever holds any of it. It is written once: a ledger that has one stays as it
is.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.units import share_units, to_ms
from arcetri_accounting.contract.witness import CatalogSnapshot, FlavorTerms
from arcetri_accounting.ledger import rollups
from arcetri_accounting.ledger.rollups import Piece, Terms
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    CatalogRow,
    Dimensions,
    ImportedRow,
    Person,
)
from arcetri_accounting.reports.periods import zone_of

PROVENANCE: Final = "generated"
DAYS: Final = 183
NODE: Final = "generated"
_NAMESPACE: Final = uuid.UUID("6f0f3c52-6b0a-5f0e-9a3e-8d1f5a3b7c11")
_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_GIB: Final = 1 << 30
_FIRST_NAMES: Final = (
    *("ada", "bice", "cesare", "dora", "elio", "fosca", "guido", "ines", "livio", "mara"),
    *("nino", "olga", "piero", "rina", "sandro", "tina", "ugo", "vera", "zeno", "anita"),
)
_MAX_DEVICES: Final = 6
_CORES: Final = (1000, 2000, 4000)


@dataclass(frozen=True, slots=True)
class Somebody:
    """A person of the history."""

    account: str
    name: str


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a session in which its device was used in one way."""

    t0: int
    dur_ms: int
    util_ms: int
    used_u: int
    occupied_ms: int
    unobserved_ms: int
    energy_mj: int
    mem_peak: int | None


@dataclass(frozen=True, slots=True)
class Made:
    """One session of the history."""

    session: str
    who: Somebody
    group: str
    flavor: str
    terms: FlavorTerms
    device: str
    millicores: int
    spans: tuple[Span, ...]

    @property
    def first(self) -> int:
        """Its start."""
        return self.spans[0].t0

    @property
    def last(self) -> int:
        """Its end."""
        return self.spans[-1].t0 + self.spans[-1].dur_ms


@dataclass(frozen=True, slots=True)
class _Habit:
    """How somebody works."""

    who: Somebody
    flavors: tuple[str, ...]
    a_week: float
    hours: float
    use: float
    memory: float
    forgets: float
    starts: float


def people(
    catalog: CatalogSnapshot, seed: int, known: Mapping[str, Sequence[Somebody]] | None = None
) -> dict[str, list[Somebody]]:
    """Who is in each group that has a quota: those that are given, else invented ones."""
    random = Random(f"people:{seed}")  # noqa: S311 - a story, not a secret
    names = list(_FIRST_NAMES)
    random.shuffle(names)
    found: dict[str, list[Somebody]] = {}
    for number, group in enumerate(sorted(catalog.groups)):
        if not catalog.groups[group].quotas:
            continue
        if known and known.get(group):
            found[group] = list(known[group])
            continue
        count = random.randint(3, 5)
        picked = [names[(number * 5 + k) % len(names)] for k in range(count)]
        slug = group.rsplit("/", 1)[-1]
        found[group] = [
            Somebody(f"generated:{_id(seed, group, name)}", f"{name}-{slug}") for name in picked
        ]
    return found


def _id(*parts: object) -> str:
    return str(uuid.uuid5(_NAMESPACE, ":".join(map(str, parts))))


def is_holiday(day: date) -> bool:
    """Whether an Italian institute is as good as closed."""
    fixed = {(1, 1), (1, 6), (4, 25), (5, 1), (6, 2), (8, 15), (11, 1), (12, 8), (12, 25), (12, 26)}
    summer = (8, 8) <= (day.month, day.day) <= (8, 23)
    winter = (day.month, day.day) >= (12, 23) or (day.month, day.day) <= (1, 6)
    return (day.month, day.day) in fixed or summer or winter


def sessions(
    catalog: CatalogSnapshot,
    until: date,
    *,
    days: int = DAYS,
    seed: int = 1,
    known: Mapping[str, Sequence[Somebody]] | None = None,
) -> Iterator[Made]:
    """The sessions of the days before ``until``, group by group.

    No device holds two at once, and a group never more devices than its quota.
    """
    zone = zone_of(catalog.timezone)
    first = until - timedelta(days=days)
    end = _moment(until, 0, zone)
    for group, members in people(catalog, seed, known).items():
        quotas = {
            flavor: min(count, _MAX_DEVICES)
            for flavor, count in catalog.groups[group].quotas.items()
            if count > 0 and flavor in catalog.flavors and catalog.flavors[flavor].type != "cpu"
        }
        if not quotas:
            continue
        random = Random(f"{seed}:{group}")  # noqa: S311 - a story, not a secret
        habits = [_habit(random, place, who, tuple(quotas)) for place, who in enumerate(members)]
        free = {flavor: [0] * count for flavor, count in quotas.items()}
        number = 0
        for offset in range(days):
            day = first + timedelta(days=offset)
            for start, habit in _starts(random, habits, day, zone):
                flavor = random.choice(habit.flavors)
                slot = min(range(len(free[flavor])), key=free[flavor].__getitem__)
                begin = max(start, free[flavor][slot])
                if begin > start + 2 * _HOUR:
                    continue
                terms = catalog.flavors[flavor]
                spans = _spans(random, habit, terms, begin, end)
                if not spans:
                    continue
                number += 1
                free[flavor][slot] = spans[-1].t0 + spans[-1].dur_ms + 5 * _MINUTE
                yield Made(
                    session=_id(seed, group, "session", number),
                    who=habit.who,
                    group=group,
                    flavor=flavor,
                    terms=terms,
                    device=f"SIM-{_id(seed, group, flavor, slot)}",
                    millicores=random.choice(_CORES),
                    spans=spans,
                )


def _moment(day: date, hour: float, zone: ZoneInfo) -> int:
    midnight = to_ms(datetime.combine(day, time(), zone))
    return midnight + round(hour * _HOUR)


def _habit(random: Random, place: int, who: Somebody, flavors: tuple[str, ...]) -> _Habit:
    """Of the people of a group, each works in a way of their own."""
    return _Habit(
        who=who,
        flavors=(flavors[place % len(flavors)], *random.sample(flavors, 1)),
        a_week=random.uniform(3, 8) * (1, 1.2, 0.5, 1.4, 0.8)[place % 5],
        hours=random.uniform(2, 6),
        use=(0.30, 0.70, 0.04, 0.85, 0.45)[place % 5],
        memory=(0.22, 0.80, 0.60, 0.15, 0.90)[place % 5],
        forgets=(0.05, 0.02, 0.20)[place % 3],
        starts=random.uniform(8, 13),
    )


def _starts(
    random: Random, habits: Sequence[_Habit], day: date, zone: ZoneInfo
) -> list[tuple[int, _Habit]]:
    """Who starts a session on a day, in the order in which they do."""
    pace = 0.06 if is_holiday(day) else 0.15 if day.weekday() >= 5 else 1.0
    found = []
    for habit in habits:
        while random.random() < pace * habit.a_week / 6:
            hour = min(21.5, max(6.5, random.gauss(habit.starts, 2.5)))
            found.append((_moment(day, hour, zone), habit))
            if random.random() < 0.6:
                break
    return sorted(found, key=lambda one: (one[0], one[1].who.account))


def _spans(
    random: Random, habit: _Habit, terms: FlavorTerms, begin: int, end: int
) -> tuple[Span, ...]:
    """What a session did, hour by hour or so, until it ended."""
    hours = min(11.8, max(0.2, random.lognormvariate(0, 0.6) * habit.hours))
    if random.random() < 0.06:
        hours = random.uniform(9, 11.9)
    stop = min(end, begin + round(hours * _HOUR))
    forgotten = random.random() < habit.forgets
    idle_from = begin + (stop - begin) // 4 if forgotten else stop
    never = forgotten and random.random() < 0.3
    unseen = random.random() < 0.03
    base = habit.memory * random.uniform(0.7, 1.0)
    spans = []
    t0 = begin
    while t0 < stop:
        dur = min(stop - t0, random.randint(10 * _MINUTE, 70 * _MINUTE))
        active = not never and t0 < idle_from and random.random() < 0.85
        spans.append(_span(random, habit, terms, (t0, dur), base, active=active, unseen=unseen))
        unseen = False
        t0 += dur
    return tuple(spans)


def _span(
    random: Random,
    habit: _Habit,
    terms: FlavorTerms,
    when: tuple[int, int],
    base: float,
    *,
    active: bool,
    unseen: bool,
) -> Span:
    t0, dur = when
    if terms.type != "gpu":
        # As of real ones: nothing can be seen of an FPGA's use.
        return Span(t0, dur, 0, 0, 0, dur, 0, None)
    missing = random.randint(dur // 4, dur) if unseen else 0
    seen = dur - missing
    share = share_units(terms.share)
    occupied = round(seen * random.uniform(0.85, 1)) if active else 0
    # A slice of a device has no measure of its own for utilisation.
    measurable = share == SHARE_UNITS
    utilisation = min(1.0, max(0.0, random.gauss(habit.use, 0.12))) if active else 0.0
    util = seen if measurable else 0
    used = round(share * occupied * utilisation) if measurable else 0
    watts = 14 + 56 * utilisation
    memory = terms.memory or 16 * _GIB
    peak = round(memory * base * random.uniform(0.6, 1)) if active and seen else None
    if peak is None and seen:
        peak = 0
    return Span(
        t0, dur, util, used, occupied, missing, round(seen * watts) if measurable else 0, peak
    )


def _past(catalog: CatalogSnapshot, begin: date) -> CatalogRow:
    """The catalog as the generated past knew it: its quotas held all the time."""
    since = datetime.combine(begin, time(), zone_of(catalog.timezone))
    held = catalog.model_copy(update={"since": since})
    return CatalogRow(
        digest=catalog.digest, since=to_ms(since), snapshot=held.model_dump(mode="json")
    )


def generate(
    session: Session,
    catalog: CatalogSnapshot,
    until: date,
    *,
    days: int = DAYS,
    seed: int = 1,
    known: Mapping[str, Sequence[Somebody]] | None = None,
) -> int:
    """Write the history into a ledger that has none yet; call it in a writing transaction.

    Args:
        session: The transaction.
        catalog: Whose groups, quotas and flavours it is about.
        until: The first local day that is not generated any more.
        days: How many days it goes back.
        seed: Another one gives another history.
        known: People to take for each group, instead of invented ones.

    Returns:
        How many sessions were written; 0 where there is a history already.
    """
    there = select(Dimensions.id).where(Dimensions.provenance == PROVENANCE).limit(1)
    if session.scalars(there).first() is not None:
        return 0
    made = list(sessions(catalog, until, days=days, seed=seed, known=known))
    dimensions = _dimensions(session, catalog.site, made)
    rows = [
        AllocationRow(
            key=f"generated:{hashlib.sha256(one.session.encode()).hexdigest()[:28]}",
            dimensions_id=dimensions[_kind(one)],
            session=one.session,
            node=NODE,
            device=one.device,
            generation=1,
            model=one.terms.title,
            share_u=share_units(one.terms.share),
            shared=False,
            millicores=one.millicores,
            memory=0,
            catalog=catalog.digest,
            first=one.first,
            last=one.last,
        )
        for one in made
    ]
    session.add_all(rows)
    session.add(_past(catalog, until - timedelta(days=days)))
    session.flush()
    pieces: list[Piece] = []
    raw: list[dict[str, object]] = []
    for one, row in zip(made, rows, strict=True):
        for number, span in enumerate(one.spans):
            pieces.append(_piece(row.id, span))
            raw.append(_raw(catalog.site, one, row.id, number, span))
    if raw:
        session.execute(insert(ImportedRow), raw)
    terms = {row.id: Terms(row.share_u, row.millicores, row.dimensions_id) for row in rows}
    rollups.apply(session, pieces, terms)
    return len(made)


def _kind(one: Made) -> tuple[str, str, str]:
    return one.who.account, one.group, one.flavor


def _dimensions(
    session: Session, site: str, made: Sequence[Made]
) -> dict[tuple[str, str, str], int]:
    ids: dict[str, int] = {}
    for account, name in sorted({(one.who.account, one.who.name) for one in made}):
        person = session.scalars(select(Person).where(Person.account == account)).first()
        if person is None:
            person = Person(account=account, name=name)
            session.add(person)
            session.flush()
        ids[account] = person.id
    found: dict[tuple[str, str, str], int] = {}
    for one in made:
        if _kind(one) in found:
            continue
        row = Dimensions(
            site=site,
            person_id=ids[one.who.account],
            group=one.group,
            flavor=one.flavor,
            flavor_type=one.terms.type,
            kind="notebook",
            provenance=PROVENANCE,
            simulated=True,
        )
        session.add(row)
        session.flush()
        found[_kind(one)] = row.id
    return found


def _piece(allocation: int, span: Span) -> Piece:
    return Piece(
        allocation,
        span.t0,
        span.dur_ms,
        span.util_ms,
        span.used_u,
        span.occupied_ms,
        span.unobserved_ms,
        span.energy_mj,
        span.mem_peak,
    )


def _raw(site: str, one: Made, allocation: int, number: int, span: Span) -> dict[str, object]:
    name = f"{PROVENANCE}:{one.session}:{number}"
    piece = _piece(allocation, span)
    return {
        "site": site,
        "external_id": name,
        "allocation_id": allocation,
        "t0": span.t0,
        "dur_ms": span.dur_ms,
        "util_ms": span.util_ms,
        "used_u": span.used_u,
        "occupied_ms": span.occupied_ms,
        "unobserved_ms": span.unobserved_ms,
        "energy_mj": span.energy_mj,
        "mem_peak": span.mem_peak,
        "sha256": hashlib.sha256(repr((name, piece[1:])).encode()).digest(),
    }
