"""The command ``capacity``: how devices' time divides, in the very numbers of the web page."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import access, service
from arcetri_accounting.reports.api import wall_clock
from arcetri_accounting.reports.capacityapi import CapacityParams, DivisionAnswer, division_answer
from arcetri_accounting.reports.capacityquery import CAPACITY_BY, Capacity
from arcetri_accounting.reports.csvfile import guarded

_DAY = click.DateTime(formats=["%Y-%m-%d"])


def capacity_options(command: Any) -> Any:
    """The options of ``capacity``."""
    for option in reversed(
        (
            click.option(
                "--from", "first", type=_DAY, required=True, help="First day, of the site's zone."
            ),
            click.option("--to", "last", type=_DAY, required=True, help="Last day, included."),
            click.option(
                "--by",
                type=click.Choice(CAPACITY_BY),
                default="device",
                show_default=True,
                help="What a row is.",
            ),
            click.option(
                "--simulated",
                type=click.Choice(["exclude", "only"]),
                default="exclude",
                show_default=True,
                help="Simulated devices are never added to real ones.",
            ),
            click.option(
                "--format",
                "style",
                type=click.Choice(["table", "json", "csv"]),
                default="table",
                show_default=True,
            ),
        )
    ):
        command = option(command)
    return command


def show_capacity(database: Database, *, first: Any, last: Any, style: str, **asked: Any) -> None:
    """Say how the whole time of each physical device divides.

    Numbers go to the standard output, and what is to be known about them to the standard error.
    """
    params = CapacityParams.model_validate({"from": first.date(), "to": last.date(), **asked})

    def work(session: Session) -> Capacity:
        return params.read(session, service.context(session, access.OPERATOR, wall_clock()))

    made = database.read(work)
    rows = [division_answer(line) for line in made.lines]
    if style == "json":
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows], indent=1))
    elif style == "csv":
        click.echo(_csv(rows), nl=False)
    else:
        click.echo(_table(rows, [division_answer(line) for line in made.totals]), nl=False)
    for note in made.notes:
        click.echo(f"Note: {note}", err=True)


def _csv(rows: list[DivisionAnswer]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(DivisionAnswer.model_fields)
    for row in rows:
        writer.writerow([guarded(str(value)) for value in row.model_dump().values()])
    return out.getvalue()


def _table(rows: list[DivisionAnswer], totals: list[DivisionAnswer]) -> str:
    names = [name for name in DivisionAnswer.model_fields if name.endswith("_hours")]
    lines = [["hours of", "type", *(name.removesuffix("_hours") for name in names)]]
    named = [(row.key, row) for row in rows] + [("total", row) for row in totals]
    for label, row in named:
        shown = "".join(letter if letter.isprintable() else "?" for letter in label)
        lines.append([shown, row.type, *(f"{float(getattr(row, name)):.2f}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = zip(line, widths, strict=True)
        aligned = [c.rjust(w) if at > 1 else c.ljust(w) for at, (c, w) in enumerate(cells)]
        text.append("  ".join(aligned).rstrip())
    return "\n".join(text) + "\n"
