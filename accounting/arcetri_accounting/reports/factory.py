"""Wires the reports into an application."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError
from arcetri_accounting.ledger.http import refused, wants_page
from arcetri_accounting.ledger.limits import Limits
from arcetri_accounting.ledger.strangers import recognize
from arcetri_accounting.reports import api, capacityapi, files, web
from arcetri_accounting.reports.access import Reader
from arcetri_accounting.reports.api import Clock, wall_clock
from arcetri_accounting.reports.auth import Readers


class Limited:
    """Readers, each of whom asks only so often; for what is typeset less often."""

    def __init__(self, readers: Readers, reports: Limits, pdfs: Limits) -> None:
        self._readers = readers
        self._reports = reports
        self._pdfs = pdfs

    async def for_api(self, request: Request) -> Reader:
        """Who sent a request to the API; ``TooMany`` where it is one too many."""
        return self._counted(await self._readers.for_api(request), request)

    async def for_page(self, request: Request) -> Reader:
        """Who asks for a page; ``TooMany`` where it is one too many."""
        return self._counted(await self._readers.for_page(request), request)

    def login(self, request: Request) -> Response:
        """Send a browser to where it logs in."""
        return self._readers.login(request)

    def routes(self) -> APIRouter:
        """The pages of login and logout."""
        return self._readers.routes()

    def _counted(self, reader: Reader, request: Request) -> Reader:
        recognize(request)
        who = f"person:{reader.name}"
        if not reader.name:
            # A service has no person's name, and must not use up what is another's.
            token = request.headers.get("Authorization", "")
            who = f"service:{hashlib.sha256(token.encode()).hexdigest()}"
        limits = self._pdfs if request.url.path.endswith(".pdf") else self._reports
        limits.take(who, time.monotonic())
        return reader


def error_pages(prefix: str, hub_prefix: str) -> Callable[[LedgerError], Response]:
    """What makes a page of an error, below ``prefix``."""
    templates = web.environment(prefix.rstrip("/") + "/", hub_prefix)
    return lambda error: web.error_page(templates, error)


def include(
    app: FastAPI,
    database: Database,
    readers: Readers,
    prefix: str,
    *,
    clock: Clock = wall_clock,
    hub_prefix: str = "/hub/",
) -> None:
    """Add the API, the pages, the files and the login.

    Args:
        app: The application.
        database: The ledger's.
        readers: Says who asks.
        prefix: Where all paths begin, such as ``/services/usage/``.
        clock: Now, in milliseconds since 1970.
        hub_prefix: Where the hub's pages begin.
    """
    prefix = prefix.rstrip("/") + "/"
    shown = error_pages(prefix, hub_prefix)

    @app.exception_handler(404)
    async def nowhere(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if wants_page(request) and path.startswith(prefix) and not path.startswith(f"{prefix}api/"):
            return shown(web.no_page())
        return refused(error)

    app.include_router(readers.routes())
    app.include_router(api.router(database, readers, prefix, clock))
    app.include_router(files.router(database, readers, prefix, clock))
    app.include_router(capacityapi.router(database, readers, prefix, clock))
    app.include_router(capacityapi.page_router(database, readers, prefix, clock, hub_prefix))
    app.include_router(web.router(database, readers, prefix, clock, hub_prefix))
