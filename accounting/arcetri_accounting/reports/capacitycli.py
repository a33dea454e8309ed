"""The command ``capacity``: how devices' time divides, in the very numbers of the web page."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import click
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.console import aligned, printable, style_option, with_options
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import access, service
from arcetri_accounting.reports.api import wall_clock
from arcetri_accounting.reports.capacityapi import CapacityParams, DivisionAnswer, division_answer
from arcetri_accounting.reports.capacityquery import CAPACITY_BY, Capacity
from arcetri_accounting.reports.csvfile import guarded
from arcetri_accounting.reports.options import FIRST, LAST, SIMULATED, by_option

capacity_options = with_options(
    FIRST,
    LAST,
    by_option(CAPACITY_BY),
    SIMULATED,
    style_option("table", "json", "csv"),
)
"""The options of ``capacity``."""


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
        amounts = (f"{float(getattr(row, name)):.2f}" for name in names)
        lines.append([printable(label), row.type, *amounts])
    return "\n".join(aligned(lines, texts=2)) + "\n"
