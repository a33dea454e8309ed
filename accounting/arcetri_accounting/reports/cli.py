"""The commands of reports, added to ``arcetri-ledger``: ``report``, ``capacity``, ``history``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from arcetri_accounting.ledger.console import (
    DAY,
    aligned,
    printable,
    style_option,
    with_options,
)
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import Refused
from arcetri_accounting.reports import access, csvfile, history, present, queries, service
from arcetri_accounting.reports.api import wall_clock
from arcetri_accounting.reports.capacitycli import capacity_options, show_capacity
from arcetri_accounting.reports.history import Somebody
from arcetri_accounting.reports.models import rows_answer
from arcetri_accounting.reports.numbers import BY, Amounts, By
from arcetri_accounting.reports.options import FIRST, LAST, SIMULATED, by_option
from arcetri_accounting.reports.params import Params
from arcetri_accounting.reports.service import Asked, Report

report_options = with_options(
    FIRST,
    LAST,
    by_option(BY),
    click.option(
        "--group", metavar="PATH", help="Only what this group was charged; such as /ai/cms."
    ),
    click.option("--below", is_flag=True, help="With the groups below that one."),
    click.option("--user", metavar="NAME", help="Only this person: a name or opaque id."),
    click.option("--flavor", metavar="NAME", help="Only this flavour."),
    click.option("--kind", type=click.Choice(["notebook", "batch"])),
    SIMULATED,
    style_option("table", "json", "csv", "pdf"),
    click.option(
        "--decimals",
        type=click.Choice(["point", "comma"]),
        default="point",
        show_default=True,
        help="In CSV; with a comma, fields are parted by semicolons.",
    ),
    click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write there instead of to the terminal.",
    ),
)
"""The options of ``report``."""


def report(
    database: Database,
    *,
    by: By,
    style: str,
    decimals: csvfile.Decimals,
    output: Path | None,
    first: Any,
    last: Any,
    **filters: Any,
) -> None:
    """Say who used what, in the very numbers of the web report.

    Numbers go to the standard output, and what is to be known about their completeness to the
    standard error; so does that nothing is known of a group, person or flavour.
    """
    params = Params.model_validate({"from": first.date(), "to": last.date(), **filters})

    def work(session: Session) -> tuple[bytes, list[str]]:
        found = service.context(session, access.OPERATOR, wall_clock())
        asked = params.asked(found, by)
        made = service.report(session, found, asked)
        notes = [*service.unknown(session, found, asked.wanted), *made.notes]
        if style == "pdf":
            return _pdf(session, made, asked, params), notes
        if style == "csv":
            return csvfile.write(made, decimals).encode(), notes
        return (rows_json(made) if style == "json" else table(made)).encode(), notes

    content, notes = database.read(work)
    _put(content, output, binary=style == "pdf")
    for note in notes:
        click.echo(f"Note: {note}", err=True)


def _pdf(session: Session, made: Report, asked: Asked, params: Params) -> bytes:
    from arcetri_accounting.reports import pdf, views

    view: access.View = "group" if asked.wanted.group else "all"
    page = views.report_page(session, made.context, params, view, "/", by=asked.by)
    return pdf.write(page)


def _put(content: bytes, output: Path | None, *, binary: bool) -> None:
    if output is not None:
        try:
            output.write_bytes(content)
        except OSError as error:
            raise Refused(
                f"{output} cannot be written: {error.strerror}.",
                code="output_failed",
                remedy="Name a file in a folder that you may write to.",
            ) from None
        return
    if binary and sys.stdout.isatty():
        raise Refused(
            "A PDF is no text for a terminal.",
            code="output_needed",
            remedy="Name a file with --output.",
        )
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def rows_json(made: Report) -> str:
    """The rows as JSON; amounts are decimals in strings."""
    rows = [row.model_dump(mode="json") for row in rows_answer(made)]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def table(made: Report) -> str:
    """The rows for a terminal, with their total."""
    head = [made.by, "GPU-hours", "used", "of measured", "occupied", "unobserved"]
    head += ["FPGA-hours", "core-hours", "provisional"]
    lines = [_cells(row.label, row.amounts) for row in made.rows]
    lines.append(_cells("total", made.total))
    text = [f"{made.context.site}, {made.wanted.period} ({made.context.zone.key})"]
    if made.wanted.simulated == "only":
        text[0] += ", simulated devices"
    return "\n".join([*text, *aligned([head, *lines], texts=1)]) + "\n"


def _cells(label: str, amounts: Amounts) -> list[str]:
    gpu = amounts.gpu
    return [
        printable(label),
        present.gpu(gpu.alloc_u),
        present.gpu(gpu.used_u) if gpu.util_u else "-",
        present.gpu(gpu.util_u),
        present.gpu(gpu.occupied_u),
        present.gpu(gpu.unobserved_u),
        present.gpu(amounts.fpga.alloc_u),
        present.cores(amounts.core_ms),
        present.gpu(amounts.running.alloc_u),
    ]


history_options = with_options(
    click.option(
        "--days",
        type=click.IntRange(1, 3660),
        default=history.DAYS,
        show_default=True,
        help="How far back it goes.",
    ),
    click.option("--seed", type=int, default=1, show_default=True),
    click.option("--until", type=DAY, help="The first day without it; today where not said."),
    click.option(
        "--people",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help='JSON: {"/group": [{"account": ID, "name": NAME}]}; others are invented.',
    ),
)
"""The options of ``history``."""


def make_history(
    database: Database, *, days: int, seed: int, until: Any, people: Path | None
) -> None:
    """Fill a demonstration's ledger with a generated past, marked simulated, once."""
    known = _people(people) if people else None

    def work(session: Session) -> int:
        catalog = queries.newest_snapshot(session)
        if catalog is None:
            raise Refused(
                "The ledger knows no catalog yet, so there are no groups to make a history for.",
                code="catalog_missing",
                remedy="Start the platform once: the hub sends its catalog to the ledger.",
            )
        found = service.context(session, access.OPERATOR, wall_clock())
        last: date = until.date() if until else found.today
        return history.generate(session, catalog, last, days=days, seed=seed, known=known)

    count = database.write(work)
    click.echo(f"{count} sessions generated." if count else "There is a generated history already.")


def _people(path: Path) -> dict[str, list[Somebody]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(group): [Somebody(str(one["account"]), str(one["name"])) for one in some]
            for group, some in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(
            f"{path} does not say who is in which group.",
            code="people_invalid",
            remedy='Write {"/group": [{"account": "an id", "name": "a name"}]}.',
        ) from None


def add_commands(group: click.Group, with_database: Callable[[Any], Any]) -> None:
    """Add them to a group of commands; ``with_database`` gives a command its database."""
    group.command("report")(with_database(report_options(_fresh(report))))
    group.command("capacity")(with_database(capacity_options(_fresh(show_capacity))))
    group.command("history")(with_database(history_options(_fresh(make_history))))


def _fresh(command: Callable[..., None]) -> Callable[..., None]:
    """The same command as another function: Click keeps a command's options on it."""

    def run(*arguments: Any, **options: Any) -> None:
        command(*arguments, **options)

    run.__doc__ = command.__doc__
    return run
