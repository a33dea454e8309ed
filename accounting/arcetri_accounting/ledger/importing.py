"""Loading records of past usage as history, each once, however often its file is loaded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

from sqlalchemy import Double, cast, func, select
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.contract.witness import CatalogSnapshot
from arcetri_accounting.ledger import registry, rollups
from arcetri_accounting.ledger.bulk import append
from arcetri_accounting.ledger.database import Database, hold
from arcetri_accounting.ledger.importrows import (
    Bad,
    Entry,
    Line,
    Skipped,
    exact_text,
    share_text,
)
from arcetri_accounting.ledger.registry import Held, Owner
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import (
    ERASED,
    AllocationRow,
    CatalogRow,
    DayRow,
    Dimensions,
    ImportedRow,
    Person,
)
from arcetri_accounting.ledger.times import said

PROVENANCE: Final = "imported"
OWN: Final = ""
"""The site of this ledger's own records."""
_MOST: Final = 2**62
"""What all records together may add up to: a sum in a database has 63 bits, and what agents bring
needs room too. It is 5 million GPU-days."""
_AT_ONCE: Final = 1000
_CHUNK: Final = 400
_COLUMNS: Final = (
    *("site", "external_id", "allocation_id", "t0", "dur_ms", "util_ms", "used_u"),
    *("occupied_ms", "unobserved_ms", "energy_mj", "mem_peak", "sha256"),
)


@dataclass(slots=True)
class Report:
    """What became of a file."""

    loaded: int = 0
    already: int = 0
    """Records that were there with the same content."""
    skipped: int = 0
    """Lines that are no records of their own."""
    refused: list[Bad] = field(default_factory=list)
    rounded: list[Entry] = field(default_factory=list)
    noted: list[Entry] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "loaded": self.loaded,
            "already": self.already,
            "skipped": self.skipped,
            "refused": [
                {"line": bad.line, "external_id": bad.external_id, "why": bad.why}
                for bad in self.refused
            ],
            "rounded": [
                {
                    "line": one.line,
                    "external_id": one.external_id,
                    "gpus": one.rounded,
                    "counted": share_text(one.share_u),
                    "counted_exactly": exact_text(one.share_u),
                }
                for one in self.rounded
            ],
            "noted": [
                {"line": one.line, "external_id": one.external_id, "how": one.note}
                for one in self.noted
            ],
        }


def load(
    database: Database,
    lines: Iterator[Line],
    *,
    site: str | None,
    kind: str,
    note: Callable[[Bad | Entry], None] | None = None,
) -> Report:
    """Load what can be loaded; a thousand records are one transaction.

    Args:
        database: The ledger's.
        lines: What was read.
        site: Where the records come from; ids are unique there. None for the ledger's own site,
            whatever that is called now or later.
        kind: ``notebook`` or ``batch``.
        note: Told of each line that was refused, rounded or read in one of two ways.
    """
    report = Report()
    while chunk := list(islice(lines, _AT_ONCE)):
        entries = [line for line in chunk if isinstance(line, Entry)]
        loaded, already, conflicts = database.write(
            lambda session, entries=entries: _store(session, entries, site, kind)  # type: ignore[misc]
        )
        killpoints.reach("import.committed")
        report.loaded += len(loaded)
        report.already += already
        report.skipped += sum(isinstance(line, Skipped) for line in chunk)
        bad = [line for line in chunk if isinstance(line, Bad)]
        refused = sorted([*bad, *conflicts], key=lambda one: one.line)
        rounded = [one for one in loaded if one.rounded]
        report.refused += refused
        report.rounded += rounded
        report.noted += [one for one in loaded if one.note]
        if note is not None:
            told: list[Bad | Entry] = [*refused, *(e for e in loaded if e.rounded or e.note)]
            for one in sorted(told, key=lambda line: line.line):
                note(one)
    return report


def _store(
    session: Session, entries: list[Entry], site: str | None, kind: str
) -> tuple[list[Entry], int, list[Bad]]:
    space = _space(site)
    # Whatever site's: a name that two of them have is one person.
    hold(session, "import")
    stored = _stored(session, entries, space)
    held = _sums(session)
    new: dict[str, Entry] = {}
    already = 0
    conflicts: list[Bad] = []
    for entry in entries:
        first = new.get(entry.external_id)
        there = (
            _There(first.sha256(), first.t0, first.t1) if first else stored.get(entry.external_id)
        )
        if there is None:
            amounts = (entry.share_u * entry.dur_ms, entry.millicores * entry.dur_ms)
            after = [one + more for one, more in zip(held, amounts, strict=True)]
            if max(after) > _MOST:
                why = "the ledger's sums would be more than it can hold; check the records before"
                conflicts.append(Bad(entry.line, why, entry.external_id))
                continue
            held = after
            new[entry.external_id] = entry
        elif there.says(entry):
            already += 1
        else:
            where = f"on line {first.line}" if first else "in the ledger"
            why = (
                f"external_id {entry.external_id} is there already {where}, with another content:"
                f" {_content(session, space, entry, first)}; it stays as it is, and a correction"
                " changes it"
            )
            conflicts.append(Bad(entry.line, why, entry.external_id))
    if new:
        _append(session, list(new.values()), site, kind)
    return list(new.values()), already, conflicts


def _space(site: str | None) -> str:
    """What ids of records are unique in: never a name of the ledger's own, which may change."""
    return OWN if site is None else site


