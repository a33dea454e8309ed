"""Bring the tables up to this version, beside whatever else the database holds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import DatabaseError

VERSION_TABLE: Final = "usage_alembic_version"
"""Not ``alembic_version``: that one may be JupyterHub's."""


def migrate(database: Database, revision: str = "head") -> None:
    """Run every migration that is missing, in one transaction with no other writer beside it.

    A migration that fails leaves the database as it was, for the version that wrote it.

    Raises:
        DatabaseError: The database cannot be asked, or was written by a later version.
    """
    try:
        database.write(lambda session: upgrade(session, revision), alone=True)
    except CommandError:
        raise DatabaseError(
            "The ledger's database was written by a later version of Arcetri.",
            code="database_too_new",
            remedy="Run that version again, or restore a backup from before it.",
        ) from None


def upgrade(session: Session, revision: str) -> None:
    """Bring the tables to a revision inside a transaction that is alone."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = session.connection()
    command.upgrade(config, revision)
