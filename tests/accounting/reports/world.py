"""A ledger with some usage in it, written through the ledger's own roll-ups."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import to_ms
from arcetri_accounting.contract.witness import CatalogSnapshot, FlavorTerms, GroupTerms
from arcetri_accounting.ledger import rollups
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Unauthorized
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import (
    AllocationRow,
    CatalogRow,
    Dimensions,
    OpenRow,
    Person,
    SettingRow,
)
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.auth import NeedsLogin
from arcetri_accounting.reports.factory import include

PREFIX = "/services/usage/"
HOUR = 3_600_000
GIB = 1 << 30
NOW = to_ms(datetime(2026, 11, 23, 10, 0, tzinfo=UTC))

CMS = "/lab/cms"
ASTRO = "/lab/astro"
ASTRO_GW = "/lab/astro/gw"

CATALOG = CatalogSnapshot(
    digest="c" * 64,
    since=datetime(2026, 1, 1, tzinfo=UTC),
    site="AI platform",
    timezone="Europe/Rome",
    admins=("/lab/admins",),
    flavors={
        "t4": FlavorTerms(title="NVIDIA T4", type="gpu", share=1, memory=16 * GIB),
        "a100-1g": FlavorTerms(title="A100 slice", type="gpu", share="1/7", memory=5 * GIB),
        "v70": FlavorTerms(title="AMD Alveo V70", type="fpga", share=1),
        "cpu": FlavorTerms(title="No accelerator", type="cpu", share=1),
    },
    groups={
        CMS: GroupTerms(leads=("/lab/cms/leads",), quotas={"t4": 2, "a100-1g": 4}),
        ASTRO: GroupTerms(leads=("/lab/astro/leads",), subgroups=True, quotas={"t4": 1}),
        ASTRO_GW: GroupTerms(leads=("/lab/astro/gw/leads",), quotas={"v70": 1}),
    },
)

TYPES = {"t4": "gpu", "a100-1g": "gpu", "v70": "fpga", "cpu": "cpu"}
SHARES = {"t4": 10_080, "a100-1g": 1_440, "v70": 10_080, "cpu": 10_080}


def at(text: str) -> int:
    """A moment written as ISO 8601, UTC where it has no zone."""
    moment = datetime.fromisoformat(text)
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Use:
    """One allocation's use; what is not said was not observed at all."""

    session: str
    user: str
    group: str = CMS
    flavor: str = "t4"
    start: int = 0
    dur_ms: int = HOUR
    util_ms: int = 0
    used_u: int = 0
    occupied_ms: int = 0
    unobserved_ms: int | None = None
    mem_peak: int | None = None
    energy_mj: int = 0
    device: str | None = None
    simulated: bool = False
    provenance: str = "agent"
    kind: str = "notebook"
    millicores: int = 0
    open: bool = False
    sign: int = 1
    """-1 takes it away again."""

    @property
    def share_u(self) -> int:
        return SHARES[self.flavor]

    @property
    def unobserved(self) -> int:
        return self.dur_ms if self.unobserved_ms is None else self.unobserved_ms


def full(session: str, user: str, start: int, hours: float, *, used: float, **more: Any) -> Use:
    """A session whose device was watched all the time and used so much of it."""
    dur = round(hours * HOUR)
    share = SHARES[more.get("flavor", "t4")]
    values: dict[str, Any] = {
        "util_ms": dur,
        "used_u": round(share * dur * used),
        "occupied_ms": dur if used else 0,
        "unobserved_ms": 0,
        **more,
    }
    return Use(session, user, start=start, dur_ms=dur, **values)