def _sums(session: Session) -> list[float]:
    """Of devices' and cores' time in the whole ledger; as floats, that no sum can break."""
    columns = (DayRow.alloc_u, DayRow.core_ms)
    sums = session.execute(select(*(func.sum(cast(one, Double)) for one in columns))).one()
    return [float(one or 0) for one in sums]


class _There(NamedTuple):
    """A record that is there."""

    sha256: bytes
    t0: int
    t1: int

    def says(self, entry: Entry) -> bool:
        """Whether it is the same; of a person who was erased nothing more is known than times."""
        if self.sha256 == ERASED:
            return (self.t0, self.t1) == (entry.t0, entry.t1)
        return self.sha256 == entry.sha256()


def _stored(session: Session, entries: list[Entry], space: str) -> dict[str, _There]:
    found = {}
    names = sorted({entry.external_id for entry in entries})
    for start in range(0, len(names), _CHUNK):
        some = ImportedRow.external_id.in_(names[start : start + _CHUNK])
        columns = select(ImportedRow.external_id, ImportedRow.sha256, ImportedRow.t0)
        rows = columns.add_columns(ImportedRow.dur_ms).where(ImportedRow.site == space, some)
        for name, sha256, t0, dur_ms in session.execute(rows):
            found[name] = _There(bytes(sha256), t0, t0 + dur_ms)
    return found


def _content(session: Session, space: str, entry: Entry, first: Entry | None) -> str:
    """What is there already, as much of it as can be told."""
    if first is not None:
        values = (first.share_u, first.flavor, first.user, first.group)
        return _told(first.t0, first.t1, *values, first.millicores)
    row, allocation, dimensions, person = session.execute(
        select(ImportedRow, AllocationRow, Dimensions, Person)
        .join(AllocationRow, AllocationRow.id == ImportedRow.allocation_id)
        .join(Dimensions, Dimensions.id == AllocationRow.dimensions_id)
        .join(Person, Person.id == Dimensions.person_id)
        .where(ImportedRow.site == space, ImportedRow.external_id == entry.external_id)
    ).one()
    who = person.name or f"erased person {person.id}"
    values = (allocation.share_u, dimensions.flavor, who, dimensions.group)
    return _told(row.t0, row.t0 + row.dur_ms, *values, allocation.millicores)


def _told(
    t0: int, t1: int, share_u: int, flavor: str, user: str, group: str, millicores: int
) -> str:
    cores = f", {Decimal(millicores) / 1000:f} cores" if millicores else ""
    return (
        f"{said(t0)} to {said(t1)}, user {user}, group {group}, flavor {flavor},"
        f" gpus {exact_text(share_u)}{cores}"
    )


def _append(session: Session, entries: list[Entry], site: str | None, kind: str) -> None:
    types = _types(session)
    space = _space(site)
    accounts = _accounts(session, {entry.user for entry in entries})
    held = {
        entry.external_id: _held(entry, accounts[entry.user], types, site, kind)
        for entry in entries
    }
    names: dict[str, str | None] = {accounts[entry.user]: entry.user for entry in entries}
    known = registry.ensure(session, list(held.values()), names)
    rows = []
    pieces = []
    for entry in entries:
        one = known[held[entry.external_id].key]
        amounts = (entry.t0, entry.dur_ms, 0, 0, 0, entry.dur_ms, 0)
        rows.append((space, entry.external_id, one.id, *amounts, None, entry.sha256()))
        pieces.append(Piece(one.id, entry.t0, entry.dur_ms, unobserved_ms=entry.dur_ms))
    append(session, ImportedRow.metadata.tables["usage_imported"], _COLUMNS, rows)
    killpoints.reach("import.appended")
    rollups.apply(session, pieces, {one.id: one.terms for one in known.values()})
    killpoints.reach("import.rolled_up")


def _held(entry: Entry, account: str, types: dict[str, str], site: str | None, kind: str) -> Held:
    flavor_type = types.get(entry.flavor, "gpu") if entry.share_u else "cpu"
    session = entry.external_id
    if len(session) > 64:
        session = f"{session[:31]}~{registry.key_of('i', session)[2:]}"
    return Held(
        key=registry.key_of("i", _space(site), entry.external_id),
        owner=Owner(
            account, entry.group, entry.flavor, flavor_type, kind, PROVENANCE, simulated=False
        ),
        session=session,
        node="",
        device="",
        generation=1,
        model="",
        share_u=0 if flavor_type == "cpu" else entry.share_u,
        shared=False,
        millicores=entry.millicores,
        memory=entry.memory,
        catalog="",
        first=entry.t0,
        last=entry.t1,
        site=site,
    )


def _types(session: Session) -> dict[str, str]:
    """What kind of device the newest catalog says a flavour is; those it lacks are GPUs."""
    newest = select(CatalogRow.snapshot).order_by(CatalogRow.since.desc(), CatalogRow.id.desc())
    found = session.scalar(newest.limit(1))
    if found is None:
        return {}
    snapshot = CatalogSnapshot.model_validate(found)
    return {name: terms.type for name, terms in snapshot.flavors.items()}


def _accounts(session: Session, users: set[str]) -> dict[str, str]:
    """The account of each user: that of the person of this name, or one made for them.

    It is made at random: whoever knows the name cannot find the person by it once it is erased.
    """
    found: dict[str, str] = {}
    names = sorted(users)
    for start in range(0, len(names), _CHUNK):
        some = Person.name.in_(names[start : start + _CHUNK])
        rows = session.execute(select(Person.name, Person.account).where(some).order_by(Person.id))
        for name, account in rows:
            found.setdefault(str(name), account)
    return {user: f"imported:{uuid.uuid4()}" for user in names} | found
