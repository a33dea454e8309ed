"""The ledger as an application: everything wired."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator

from fastapi import FastAPI

from arcetri_accounting.ledger import background, routes
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.http import SecurityHeaders, answer_errors
from arcetri_accounting.ledger.limits import Limits
from arcetri_accounting.ledger.metrics import Metrics
from arcetri_accounting.ledger.settings import LedgerSettings
from arcetri_accounting.ledger.strangers import Strangers
from arcetri_accounting.reports import factory as reports
from arcetri_accounting.reports.auth import HubReaders, Readers


def tune_process() -> None:
    """Set the interpreter up for deliveries that come while people wait for reports.

    A delivery makes tens of thousands of short-lived objects; going through everything that was
    imported each time would cost a quarter of the time that storing it takes. And a report asks the
    database a dozen times: after each, it would wait the usual 5 ms for the thread that stores one.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def build_app(
    settings: LedgerSettings, readers: Readers | None = None, *, tasks: bool = True
) -> FastAPI:
    """Open the database, bring its tables up to date, and make the application.

    Args:
        settings: What it was told.
        readers: Who may read; those that JupyterHub knows where this is one of its services, and
            nobody where it is not.
        tasks: Reconcile and prune while it serves.

    Raises:
        Refused: The settings name what cannot be used.
        DatabaseError: The database cannot be asked.
    """
    service_database = Database.open(settings.database)
    try:
        return _build(service_database, settings, readers, tasks=tasks)
    except BaseException:
        service_database.close()
        raise


def _build(
    database: Database, settings: LedgerSettings, readers: Readers | None, *, tasks: bool
) -> FastAPI:
    metrics = Metrics(database)
    service = routes.Service(database, settings, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(database.close)
            stack.callback(service.writers.close)
            if tasks:
                await stack.enter_async_context(background.running(database, settings, metrics))
            yield

    app = FastAPI(
        title="Arcetri usage",
        version="1",
        openapi_url=f"{settings.prefix}/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    strangers = Limits(settings.stranger_rate, settings.stranger_burst)
    hub_prefix = os.environ.get("JUPYTERHUB_BASE_URL", "/") + "hub/"
    app.add_middleware(
        Strangers,
        limits=strangers,
        is_writer=service.writers.knows,
        page=reports.error_pages(settings.prefix, hub_prefix),
    )
    app.add_middleware(SecurityHeaders)
    answer_errors(app)
    app.include_router(routes.router(service))
    if readers is None:
        readers = _hub_readers(settings.prefix)
    if readers is not None:
        limited = reports.Limited(
            readers,
            Limits(settings.read_rate, settings.read_burst),
            Limits(settings.pdf_rate, settings.pdf_burst),
        )
        reports.include(app, database, limited, settings.prefix, hub_prefix=hub_prefix)
    return app


def _hub_readers(prefix: str) -> Readers | None:
    if not os.environ.get("JUPYTERHUB_API_TOKEN"):
        return None
    from jupyterhub.services.auth import HubOAuth

    return HubReaders(HubOAuth(), f"{prefix}/")
