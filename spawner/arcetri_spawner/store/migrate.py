"""Bring the tables up to this version, beside JupyterHub's own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.orm import Session

from arcetri_spawner.errors import StoreError
from arcetri_spawner.store.database import Database

VERSION_TABLE: Final = "arcetri_alembic_version"
"""Not ``alembic_version``: that one is JupyterHub's."""


def migrate(database: Database) -> None:
    """Run every migration that is missing, in one transaction with no other writer beside it.

    Raises:
        StoreError: The database cannot be asked, or was written by a later version.
    """
    try:
        database.write(_upgrade)
    except CommandError:
        raise StoreError(
            "The database was written by a later version of Arcetri.",
            code="store_too_new",
            remedy="Run that version again, or restore the database from before it.",
        ) from None


def _upgrade(session: Session) -> None:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = session.connection()
    command.upgrade(config, "head")
