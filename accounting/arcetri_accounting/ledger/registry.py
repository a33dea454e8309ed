"""People, dimensions and allocations: what usage belongs to, each made when it first occurs.

Rows are made in the order of their keys, people before dimensions before allocations, so that
writers side by side never wait for each other in a circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Table, select, tuple_, update
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.bulk import ignore, upsert
from arcetri_accounting.ledger.rollups import Terms
from arcetri_accounting.ledger.tables import AllocationRow, Dimensions, Person, SettingRow

SITE_SETTING: Final = "site"
_CHUNK: Final = 400


class Owner(NamedTuple):
    """Whose usage something is, and what it is reported under."""

    account: str
    group: str
    flavor: str
    flavor_type: str
    kind: str
    provenance: str
    simulated: bool


class Held(NamedTuple):
    """An allocation to be made if it is not there; ``key`` names it for good."""

    key: str
    owner: Owner
    session: str
    node: str
    device: str
    generation: int
    model: str
    share_u: int
    shared: bool
    millicores: int
    memory: int
    catalog: str
    first: int
    last: int
    site: str | None = None
    """None for the site that the newest catalog names."""


class Known(NamedTuple):
    """An allocation that is there."""

    id: int
    terms: Terms
    first: int
    last: int


def key_of(kind: str, *parts: str) -> str:
    """An allocation's key: a letter for where it comes from, and a digest of what names it."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{kind}:{digest[:32]}"


def people(
    session: Session, names: Mapping[str, str | None], *, rename: bool = False
) -> dict[str, int]:
    """Return the numbers of these accounts, which are made where they are not there.

    Args:
        session: A writing transaction.
        names: By account; None where no name is known.
        rename: Replace a name that is known already, and not only fill in one that is missing. A
            person who was erased keeps none in any case.
    """
    found = _people(session, names)
    missing = [(account, names[account]) for account in sorted(names.keys() - found.keys())]
    if missing:
        upsert(session, _PERSON, ("account", "name"), missing, ignore)
        found |= _people(session, [account for account, _ in missing])
    for account in sorted(names):
        id_, known, erased = found[account]
        name = names[account]
        if name and name != known and not erased and (rename or known is None):
            session.execute(update(Person).where(Person.id == id_).values(name=name))
    return {account: row[0] for account, row in found.items()}


def _people(
    session: Session, accounts: Iterable[str]
) -> dict[str, tuple[int, str | None, int | None]]:
    found = {}
    wanted = sorted(accounts)
    columns = (Person.account, Person.id, Person.name, Person.erased_at)
    for start in range(0, len(wanted), _CHUNK):
        some = Person.account.in_(wanted[start : start + _CHUNK])
        for account, id_, name, erased_at in session.execute(select(*columns).where(some)):
            found[account] = (id_, name, erased_at)
    return found


def allocations(session: Session, keys: Iterable[str]) -> dict[str, Known]:
    """Those of these allocations that are there, by key."""
    found = {}
    wanted = list(keys)
    for start in range(0, len(wanted), _CHUNK):
        some = AllocationRow.key.in_(wanted[start : start + _CHUNK])
        for row in session.execute(_ALLOCATIONS.where(some)):
            found[row[0]] = Known(row[1], Terms(row[2], row[3], row[4]), row[5], row[6])
    return found


def ensure(
    session: Session,
    wanted: Sequence[Held],
    names: Mapping[str, str | None],
) -> dict[str, Known]:
    """Return these allocations by key; what is not there is made, with all it belongs to.

    Args:
        session: A writing transaction.
        wanted: The allocations, each key once.
        names: Names of people by account, as far as known.
    """
    found = allocations(session, [held.key for held in wanted])
    missing = sorted((held for held in wanted if held.key not in found), key=lambda held: held.key)
    if not missing:
        return found
    accounts = {held.owner.account for held in missing}
    ids = people(session, {account: names.get(account) for account in accounts})
    site = setting(session, SITE_SETTING) or ""
    places = {
        held.key: (
            site if held.site is None else held.site,
            ids[held.owner.account],
            *held.owner[1:],
        )
        for held in missing
    }
    numbers = _dimensions(session, set(places.values()))
    rows = [
        (
            *(held.key, numbers[places[held.key]], held.session, held.node, held.device),
            *(held.generation, held.model, held.share_u, held.shared, held.millicores),
            *(held.memory, held.catalog, held.first, held.last),
        )
        for held in missing
    ]
    upsert(session, _ALLOCATION, _ALLOCATION_COLUMNS, rows, ignore)
    return found | allocations(session, [held.key for held in missing])


def setting(session: Session, name: str) -> str | None:
    """A setting that what is stored depends on; None where it was never set."""
    return session.scalar(select(SettingRow.value).where(SettingRow.name == name))


_Place = tuple[str | int | bool, ...]


def _dimensions(session: Session, wanted: set[_Place]) -> dict[_Place, int]:
    found = _find_dimensions(session, wanted)
    missing = sorted(wanted - found.keys())
    if missing:
        upsert(session, _DIMENSIONS, _DIMENSIONS_COLUMNS, missing, ignore)
        found |= _find_dimensions(session, missing)
    return found


def _find_dimensions(session: Session, wanted: Iterable[_Place]) -> dict[_Place, int]:
    columns = [_DIMENSIONS.c[name] for name in _DIMENSIONS_COLUMNS]
    found: dict[_Place, int] = {}
    rows = sorted(wanted)
    for start in range(0, len(rows), 60):
        some = tuple_(*columns).in_(rows[start : start + 60])
        for id_, *place in session.execute(select(_DIMENSIONS.c.id, *columns).where(some)):
            found[tuple(place)] = id_
    return found


_PERSON: Final[Table] = Person.metadata.tables[Person.__tablename__]
_DIMENSIONS: Final[Table] = Dimensions.metadata.tables[Dimensions.__tablename__]
_ALLOCATION: Final[Table] = AllocationRow.metadata.tables[AllocationRow.__tablename__]
_ALLOCATIONS: Final = select(
    AllocationRow.key,
    AllocationRow.id,
    AllocationRow.share_u,
    AllocationRow.millicores,
    AllocationRow.dimensions_id,
    AllocationRow.first,
    AllocationRow.last,
)
_DIMENSIONS_COLUMNS: Final = (
    *("site", "person_id", "group", "flavor", "flavor_type", "kind", "provenance"),
    "simulated",
)
_ALLOCATION_COLUMNS: Final = (
    *("key", "dimensions_id", "session", "node", "device", "generation", "model", "share_u"),
    *("shared", "millicores", "memory", "catalog", "first", "last"),
)
