"""The pages: made on the server, without inline scripts or styles, and whole without JavaScript."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from pydantic import Field
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import from_ms
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError, TooMany
from arcetri_accounting.reports import charts, present, service, views
from arcetri_accounting.reports.access import Reader, View
from arcetri_accounting.reports.api import (
    Clock,
    NotFound,
    T,
    always,
    invalid,
    no_session,
    wall_clock,
)
from arcetri_accounting.reports.auth import NeedsLogin, Readers
from arcetri_accounting.reports.completeness import not_listed
from arcetri_accounting.reports.params import Params
from arcetri_accounting.reports.service import Context

STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_MEND = "Correct it in the address, or begin again here:"


class PageParams(Params):
    """A page's filters, and which page of a list."""

    offset: int = Field(default=0, ge=0, le=1_000_000)


class ChartParams(Params):
    """A chart's filters, and how it looks."""

    theme: Literal["light", "dark"] = "light"
    size: Literal["wide", "narrow"] = "wide"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def environment(prefix: str, hub_prefix: str) -> Environment:
    """The templates; what is missing is an error, and everything is escaped."""
    made = Environment(
        loader=PackageLoader("arcetri_accounting.reports"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        prefix=prefix,
        hub=hub_prefix,
        asset=lambda name: f"{prefix}static/{name}?v={_digest(name)}",
        parts=charts.PARTS,
        split=charts.split,
        from_ms=from_ms,
        SHOWN=views.SHOWN_SESSIONS,
        SHOWN_UNUSED=views.SHOWN_UNUSED,
        not_listed=not_listed,
    )
    made.filters.update({name: getattr(present, name) for name in present.__all__})
    return made


class PageRoute(APIRoute):
    """Answers errors as pages, and gives every answer the headers of one."""

    templates: Environment
    readers: Readers

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Wrap the route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                answer: Response = await inner(request)
            except NeedsLogin:
                answer = self.readers.login(request)
            except LedgerError as error:
                answer = error_page(self.templates, error)
            except RequestValidationError as error:
                answer = error_page(self.templates, invalid(error, self.dependant, _MEND))
            return _with_headers(answer)

        return handler


def _with_headers(answer: Response) -> Response:
    answer.headers.setdefault("Cache-Control", "no-store")
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer


def error_page(templates: Environment, error: LedgerError) -> Response:
    """An error as a page, for who has or has not logged in."""
    page = templates.get_template("error.html").render(error=error, page=None, nav=[])
    headers = {"Retry-After": str(error.wait)} if isinstance(error, TooMany) else None
    return _with_headers(HTMLResponse(page, status_code=error.status, headers=headers))


def no_page() -> NotFound:
    """There is nothing at an address."""
    return NotFound(
        "There is no such page.", remedy="Look at how the address is written, or begin again here:"
    )


def page_route(readers: Readers, prefix: str, hub_prefix: str) -> type[PageRoute]:
    """The class of routes that answer errors as pages of this service."""
    templates = environment(prefix, hub_prefix)
    return type("ServicePageRoute", (PageRoute,), {"templates": templates, "readers": readers})


def router(
    database: Database,
    readers: Readers,
    prefix: str,
    clock: Clock = wall_clock,
    hub_prefix: str = "/hub/",
) -> APIRouter:
    """The pages, below ``prefix``."""
    route = page_route(readers, prefix, hub_prefix)
    templates = route.templates
    routes = APIRouter(prefix=prefix.rstrip("/"), route_class=route, include_in_schema=False)
    who = Depends(readers.for_page)

    def read(reader: Reader, work: Callable[[Session, Context], T]) -> T:
        return service.read(database, reader, clock(), work)

    def show(template: str, page: Any, found: Context, **more: Any) -> Response:
        nav = views.navigation(found, prefix)
        html = templates.get_template(template).render(page=page, nav=nav, context=found, **more)
        return HTMLResponse(html)

    def elsewhere(view: View, request: Request) -> Response:
        """To the page that a view has, with the other filters: there it is shown, or refused."""
        kept = [item for item in request.query_params.multi_items() if item[0] != "view"]
        path = f"{prefix}{views.PATHS[view]}"
        return RedirectResponse(f"{path}?{urlencode(kept)}" if kept else path)

    def numbers(view: View, params: Params, reader: Reader, request: Request) -> Response:
        if params.view is not None and params.view != view:
            return elsewhere(params.view, request)
        page = read(
            reader,
            lambda session, found: views.report_page(session, found, params, view, prefix),
        )
        return show("report.html", page, page.context)

    @routes.get("")
    def without_slash() -> Response:
        return RedirectResponse(prefix)

    @routes.get("/")
    def own(params: Annotated[Params, Query()], request: Request, reader: Reader = who) -> Response:
        if not reader.own and reader.everything and params.view is None:
            return elsewhere("all", request)
        return numbers("own", params, reader, request)

    @routes.get("/group")
    def group(
        params: Annotated[Params, Query()], request: Request, reader: Reader = who
    ) -> Response:
        return numbers("group", params, reader, request)

    @routes.get("/all")
    def everything(
        params: Annotated[Params, Query()], request: Request, reader: Reader = who
    ) -> Response:
        return numbers("all", params, reader, request)

    @routes.get("/sessions")
    def sessions(params: Annotated[PageParams, Query()], reader: Reader = who) -> Response:
        page = read(
            reader,
            lambda session, found: views.sessions_page(
                session, found, params, params.offset, prefix
            ),
        )
        return show("sessions.html", page, page.context)

    @routes.get("/unused")
    def unused(params: Annotated[PageParams, Query()], reader: Reader = who) -> Response:
        page = read(
            reader,
            lambda session, found: views.unused_page(session, found, params, params.offset, prefix),
        )
        return show("unused.html", page, page.context)

    @routes.get("/session")
    def session(
        id: Annotated[str, Query(max_length=255)],  # noqa: A002 - the address says id
        reader: Reader = who,
    ) -> Response:
        page = read(
            reader, lambda db, found: views.session_detail(db, found, id, always(found), prefix)
        )
        if page is None:
            raise no_session()
        return show("session.html", page, page.context)

    @routes.get("/chart.svg")
    def chart(params: Annotated[ChartParams, Query()], reader: Reader = who) -> Response:
        drawn = read(reader, lambda session, found: views.chart_bars(session, found, params))
        svg = charts.draw(drawn, params.theme, params.size)
        return Response(svg, media_type="image/svg+xml")

    @routes.get("/static/{name}")
    def static(name: str, v: str = "") -> Response:
        path = STATIC / name
        if path.name != name or path.suffix not in _KINDS or not path.is_file():
            raise NotFound("There is no such file.")
        kept = "public, max-age=31536000, immutable" if v == _digest(name) else "no-cache"
        return Response(
            path.read_bytes(),
            media_type=_KINDS[path.suffix],
            headers={"Cache-Control": kept},
        )

    return routes
