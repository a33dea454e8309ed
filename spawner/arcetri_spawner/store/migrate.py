"""Bring the tables up to this version, or back to an earlier one's, beside JupyterHub's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from arcetri_spawner.errors import StoreError
from arcetri_spawner.store.alone import when_alone
from arcetri_spawner.store.database import Database

VERSION_TABLE: Final = "arcetri_alembic_version"
"""Not ``alembic_version``: that one is JupyterHub's."""

RELEASES: Final[Mapping[str, str]] = {"0.1.0": "0001"}
"""The earlier versions of Arcetri whose tables are others than this one's, each with the last
migration that it knows."""


def migrate(database: Database) -> None:
    """Run every migration that is missing, in one transaction with no other writer beside it.

    Raises:
        StoreError: The database cannot be asked, or was written by a later version.
    """
    _run(database, _upgrade)


def go_back(url: str, release: str) -> None:
    """Undo every migration that an earlier version does not know, so that its hub can start.

    In one transaction with no other writer beside it. What that version has no place for is lost;
    nothing happens where its tables are there already. On a PostgreSQL this waits for the hub that
    works with it; on SQLite none may run, since it would bring the tables up to date again.

    Args:
        url: As for ``Store.open``.
        release: One of ``RELEASES``.

    Raises:
        StoreError: There is no store in the database, or it cannot be asked, or it was written by a
            later version.
    """
    revision = RELEASES[release]
    database = Database(url, alone=True)
    try:
        when_alone(lambda: _run(database, lambda session: _downgrade(session, revision)))
    finally:
        database.close()


def _run(database: Database, work: Callable[[Session], None]) -> None:
    try:
        database.write(work)
    except CommandError:
        raise StoreError(
            "The database was written by a later version of Arcetri.",
            code="store_too_new",
            remedy="Run that version again, take the tables back with its command `arcetri database"
            " back`, or restore the database from before it.",
        ) from None


def _upgrade(session: Session) -> None:
    command.upgrade(_config(session), "head")


def _downgrade(session: Session, revision: str) -> None:
    if not inspect(session.connection()).has_table(VERSION_TABLE):
        raise StoreError(
            "The database has no tables of Arcetri.",
            code="store_url_invalid",
            remedy="Name the database that the hub uses.",
        )
    command.downgrade(_config(session), revision)


def _config(session: Session) -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = session.connection()
    return config
