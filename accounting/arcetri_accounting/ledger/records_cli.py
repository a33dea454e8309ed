"""The commands that show single records: what was corrected, and what was set aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from arcetri_accounting.contract.units import hours, to_ms
from arcetri_accounting.ledger import times
from arcetri_accounting.ledger.console import aligned, style_option
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Refused

_style = style_option("table", "json")


def add_commands(group: click.Group, with_database: Callable[..., Any]) -> None:
    """Add them to ``arcetri-ledger``."""
    command = group.command("corrections")
    first = click.option("--from", "start", metavar="TIME", help="ISO 8601 with a zone.")
    last = click.option("--to", "end", metavar="TIME")
    command(first(last(_style(with_database(_corrections)))))
    group.command("quarantine")(_style(with_database(_quarantine)))


def _corrections(database: Database, start: str | None, end: str | None, style: str) -> None:
    """List the corrections of usage in a span, or all: what each changed, who made it and why."""
    from arcetri_accounting.ledger.corrections import listed

    names = ("id", "made_at", "author", "session", "device", "from", "to", "device_hours", "reason")
    rows = [
        (
            *(one.id, times.said(one.made_at), one.author, one.session, one.device),
            *(times.said(one.t0), times.said(one.t1), str(hours(one.alloc_u)), one.reason),
        )
        for one in listed(database, _moment(start), _moment(end))
    ]
    _print(names, rows, style, "There are no corrections.")


def _quarantine(database: Database, style: str) -> None:
    """List the records that were set aside: whose each is, why, and what it said.

    A record that should count can be entered with ``correct``.
    """
    from arcetri_accounting.ledger.quarantine import listed

    names = ("received_at", "writer", "epoch", "seq", "code", "why", "content")
    rows = [
        (times.said(one.received_at), *(getattr(one, name) for name in names[1:]))
        for one in database.read(listed)
    ]
    _print(names, rows, style, "Nothing is set aside.")


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else to_ms(times.parse(text))
    except ValueError as error:
        raise Refused(f"{error}.") from None


def _print(
    names: Sequence[str], rows: Sequence[Sequence[object]], style: str, nothing: str
) -> None:
    if style == "json":
        found = [dict(zip(names, row, strict=True)) for row in rows]
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    elif not rows:
        click.echo(nothing)
    else:
        table = [list(names), *([" ".join(str(one).split()) for one in row] for row in rows)]
        for line in aligned(table):
            click.echo(line)
