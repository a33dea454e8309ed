"""How devices' time divides, for those who read everything: as JSON and as a page."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import from_ms, hours
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import api, service, views
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.api import Clock, ProblemRoute
from arcetri_accounting.reports.auth import Readers
from arcetri_accounting.reports.capacity import DeviceType
from arcetri_accounting.reports.capacityquery import Capacity, CapacityBy, DeviceLine, capacity
from arcetri_accounting.reports.models import DecimalText
from arcetri_accounting.reports.params import Params
from arcetri_accounting.reports.query import Simulated
from arcetri_accounting.reports.service import Context
from arcetri_accounting.reports.web import page_route


class CapacityParams(BaseModel):
    """Which time and devices; a form sends what was left empty as empty text."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)

    first: date | None = Field(
        default=None, alias="from", description="First day, of the site's zone; this month's."
    )
    last: date | None = Field(
        default=None, alias="to", description="Last day, included; the end of the first's month."
    )
    by: CapacityBy = "device"
    simulated: Simulated | None = Field(
        default=None, description="Simulated devices: exclude (where nothing is said) or only."
    )

    @field_validator("first", "last", "simulated", mode="before")
    @classmethod
    def _empty_is_nothing(cls, value: object) -> object:
        return None if value == "" else value

    def read(self, session: Session, found: Context, default: Simulated = "exclude") -> Capacity:
        """Divide what is asked for; ``default`` where nothing is said of simulated devices."""
        period = Params.model_validate({"from": self.first, "to": self.last}).period(found)
        simulated = (self.simulated or default) == "only"
        return capacity(session, found, period, self.by, simulated=simulated)


class DivisionAnswer(BaseModel):
    """Device-hours of one device, or of all of a model or type; the parts add up to the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    type: DeviceType
    model: str
    devices: int = Field(description="Physical devices.")
    whole_hours: DecimalText
    allocated_hours: DecimalText = Field(description="Share times the time a session held it.")
    reserved_hours: DecimalText = Field(
        description="Granted and not yet running; always 0: no such grant is recorded yet."
    )
    free_hours: DecimalText
    stranded_hours: DecimalText = Field(
        description="In no instance of the MIG layout, or kept from others by who holds the rest."
    )
    down_hours: DecimalText
    unreported_hours: DecimalText = Field(description="No agent knows anything of it.")
    whole_units: int = Field(description="In 1/10080 device-milliseconds, exact.")


class CapacityAnswer(BaseModel):
    """How the whole time of devices divides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    until: datetime = Field(description="To where it is counted: a whole quarter hour.")
    by: CapacityBy
    simulated: Simulated
    rows: list[DivisionAnswer]
    totals: list[DivisionAnswer] = Field(description="One for each type of device.")
    notes: list[str]


def division_answer(line: DeviceLine) -> DivisionAnswer:
    """One line."""
    parts = line.parts
    amounts = {
        f"{name}_hours": f"{hours(getattr(parts, name)):f}"
        for name in (*("whole", "allocated", "reserved", "free", "stranded", "down", "unreported"),)
    }
    return DivisionAnswer(
        key=line.key,
        type=line.type,
        model=line.model,
        devices=line.devices,
        whole_units=parts.whole,
        **amounts,
    )


def router(database: Database, readers: Readers, prefix: str, clock: Clock) -> APIRouter:
    """The API's route, below ``{prefix}api/v1``."""
    routes = APIRouter(
        prefix=f"{prefix}api/v1",
        route_class=ProblemRoute,
        responses=api.PROBLEMS,
        tags=["reports"],
        dependencies=[Depends(api.TOKEN)],
    )

    @routes.get("/capacity")
    def divided(
        params: Annotated[CapacityParams, Query()],
        reader: Reader = Depends(readers.for_api),  # noqa: B008 - as FastAPI wants it
    ) -> CapacityAnswer:
        """How the whole time of each physical device divides; for administrators."""
        made = service.read(database, reader, clock(), params.read)
        return CapacityAnswer(
            first=made.period.first,
            last=made.period.last,
            until=from_ms(made.until),
            by=made.by,
            simulated="only" if made.simulated else "exclude",
            rows=[division_answer(line) for line in made.lines],
            totals=[division_answer(line) for line in made.totals],
            notes=made.notes,
        )

    return routes


def page_router(
    database: Database, readers: Readers, prefix: str, clock: Clock, hub_prefix: str
) -> APIRouter:
    """The page's route, below ``prefix``."""
    route = page_route(readers, prefix, hub_prefix)
    routes = APIRouter(prefix=prefix.rstrip("/"), route_class=route, include_in_schema=False)

    @routes.get("/capacity")
    def page(
        params: Annotated[CapacityParams, Query()],
        reader: Reader = Depends(readers.for_page),  # noqa: B008 - as FastAPI wants it
    ) -> Response:
        def work(session: Session, found: Context) -> Capacity:
            return params.read(session, found, "only" if found.only_simulated else "exclude")

        made = service.read(database, reader, clock(), work)
        html = route.templates.get_template("capacity.html").render(
            page=made, nav=views.navigation(made.context, prefix), context=made.context
        )
        return HTMLResponse(html)

    return routes
