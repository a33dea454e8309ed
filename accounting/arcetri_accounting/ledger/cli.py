"""``arcetri-ledger``: serve, and every task an operator has with the ledger's database.

What a person got wrong is one sentence with its remedy, and exit status 2.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from functools import update_wrapper
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ValidationError

from arcetri_accounting.client.apiserver import MOUNTED
from arcetri_accounting.contract.units import hours, to_ms
from arcetri_accounting.ledger import times
from arcetri_accounting.ledger.console import DAY, style_option, with_options
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.errors import LedgerError, Refused
from arcetri_accounting.ledger.rollups import is_zone, site_zone
from arcetri_accounting.ledger.settings import (
    AUDIENCE,
    DEFAULT_PORT,
    DEFAULT_PREFIX,
    LedgerSettings,
    Retention,
)

VARIABLE: Final = "ARCETRI_LEDGER_DATABASE"
_REPORTS: Final = "arcetri_accounting.reports.cli"
_RECORDS: Final = "arcetri_accounting.ledger.records_cli"
_ELSEWHERE: Final = {
    "capacity": _REPORTS,
    "corrections": _RECORDS,
    "history": _REPORTS,
    "quarantine": _RECORDS,
    "report": _REPORTS,
}
"""Commands, and the modules whose ``add_commands`` adds them."""


def default_database() -> str:
    """The database in the folder ``state`` below the current one, as ``arcetri up`` makes it."""
    return f"sqlite:///{Path('state').absolute()}/ledger.sqlite"


class Command(click.Command):
    """A command whose errors are one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        try:
            return super().invoke(ctx)
        except LedgerError as error:
            click.echo(f"arcetri-ledger: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:
            # Whoever read has enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


class Group(click.Group):
    """The commands; those of other modules are loaded when one of them is asked for."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Find one."""
        if name in _ELSEWHERE and name not in self.commands:
            import_module(_ELSEWHERE[name]).add_commands(self, with_database)
        return super().get_command(ctx, name)


database_option = click.option(
    "--database",
    "database_url",
    envvar=VARIABLE,
    default=default_database,
    metavar="URL",
    help="sqlite:////path/to/ledger.sqlite or postgresql://user@host/database; where it is not"
    f" said here or in {VARIABLE}, ledger.sqlite in the folder state.",
)


def with_database(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an open database as its first argument, and close it."""

    def run(database_url: str, **options: Any) -> Any:
        database = Database.open(database_url, patient=True)
        try:
            return command(database, **options)
        finally:
            database.close()

    return database_option(update_wrapper(run, command))


@click.group(cls=Group)
@click.version_option(package_name="arcetri")
def main() -> None:
    """The ledger of GPU-hours."""


_retention_options = with_options(
    click.option(
        "--raw",
        type=click.Choice(["keep", "compact", "drop"]),
        default="compact",
        show_default=True,
        envvar="ARCETRI_LEDGER_RAW",
        help="What becomes of old segments: kept, added up by day, or dropped.",
    ),
    click.option(
        "--raw-days",
        type=click.IntRange(1, 36_500),
        default=90,
        show_default=True,
        envvar="ARCETRI_LEDGER_RAW_DAYS",
        help="How long segments are kept as they came.",
    ),
    click.option(
        "--quarter-years",
        type=click.IntRange(1, 100),
        default=3,
        show_default=True,
        envvar="ARCETRI_LEDGER_QUARTER_YEARS",
        help="How long roll-ups by the quarter hour, and with them lists of sessions, are kept;"
        " months of each session stay.",
    ),
    click.option(
        "--quarantine-days",
        type=click.IntRange(1, 36_500),
        default=400,
        show_default=True,
        envvar="ARCETRI_LEDGER_QUARANTINE_DAYS",
        help="How long records that were set aside are kept.",
    ),
)


def _with_retention(command: Callable[..., Any]) -> Callable[..., Any]:
    def run(
        *args: Any, raw: str, raw_days: int, quarter_years: int, quarantine_days: int, **more: Any
    ) -> Any:
        retention = Retention.model_validate(
            {
                "raw": raw,
                "raw_days": raw_days,
                "quarter_years": quarter_years,
                "quarantine_days": quarantine_days,
            }
        )
        return command(*args, retention=retention, **more)

    wrapped: Callable[..., Any] = _retention_options(update_wrapper(run, command))
    return wrapped


@main.command()
@database_option
@click.option(
    "--credentials",
    type=click.Path(path_type=Path),
    envvar="ARCETRI_LEDGER_CREDENTIALS",
    help="JSON file with the writers' credentials, closed to other accounts; without it nobody"
    " writes.",
)
@click.option(
    "--agent-account",
    "agent_accounts",
    multiple=True,
    envvar="ARCETRI_LEDGER_AGENT_ACCOUNTS",
    metavar="NAMESPACE:NAME",
    help="On a cluster: a service account whose pods write usage, each of its own node alone; may"
    " be said more than once. The ledger's own account has to be allowed to review tokens.",
)
@click.option(
    "--witness-account",
    "witness_accounts",
    multiple=True,
    envvar="ARCETRI_LEDGER_WITNESS_ACCOUNTS",
    metavar="NAMESPACE:NAME=WRITER",
    help="On a cluster: a service account whose pods tell of starts and ends, and as which writer.",
)
@click.option(
    "--audience",
    default=AUDIENCE,
    show_default=True,
    envvar="ARCETRI_LEDGER_AUDIENCE",
    help="Whom the tokens of those accounts must have been made for.",
)
@click.option(
    "--service-account",
    type=click.Path(path_type=Path),
    default=MOUNTED,
    show_default=True,
    envvar="ARCETRI_LEDGER_SERVICE_ACCOUNT",
    help="Folder with the ledger's own token and the API server's authority.",
)
@click.option(
    "--prefix",
    envvar="JUPYTERHUB_SERVICE_PREFIX",
    default=DEFAULT_PREFIX,
    show_default=True,
    help="Where all paths begin.",
)
@click.option("--host", default="127.0.0.1", show_default=True, envvar="ARCETRI_LEDGER_HOST")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    envvar="ARCETRI_LEDGER_PORT",
)
@click.option(
    "--site", envvar="ARCETRI_LEDGER_SITE", help="The site to record, instead of the catalog's."
)
@click.option(
    "--reconcile-after",
    "reconcile_after_s",
    type=click.FloatRange(min=0, min_open=True),
    default=900,
    show_default=True,
    envvar="ARCETRI_LEDGER_RECONCILE_AFTER",
    metavar="SECONDS",
    help="Silence of an agent after which its ended sessions are closed without it.",
)
@_with_retention
def serve(
    database_url: str, prefix: str, witness_accounts: tuple[str, ...], **options: Any
) -> None:
    """Take in what agents and the spawner send, and show reports."""
    import uvicorn

    from arcetri_accounting.ledger.app import build_app, tune_process
    from arcetri_accounting.logs import configure_logs

    try:
        settings = LedgerSettings.model_validate(
            {
                "database": database_url,
                "prefix": prefix.rstrip("/"),
                "witness_accounts": {
                    account: writer
                    for account, _, writer in (one.partition("=") for one in witness_accounts)
                },
                **options,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}.",
            remedy="See arcetri-ledger serve --help.",
        ) from None
    configure_logs("text")
    app = build_app(settings)
    tune_process()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        # Said, because otherwise what else is installed decides: the agent's httptools.
        http="h11",
        # What a proxy says of an address is not believed: metrics go by the real one.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


@main.command("import")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--from",
    "source",
    type=click.Choice(["csv", "sacct"]),
    help="What wrote it; told from its first line where this is not said.",
)
@click.option(
    "--site",
    help="Where the records come from, where that is not this ledger's site. Ids are unique at a"
    " site: say the same each time a file is loaded.",
)
@click.option(
    "--kind",
    type=click.Choice(["notebook", "batch"]),
    help="What used it; notebook for CSV and batch for sacct unless it is said.",
)
@click.option(
    "--zone", help="For sacct: where its times were meant; the site's zone unless it is said."
)
@style_option("text", "json", help="How to report what became of it.")
@click.option("--strict", is_flag=True, help="End with 1 where a row was refused.")
@with_database
def import_(
    database: Database,
    file: Any,
    source: str | None,
    site: str | None,
    kind: str | None,
    zone: str | None,
    style: str,
    strict: bool,
) -> None:
    """Load records of past usage as history, marked imported, each once.

    CSV has the columns external_id,start,end,user,group,flavor,gpus; times are ISO 8601 with a
    zone. From Slurm it takes what this prints:

    \b
      sacct --allusers --parsable2 --starttime 2026-01-01 \\
        --format JobID,User,Account,Partition,Start,End,AllocTRES

    Rows that cannot be loaded are reported with their line and why; the others are loaded.
    """  # noqa: D301 - Click takes the control character for "do not wrap"
    from arcetri_accounting.ledger import importing, importrows

    now = times.now_ms()
    if source is None:
        file, source = _told_apart(file)
    if source == "sacct":
        there = zone or database.read(site_zone)
        if not is_zone(there):
            raise Refused(f"There is no time zone {there}.", remedy="Name one such as Europe/Rome.")
        lines = importrows.read_sacct(file, now, there)
    else:
        lines = importrows.read_csv(file, now)

    def note(one: importrows.Bad | importrows.Entry) -> None:
        if isinstance(one, importrows.Bad):
            click.echo(f"line {one.line}: refused: {one.why}")
            return
        if one.note:
            click.echo(f"line {one.line}: noted: {one.note}")
        if one.rounded:
            counted = importrows.exact_text(one.share_u)
            click.echo(f"line {one.line}: rounded: gpus {one.rounded} counts as {counted}")

    report = importing.load(
        database,
        lines,
        site=site or None,
        kind=kind or ("batch" if source == "sacct" else "notebook"),
        note=note if style == "text" else None,
    )
    if style == "json":
        click.echo(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        click.echo(
            f"{report.loaded} loaded, {report.already} there already,"
            f" {len(report.refused)} refused, {len(report.rounded)} rounded"
            + (f", {report.skipped} skipped" if report.skipped else "")
        )
    if strict and report.refused:
        sys.exit(1)


def _told_apart(file: Any) -> tuple[Any, str]:
    """A file that is read from its beginning, and what wrote it."""
    import io

    buffered = io.BufferedReader(file) if not hasattr(file, "peek") else file
    first = buffered.peek(4096)[:4096].partition(b"\n")[0]
    return buffered, "sacct" if b"|" in first and b"JobID" in first else "csv"


@main.command()
@click.option("--from", "first", type=DAY, required=True, help="A day of the first UTC month.")
@click.option("--to", "last", type=DAY, required=True, help="A day of the last one.")
@click.option("--format", "style", type=click.Choice(["egi", "auditor"]), required=True)
@click.option("--names", is_flag=True, help="With people's names instead of their opaque ids.")
@click.option("--simulated", is_flag=True, help="The simulated devices' instead of the real ones'.")
@click.option(
    "--site", help="What this site is called in records from before a catalog said; as it is now."
)
@with_database
def export(
    database: Database,
    first: datetime,
    last: datetime,
    style: str,
    names: bool,
    simulated: bool,
    site: str | None,
) -> None:
    """Write usage as EGI accelerator records or AUDITOR records, one an allocation and month."""
    from arcetri_accounting.ledger import exporting

    def work(session: Any) -> None:
        span = (first.date(), last.date())
        found = exporting.months(session, *span, simulated=simulated, site=site)
        write = exporting.egi if style == "egi" else exporting.auditor
        for part in write(found, names=names):
            click.echo(part, nl=False)

    database.read(work)


@main.command()
@style_option("text", "json")
@with_database
def verify(database: Database, style: str) -> None:
    """Make the roll-ups anew from what they sum, and check the invariants; 1 where not all is well.

    It may run while the ledger serves.
    """
    from arcetri_accounting.ledger.verify import verify as look

    result = look(database)
    if style == "json":
        found = [
            {"code": one.code, "where": one.where, "what": one.what} for one in result.findings
        ]
        click.echo(
            json.dumps(
                {
                    "allocations": result.allocations,
                    "quarters": result.quarters,
                    "months": result.months,
                    "days": result.days,
                    "unchecked": result.unchecked,
                    "unchecked_months": result.unchecked_months,
                    "findings": found,
                    "more": result.more,
                },
                indent=1,
                ensure_ascii=False,
            )
        )
    else:
        for one in result.findings:
            click.echo(f"{one.code}: {one.where}: {one.what}")
        if result.more:
            click.echo(f"and {result.more} more")
        click.echo(
            f"{result.allocations} allocations, {result.quarters} quarter hours, {result.months}"
            f" months and {result.days} rows of days: {len(result.findings) + result.more} findings"
        )
        if result.unchecked:
            click.echo(f"{result.unchecked} quarter hours not compared: their raw data is gone")
        if result.unchecked_months:
            click.echo(f"{result.unchecked_months} months not compared: their raw data is gone")
    if result.findings:
        sys.exit(1)


@main.command()
@style_option("table", "json")
@with_database
def discrepancies(database: Database, style: str) -> None:
    """List what agents and the spawner say differently about sessions, those found last first."""
    from arcetri_accounting.ledger.disputes import listed

    found = database.read(listed)
    if style == "json":
        click.echo(json.dumps([one._asdict() for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        says = f"agent: {one.agent_says}; spawner: {one.witness_says}"
        click.echo(f"{one.session} {one.code}: {says}")
    click.echo(f"{len(found)} discrepancies")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_database
def backup(database: Database, file: Path) -> None:
    """Write the whole ledger into one new file, while it serves."""
    from arcetri_accounting.ledger.backup import backup as write

    click.echo(f"{write(database, file)} rows written to {file}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@with_database
def restore(database: Database, file: Path) -> None:
    """Fill an empty ledger from a backup, of SQLite or PostgreSQL; nothing is ever overwritten."""
    from arcetri_accounting.ledger.backup import restore as fill

    click.echo(f"{fill(database, file)} rows restored from {file}")


@main.command()
@_with_retention
@with_database
def prune(database: Database, retention: Retention) -> None:
    """Let go of what is older than its retention; totals stay as they are."""
    from arcetri_accounting.ledger.retention import prune as let_go

    done = let_go(database, retention, times.now_ms())
    click.echo(
        f"{done.segments} segments, {done.quarters} quarter hours and {done.quarantined} records"
        " that were set aside let go"
    )


@main.command()
@click.argument("person")
@click.confirmation_option("--yes", prompt="The name cannot be brought back. Erase it?")
@with_database
def erase(database: Database, person: str) -> None:
    """Forget a PERSON's name, given by it or by their opaque id; their usage stays.

    Backups from before still have the name: write a new one and delete those, or erase the person
    again after restoring one. Delete what you imported the person from, too: a record in it that is
    not loaded yet would bring the name back, as that of a new person.
    """
    from arcetri_accounting.ledger.retention import erase as forget

    number = forget(database, person, times.now_ms())
    click.echo(
        f"Erased; reports show them as erased person {number}. Backups from before still have the"
        " name."
    )


@main.command()
@click.option("--session", required=True, help="The session's id.")
@click.option("--device", help="Where it had several.")
@click.option("--from", "start", required=True, metavar="TIME", help="ISO 8601 with a zone.")
@click.option("--to", "end", required=True, metavar="TIME")
@click.option(
    "--add/--remove",
    "add",
    default=None,
    help="Count the span, as unobserved, or no longer count what was counted in it.",
)
@click.option("--reason", required=True, help="Kept with the correction.")
@click.option("--author", default=getpass.getuser, show_default="your account's name")
@with_database
def correct(
    database: Database,
    session: str,
    device: str | None,
    start: str,
    end: str,
    add: bool | None,
    reason: str,
    author: str,
) -> None:
    """Correct what a session held; corrections are appended, and undone by opposite ones."""
    from arcetri_accounting.ledger.corrections import Correction
    from arcetri_accounting.ledger.corrections import correct as make

    if add is None:
        raise Refused("It is not said which way to correct.", remedy="Say --add or --remove.")
    try:
        t0, t1 = to_ms(times.parse(start)), to_ms(times.parse(end))
    except ValueError as error:
        raise Refused(f"{error}.") from None
    sign = 1 if add else -1
    wanted = Correction(session, device, t0, t1, sign, author, reason)
    made = make(database, wanted, times.now_ms())
    click.echo(f"Correction {made.id}: {hours(made.alloc_u)} device-hours.")
    if made.by_quarters:
        click.echo(
            "The records of a part of the span are no longer kept: there it was held against the"
            " sums of quarter hours only."
        )


@main.command()
@click.option(
    "--after",
    type=click.FloatRange(min=0),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="Silence of an agent after which its ended sessions are closed without it.",
)
@with_database
def reconcile(database: Database, after: float) -> None:
    """Close from the witness what no agent saw, as the ledger does by itself while it serves."""
    from arcetri_accounting.ledger.reconcile import run

    outcome = run(database, times.now_ms(), round(after * 1000))
    click.echo(f"{outcome.sessions} sessions compared, {outcome.spans} spans changed")
