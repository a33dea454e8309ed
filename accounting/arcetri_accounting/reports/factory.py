"""Wires the reports into an application."""

from __future__ import annotations

from fastapi import FastAPI

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import api, capacityapi, files, web
from arcetri_accounting.reports.api import Clock, wall_clock
from arcetri_accounting.reports.auth import Readers


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
    app.include_router(readers.routes())
    app.include_router(api.router(database, readers, prefix, clock))
    app.include_router(files.router(database, readers, prefix, clock))
    app.include_router(capacityapi.router(database, readers, prefix, clock))
    app.include_router(capacityapi.page_router(database, readers, prefix, clock, hub_prefix))
    app.include_router(web.router(database, readers, prefix, clock, hub_prefix))
