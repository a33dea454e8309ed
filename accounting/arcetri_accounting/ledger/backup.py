"""The whole ledger in one file, from and into SQLite or PostgreSQL.

The file is gzip over lines of JSON: a header, for each table its name and columns followed by its
rows, and a last line with the number of rows, without which the file is not whole.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from sqlalchemy import Connection, LargeBinary, MetaData, Table, func, insert, select, text
from sqlalchemy.orm import Session

from arcetri_accounting import killpoints
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError, Refused
from arcetri_accounting.ledger.migrate import VERSION_TABLE, upgrade
from arcetri_accounting.ledger.times import now_ms, said

FORMAT: Final = "arcetri-ledger-backup"
VERSION: Final = 1
_AT_ONCE: Final = 2000


def backup(database: Database, target: Path) -> int:
    """Write one state of the ledger, closed to other accounts; return the number of rows.

    Raises:
        Refused: The file is there already, or cannot be written.
        DatabaseError: The database cannot be read.
    """
    if target.exists():
        raise Refused(
            f"{target} is there already.", code="backup_exists", remedy="Name another file."
        )
    try:
        number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _unwritable(target, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(number, "wb") as raw:
            with gzip.open(raw, "wt", encoding="utf-8", compresslevel=5) as file:
                count = database.read(lambda session: _write(session, file))
            raw.flush()
            os.fsync(raw.fileno())
        temporary.rename(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return count


def restore(database: Database, source: Path) -> int:
    """Fill an empty ledger, in one transaction; return the number of rows.

    Raises:
        Refused: The ledger is not empty, or the file is not whole; nothing was changed.
        DatabaseError: The database cannot be written.
    """
    try:
        with gzip.open(source, "rt", encoding="utf-8") as file:
            return database.write(lambda session: _read(session, file, source), alone=True)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _broken(source, f"it cannot be read: {error}") from None


def _write(session: Session, file: TextIO) -> int:
    connection = session.connection()
    tables = _tables(connection)
    version = session.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()  # noqa: S608 - a constant
    _line(
        file,
        {"format": FORMAT, "version": VERSION, "schema": version, "made": said(now_ms())},
    )
    count = 0
    for table in tables:
        columns = list(table.columns)
        binary = [isinstance(column.type, LargeBinary) for column in columns]
        _line(file, {"table": table.name, "columns": [column.name for column in columns]})
        statement = select(table).order_by(*table.primary_key.columns)
        for row in connection.execute(statement.execution_options(yield_per=_AT_ONCE)):
            values = [
                bytes(value).hex() if is_bytes and value is not None else value
                for value, is_bytes in zip(row, binary, strict=True)
            ]
            _line(file, values)
            count += 1
    _line(file, {"end": True, "rows": count})
    return count


def _read(session: Session, file: TextIO, source: Path) -> int:
    connection = session.connection()
    header = _parse(file.readline(), source)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _broken(source, "it is no backup of a ledger")
    if header.get("version") != VERSION:
        raise _broken(source, "it was written by a later version of Arcetri")
    _refuse_data(connection)
    _empty(connection)
    upgrade(session, str(header["schema"]))
    tables = {table.name: table for table in _tables(connection)}
    count = 0
    for name, columns, rows in _sections(file, source):
        if name not in tables or not set(columns) <= set(tables[name].columns.keys()):
            raise _broken(source, f"its table {name} is none of this version's")
        count += _fill(connection, tables[name], columns, rows, source)
    if connection.dialect.name == "postgresql":
        _count_on(connection, tables.values())
    killpoints.reach("restore.filled")
    upgrade(session, "head")
    return count


def _sections(file: TextIO, source: Path) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
    """Each table with its rows, to be taken in this order."""
    counted = 0
    line = _parse(file.readline(), source)
    while isinstance(line, dict) and "table" in line:
        following: list[Any] = []

        def rows(following: list[Any] = following) -> Iterator[list[Any]]:
            while isinstance(one := _parse(file.readline(), source), list):
                yield one
            following.append(one)

        taken = rows()
        buffered = _Counted(taken)
        yield str(line["table"]), [str(name) for name in line["columns"]], buffered
        counted += buffered.count
        line = following[0]
    if not (isinstance(line, dict) and line.get("end") and line.get("rows") == counted):
        raise _broken(source, "its end is missing")


class _Counted:
    """Counts what is taken of an iterator."""

    def __init__(self, rows: Iterator[list[Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[list[Any]]:
        return self

    def __next__(self) -> list[Any]:
        row = next(self._rows)
        self.count += 1
        return row


def _fill(
    connection: Connection, table: Table, columns: list[str], rows: Iterator[Any], source: Path
) -> int:
    binary = {name for name in columns if isinstance(table.c[name].type, LargeBinary)}
    count = 0
    batch: list[dict[str, Any]] = []
    for row in rows:
        if len(row) != len(columns):
            raise _broken(source, f"a row of {table.name} has another number of columns")
        values = dict(zip(columns, row, strict=True))
        for name in binary:
            if values[name] is not None:
                values[name] = bytes.fromhex(values[name])
        batch.append(values)
        if len(batch) == _AT_ONCE:
            connection.execute(insert(table), batch)
            count += len(batch)
            batch = []
    if batch:
        connection.execute(insert(table), batch)
    return count + len(batch)


def _tables(connection: Connection) -> list[Table]:
    """The ledger's tables as the database has them, those that others refer to first."""
    metadata = MetaData()
    metadata.reflect(
        connection, only=lambda name, _: name.startswith("usage_") and name != VERSION_TABLE
    )
    return list(metadata.sorted_tables)


def _refuse_data(connection: Connection) -> None:
    for table in _tables(connection):
        if connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise Refused(
                f"The ledger's database is not empty: {table.name} has rows.",
                code="restore_over_data",
                remedy="Restore into a new database, and let the ledger use that one.",
            )


def _empty(connection: Connection) -> None:
    # The tables are made anew as the backup's version had them.
    metadata = MetaData()
    metadata.reflect(connection, only=lambda name, _: name.startswith("usage_"))
    metadata.drop_all(connection)


def _count_on(connection: Connection, tables: Any) -> None:
    """Let PostgreSQL number new rows after those that were restored."""
    for table in tables:
        if "id" in table.c:
            highest = select(func.max(table.c.id)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(
                select(func.setval(sequence, func.coalesce(highest, 1), highest.is_not(None)))
            )


def _line(file: TextIO, value: Any) -> None:
    file.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
    file.write("\n")


def _parse(line: str, source: Path) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise _broken(source, "its end is missing" if not line else "a line is no JSON") from None


def _broken(source: Path, why: str) -> LedgerError:
    return Refused(
        f"{source} cannot be restored: {why}.",
        code="backup_broken",
        remedy="Use a file that arcetri-ledger backup wrote; nothing was changed.",
    )


def _unwritable(target: Path, error: OSError) -> Refused:
    return Refused(
        f"{target} cannot be written: {error.strerror}.",
        code="backup_unwritable",
        remedy="Name a file in a folder that you may write to, with room on its disk.",
    )


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
