"""Many rows in few statements, the fastest way each database has.

PostgreSQL takes columns as arrays in one statement, or a COPY; SQLite, which runs in our process,
takes a prepared statement for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from typing import cast as typed

from sqlalchemy import (
    JSON,
    Column,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

Insert = postgresql.Insert | sqlite.Insert
Row = Sequence[Any]


def upsert(
    session: Session,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[Row],
    on_conflict: Callable[[Any], Any],
) -> None:
    """Insert rows, in their order; ``on_conflict`` adds what happens to those that are there.

    Writers that upsert into the same table must bring their rows in the order of the key, so that
    no two wait for each other.
    """
    if not rows:
        return
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    # A list in JSON would be taken for another dimension of the array.
    if on_postgresql and not any(isinstance(table.c[name].type, JSON) for name in columns):
        statement = postgresql.insert(table).from_select(list(columns), _given(table, columns))
        session.execute(on_conflict(statement), _columns(table, columns, rows))
    else:
        names = {name: bindparam(name, type_=table.c[name].type) for name in columns}
        make = postgresql.insert if on_postgresql else sqlite.insert
        one = make(table).values(names)
        session.execute(on_conflict(one), [dict(zip(columns, row, strict=True)) for row in rows])


def update_by_id(
    session: Session, table: Table, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    """Set columns of the rows that have the first column's ids, in the order given."""
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        given = _arrays(table, columns)
        new = {name: given.c[name] for name in columns[1:]}
        statement = update(table).values(new).where(table.c[columns[0]] == given.c[columns[0]])
        session.execute(statement, _columns(table, columns, rows))
    else:
        key, *rest = columns
        one = update(table).where(table.c[key] == bindparam("_key"))
        names = ["_key", *(f"_{name}" for name in rest)]
        new_: dict[str, Any] = {name: bindparam(f"_{name}") for name in rest}
        session.execute(one.values(new_), [dict(zip(names, row, strict=True)) for row in rows])


def _given(table: Table, columns: Sequence[str]) -> Select[Any]:
    given = _arrays(table, columns)
    return select(*(given.c[name] for name in columns))


def ignore(statement: Any) -> Any:
    """For ``upsert``: what is there stays as it is."""
    return statement.on_conflict_do_nothing()


def append(session: Session, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows that are known not to be there.

    Raises:
        sqlalchemy.exc.IntegrityError: One of them is.
    """
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        _copy(session, table, columns, rows)
    else:
        session.execute(
            sqlite.insert(table), [dict(zip(columns, row, strict=True)) for row in rows]
        )


def _arrays(table: Table, columns: Sequence[str]) -> FromClause:
    arrays = [
        cast(bindparam(f"given_{name}", type_=Text()), ARRAY(table.c[name].type))
        if _is_number(table.c[name])
        else bindparam(f"given_{name}", type_=ARRAY(table.c[name].type))
        for name in columns
    ]
    return func.unnest(*arrays).table_valued(*columns).render_derived(name="given")


def _columns(table: Table, columns: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, column in zip(columns, zip(*rows, strict=True), strict=True):
        if _is_number(table.c[name]):
            # The driver writes an array number by number, many times slower.
            text = ",".join(map(str, column))
            values[f"given_{name}"] = (
                "{" + (text.replace("None", "NULL") if None in column else text) + "}"
            )
        else:
            values[f"given_{name}"] = list(column)
    return values


def _is_number(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer)


def _copy(session: Session, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    import psycopg

    connection = session.connection()
    names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in columns)
    statement = f"COPY {table.name} ({names}) FROM STDIN"
    raw = typed("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        # Below SQLAlchemy, which would have said the same of it.
        lost = raw.broken or raw.closed
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=lost
        ) from error
