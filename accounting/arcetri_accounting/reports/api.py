"""The JSON API that people's programs read: everything that the pages show."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import Field
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError, Refused, TooMany
from arcetri_accounting.reports import disputes, models, queries, service
from arcetri_accounting.reports.access import VIEWS, Reader, Sight, View
from arcetri_accounting.reports.auth import READ, Readers
from arcetri_accounting.reports.badinput import sentences
from arcetri_accounting.reports.numbers import By
from arcetri_accounting.reports.params import MAX_TEXT, Params
from arcetri_accounting.reports.periods import FIRST_DAY, Period
from arcetri_accounting.reports.query import Simulated
from arcetri_accounting.reports.service import Asked, Context
from arcetri_accounting.reports.sessions import SessionLine

T = TypeVar("T")
Clock = Callable[[], int]


def wall_clock() -> int:
    """Now, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class NotFound(Refused):
    """There is no such thing, or none that the reader may see: which, is not said."""

    default_code = "not_found"
    status = 404


class ReportParams(Params):
    """A report's filters."""

    by: By = "group"
    simulated: Simulated | None = Field(
        default=None, description="Simulated devices: exclude (where nothing is said) or only."
    )


class ListParams(Params):
    """A list's filters, and which of its pages."""

    limit: int = Field(default=100, ge=1, le=200)
    offset: int = Field(default=0, ge=0, le=1_000_000)


class TotalParams(Params):
    """The filters of what is made of totals."""

    simulated: Simulated | None = Field(
        default=None, description="Simulated devices: exclude (where nothing is said) or only."
    )


class QuotaParams(TotalParams):
    """Whose quota."""

    group: str = Field(
        min_length=1,
        max_length=MAX_TEXT,
        description="Full path; the slash it begins with may be left out.",
    )


class ProblemRoute(APIRoute):
    """Answers errors as a ``Problem``, and lets nobody keep an answer."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Wrap the route."""
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                answer: Response = await inner(request)
            except LedgerError as error:
                answer = problem(error)
            except RequestValidationError as error:
                answer = problem(invalid(error, self.dependant))
            answer.headers["Cache-Control"] = "no-store"
            answer.headers["X-Content-Type-Options"] = "nosniff"
            return answer

        return handler


def problem(error: LedgerError) -> JSONResponse:
    """An error as an answer."""
    said = models.Problem(code=error.code, message=error.message, remedy=error.remedy)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if isinstance(error, TooMany):
        headers["Retry-After"] = str(error.wait)
    return JSONResponse(said.model_dump(), status_code=error.status, headers=headers)


def invalid(
    error: RequestValidationError,
    route: Dependant,
    remedy: str = "The OpenAPI description says what is allowed.",
) -> Refused:
    """What is wrong with a request's parameters, in one sentence each.

    Args:
        error: What FastAPI found.
        route: What the route takes.
        remedy: What to do about it.
    """
    known = [one.alias for one in get_flat_params(route)]
    return Refused(sentences(error.errors(), known), code="parameters_invalid", remedy=remedy)


TOKEN = HTTPBearer(
    auto_error=False, scheme_name="JupyterHub", description=f"A token with the scope {READ}."
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": models.Problem, "description": "No token, or none that is valid."},
    403: {"model": models.Problem, "description": "Not the reader's to see."},
    422: {"model": models.Problem, "description": "A parameter that cannot be."},
    429: {"model": models.Problem, "description": "More than is answered for one reader."},
    503: {"model": models.Problem, "description": "The hub or the database does not answer."},
    507: {"model": models.Problem, "description": "The disk of the database is full."},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Problem, "description": "None, or none that the reader may see."},
}


