"""Reports as files: CSV and PDF of what the pages show."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import csvfile, pdf, service, views
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.api import Clock, T, wall_clock
from arcetri_accounting.reports.auth import Readers
from arcetri_accounting.reports.numbers import By
from arcetri_accounting.reports.params import Params
from arcetri_accounting.reports.periods import Period
from arcetri_accounting.reports.query import Listed, Simulated
from arcetri_accounting.reports.service import Context
from arcetri_accounting.reports.web import page_route


class FileParams(Params):
    """A file's filters."""

    simulated: Simulated | None = None


class CsvParams(FileParams):
    """A CSV's filters, and how its numbers are written."""

    by: By = "group"
    decimals: Literal["point", "comma"] = Field(default="point")


def router(
    database: Database,
    readers: Readers,
    prefix: str,
    clock: Clock = wall_clock,
    hub_prefix: str = "/hub/",
) -> APIRouter:
    """The files, below ``prefix``."""
    routes = APIRouter(
        prefix=prefix.rstrip("/"),
        route_class=page_route(readers, prefix, hub_prefix),
        include_in_schema=False,
    )
    who = Depends(readers.for_page)

    def read(reader: Reader, work: Callable[[Session, Context], T]) -> T:
        return service.read(database, reader, clock(), work)

    @routes.get("/report.csv")
    def csv(params: Annotated[CsvParams, Query()], reader: Reader = who) -> Response:
        def work(session: Session, found: Context) -> tuple[str, Period]:
            default: Listed = "only" if found.only_simulated else "exclude"
            asked = params.asked(found, params.by, default)
            made = service.report(session, found, asked)
            return csvfile.write(made, params.decimals), asked.wanted.period

        text, period = read(reader, work)
        name = f"usage-{period.first}-{period.last}-by-{params.by}.csv"
        return download(text.encode(), "text/csv; charset=utf-8", name)

    @routes.get("/report.pdf")
    def typeset(params: Annotated[FileParams, Query()], reader: Reader = who) -> Response:
        def work(session: Session, found: Context) -> views.ReportPage:
            view, _ = service.choose_view(found, params.asked(found).wanted, params.view)
            return views.report_page(session, found, params, view, prefix)

        page = read(reader, work)
        period = page.links.wanted.period
        name = f"usage-{period.first}-{period.last}.pdf"
        return download(pdf.write(page), "application/pdf", name)

    return routes


def download(content: bytes, kind: str, name: str) -> Response:
    """A file that a browser keeps rather than shows."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=kind, headers=headers)