@dataclass(slots=True)
class Filled:
    """Remembers the rows that it has made."""

    db: Session
    people: dict[str, int] = field(default_factory=dict)
    allocations: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add(self, use: Use) -> None:
        allocation = self._allocation(use)
        if use.open:
            self.db.merge(
                OpenRow(
                    allocation_id=allocation, node="n1", t0=use.start, dur_ms=use.dur_ms,
                    util_ms=use.util_ms, used_u=use.used_u, occupied_ms=use.occupied_ms,
                    unobserved_ms=use.unobserved, energy_mj=use.energy_mj, mem_peak=use.mem_peak,
                )
            )  # fmt: skip
            return
        piece = Piece(
            allocation, use.start, use.dur_ms, use.util_ms, use.used_u, use.occupied_ms,
            use.unobserved, use.energy_mj, use.mem_peak, use.sign,
        )  # fmt: skip
        rollups.apply(self.db, [piece])

    def _person(self, name: str) -> int:
        if name not in self.people:
            row = self.db.scalars(select(Person).where(Person.name == name)).first()
            if row is None:
                row = Person(account=f"id-{name}", name=name)
                self.db.add(row)
                self.db.flush()
            self.people[name] = row.id
        return self.people[name]

    def _allocation(self, use: Use) -> int:
        dimensions = {
            "site": "lab", "person_id": self._person(use.user), "group": use.group,
            "flavor": use.flavor, "flavor_type": TYPES[use.flavor], "kind": use.kind,
            "provenance": use.provenance, "simulated": use.simulated,
        }  # fmt: skip
        device = use.device if use.device is not None else f"GPU-{use.session}"
        if use.flavor == "cpu":
            device = ""
        key = (*dimensions.values(), use.session, device)
        end = use.start + use.dur_ms
        if key in self.allocations:
            row = self.db.get_one(AllocationRow, self.allocations[key])
            row.first = min(row.first, use.start)
            if not use.open:
                row.last = max(row.last, end)
            return row.id
        found = self.db.scalars(select(Dimensions).filter_by(**dimensions)).first()
        if found is None:
            found = Dimensions(**dimensions)
            self.db.add(found)
            self.db.flush()
        row = AllocationRow(
            key=f"k{len(self.allocations)}-{use.session}"[:40], dimensions_id=found.id,
            session=use.session, node="n1", device=device, generation=1, model="Tesla T4",
            share_u=use.share_u, shared=False, millicores=use.millicores, memory=0, catalog="",
            first=use.start, last=use.start if use.open else end,
        )  # fmt: skip
        self.db.add(row)
        self.db.flush()
        self.allocations[key] = row.id
        return row.id


def fill(
    database: Database, *uses: Use, catalog: CatalogSnapshot | None = CATALOG, zone: str = ""
) -> None:
    """Put usage, and the catalog it is read against, into a ledger."""

    def work(db: Session) -> None:
        named = zone or (catalog.timezone if catalog else "UTC")
        db.merge(SettingRow(name=rollups.ZONE_SETTING, value=named))
        if catalog is not None and not db.scalars(select(CatalogRow)).first():
            add_catalog(db, catalog)
        db.flush()
        filled = Filled(db)
        for use in uses:
            filled.add(use)

    database.write(work)


def add_catalog(db: Session, catalog: CatalogSnapshot) -> None:
    db.add(
        CatalogRow(
            digest=catalog.digest,
            since=to_ms(catalog.since),
            snapshot=catalog.model_dump(mode="json"),
        )
    )


ALICE = Reader("alice", frozenset({CMS, "/lab/cms/leads"}), own=True)
BRUNO = Reader("bruno", frozenset({CMS}), own=True)
CARLA = Reader("carla", frozenset({ASTRO, "/lab/astro/leads"}), own=True)
GINO = Reader("gino", frozenset({ASTRO_GW, "/lab/astro/gw/leads"}), own=True)
DARIO = Reader("dario", frozenset({"/lab/admins"}), own=True, everything=True)
PEOPLE = {one.name: one for one in (ALICE, BRUNO, CARLA, GINO, DARIO)}


class NamedReaders:
    """Believes the name that a request says: for tests of everything but the login."""

    def __init__(self, people: dict[str, Reader]) -> None:
        self.people = people

    def _named(self, request: Request) -> Reader | None:
        _, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.people.get(token or request.cookies.get("test-user", ""))

    async def for_api(self, request: Request) -> Reader:
        found = self._named(request)
        if found is None:
            raise Unauthorized("Who are you?")
        return found

    async def for_page(self, request: Request) -> Reader:
        found = self._named(request)
        if found is None:
            raise NeedsLogin
        return found

    def login(self, request: Request) -> Response:
        return RedirectResponse(f"/hub/login?next={request.url.path}")

    def routes(self) -> APIRouter:
        return APIRouter()


def build(database: Database, people: dict[str, Reader] | None = None, now: int = NOW) -> FastAPI:
    """The reports alone, for readers that a header names."""
    app = FastAPI(openapi_url=f"{PREFIX}api/v1/openapi.json", docs_url=None, redoc_url=None)
    readers = NamedReaders(people or PEOPLE)
    include(app, database, readers, PREFIX, clock=lambda: now)
    return app


class Client:
    """A client of one person; requests go to the application in this process."""

    def __init__(self, app: FastAPI, user: str) -> None:
        self.app = app
        self.headers = {"Authorization": f"Bearer {user}"}

    def get(self, path: str, **params: Any) -> httpx.Response:
        """Ask for a path below the service's."""
        return asyncio.run(self._get(path, params))

    async def _get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=self.headers
        ) as http:
            return await http.get(f"{PREFIX}{path}", params=params or None)

    def json(self, path: str, **params: Any) -> Any:
        """The JSON of an answer of the API that went well."""
        answer = self.get(f"api/v1/{path}", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()


def client(app: FastAPI, user: str) -> Client:
    """A client of one person."""
    return Client(app, user)