def router(
    database: Database, readers: Readers, prefix: str, clock: Clock = wall_clock
) -> APIRouter:
    """The routes, below ``{prefix}api/v1``."""
    routes = APIRouter(
        prefix=f"{prefix}api/v1",
        route_class=ProblemRoute,
        responses=PROBLEMS,
        tags=["reports"],
        # Only described here: the readers look at it, and at cookies, which need no description.
        dependencies=[Depends(TOKEN)],
    )

    def read(reader: Reader, work: Callable[[Session, Context], T]) -> T:
        return service.read(database, reader, clock(), work)

    who = Depends(readers.for_api)

    @routes.get("/report")
    def report(
        params: Annotated[ReportParams, Query()], reader: Reader = who
    ) -> models.ReportAnswer:
        """Sums by group, user, flavour, day or month, with how complete they are."""
        return read(
            reader,
            lambda session, found: models.report_answer(
                service.report(session, found, params.asked(found, params.by))
            ),
        )

    @routes.get("/completeness")
    def completeness(
        params: Annotated[TotalParams, Query()], reader: Reader = who
    ) -> models.CompletenessAnswer:
        """How complete a report of these filters is."""

        def work(session: Session, found: Context) -> models.CompletenessAnswer:
            made = service.report(session, found, params.asked(found))
            return models.completeness_answer(made.completeness, made.notes)

        return read(reader, work)

    @routes.get("/sessions")
    def sessions(
        params: Annotated[ListParams, Query()], reader: Reader = who
    ) -> models.SessionsAnswer:
        """The sessions behind a number, the newest first."""

        def work(session: Session, found: Context) -> models.SessionsAnswer:
            asked = params.asked(found)
            listed = service.session_list(
                session, found, asked, limit=params.limit, offset=params.offset
            )
            return models.SessionsAnswer(
                view=listed.view,
                count=listed.count,
                limit=params.limit,
                offset=params.offset,
                sessions_kept_from=found.kept_from(asked.wanted.period),
                sessions=[
                    models.session_answer(line, names=listed.sight.names) for line in listed.lines
                ],
            )

        return read(reader, work)

    @routes.get("/sessions/{session_id}", responses=_NOT_FOUND)
    def session_detail(session_id: str, reader: Reader = who) -> models.SessionDetailAnswer:
        """One session, whole, with its quarter hours."""

        def work(session: Session, found: Context) -> models.SessionDetailAnswer:
            lines, sight = service.session_named(session, found, session_id, always(found))
            if not lines:
                raise no_session()
            return _detail(session, lines, sight)

        return read(reader, work)

    @routes.get("/discrepancies")
    def discrepancies(
        params: Annotated[TotalParams, Query()], reader: Reader = who
    ) -> models.DisputesAnswer:
        """What agents and the spawner say differently of sessions; at most 200."""

        def work(session: Session, found: Context) -> models.DisputesAnswer:
            asked = params.asked(found)
            view, _ = service.choose_view(found, asked.wanted, asked.view)
            listed = disputes.within(session, found, asked)
            return models.DisputesAnswer(view=view, discrepancies=models.dispute_answers(listed))

        return read(reader, work)

    @routes.get("/hints")
    def hints(params: Annotated[TotalParams, Query()], reader: Reader = who) -> models.HintsAnswer:
        """Sessions that held a device unused, and what a smaller one would have done."""

        def work(session: Session, found: Context) -> models.HintsAnswer:
            advice = service.advice(session, found, params.asked(found))
            return models.HintsAnswer(
                view=advice.view,
                idle=[models.idle_answer(one) for one in advice.idle],
                hints=[models.hint_answer(one) for one in advice.hints],
            )

        return read(reader, work)

    @routes.get("/quota")
    def quota(params: Annotated[QuotaParams, Query()], reader: Reader = who) -> models.QuotasAnswer:
        """A group's use against its quota, for those who lead it."""

        def work(session: Session, found: Context) -> models.QuotasAnswer:
            return _quotas(session, found, params.asked(found), str(params.group))

        return read(reader, work)

    @routes.get("/catalog")
    def catalog(reader: Reader = who) -> models.CatalogAnswer:
        """What reports are read against, and what this reader may ask for."""
        return read(reader, lambda _, found: _catalog(found))

    return routes


def no_session() -> NotFound:
    """The same answer for a session that is not there and one that is not the reader's."""
    return NotFound(
        "There is no such session that you may see.",
        remedy="Ask for sessions to list those that you may.",
    )


def always(found: Context) -> Period:
    """From the ledger's beginning to today: a session's whole life."""
    today = found.today
    return Period(max(FIRST_DAY, today - timedelta(days=3650)), today, found.zone)


def _detail(session: Session, lines: list[SessionLine], sight: Sight) -> models.SessionDetailAnswer:
    ids = [part.id for line in lines for part in line.parts]
    return models.SessionDetailAnswer(
        sessions=[models.session_answer(line, names=sight.names) for line in lines],
        quarters=models.quarter_answers(queries.quarters_of(session, ids)),
        discrepancies=models.dispute_answers(disputes.of_session(session, lines[0].session)),
    )


def _quotas(session: Session, found: Context, asked: Asked, group: str) -> models.QuotasAnswer:
    period = asked.wanted.period
    lines, used = service.quota_use(session, found, group, asked)
    simulated: Simulated = "only" if asked.wanted.simulated == "only" else "exclude"
    return models.QuotasAnswer(
        group=group,
        first=period.first,
        last=period.last,
        simulated=simulated,
        quotas=[models.quota_answer(one, used.get(one.flavor, 0)) for one in lines],
    )


def views(found: Context) -> list[View]:
    """What a reader may ask for."""
    reader = found.reader
    allowed: dict[View, bool] = {
        "own": reader.own and bool(reader.name),
        "group": reader.everything or bool(found.leads),
        "all": reader.everything,
    }
    return [view for view in VIEWS if allowed[view]]


def readable_groups(found: Context) -> list[str]:
    """The groups whose usage a reader may read."""
    if found.reader.everything:
        return sorted({*found.groups, *found.known_groups})
    return sorted(found.leads)


def _catalog(found: Context) -> models.CatalogAnswer:
    catalog = found.catalog
    return models.CatalogAnswer(
        site=found.site,
        timezone=found.zone.key,
        today=found.today,
        digest=catalog.digest if catalog else None,
        flavors=[
            models.FlavorAnswer(flavor=name, title=one.title, type=one.type, share=str(one.share))
            for name, one in found.flavors.items()
        ],
        views=views(found),
        groups=readable_groups(found),
        only_simulated=found.only_simulated,
    )
