"""``arcetri queues``: Kueue's objects, made from the catalog and kept as it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arcetri_spawner.catalog import LoadedCatalog, check
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from arcetri_spawner.queues.findings import Finding
    from arcetri_spawner.queues.names import Names
    from arcetri_spawner.queues.sync import Outlook, Queues, QueuesRefused


_WITHHELD = 3
"""The exit status where all is done but what would promise more than the farm has."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def queues() -> None:
    """Keep Kueue's queues as the catalog says."""


def _installation(command: Callable[..., None]) -> Callable[..., None]:
    """Options by which an installation's queues are known."""
    for option in (
        click.option(
            "--namespace",
            default="arcetri-sessions",
            show_default=True,
            help="Where the sessions are, and so the LocalQueues.",
        ),
        click.option(
            "--instance",
            default="arcetri",
            show_default=True,
            help="What this installation is called; its objects' names begin with it.",
        ),
        click.option(
            "--profiles",
            "file",
            type=click.Path(path_type=Path),
            default="profiles.yaml",
            show_default=True,
            help="The catalog.",
        ),
    ):
        command = option(command)
    return command


_OVERCOMMIT = click.option(
    "--overcommit", is_flag=True, help="Promise more than the farm has, for devices to come."
)


@queues.command("sync")
@_installation
@click.option(
    "--dry-run", is_flag=True, help="Only print what would change, and what stands against it."
)
@_OVERCOMMIT
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Go on, and look again after so long: at the catalog, the nodes and the objects.",
)
def sync_command(
    file: Path,
    instance: str,
    namespace: str,
    dry_run: bool,  # click's
    overcommit: bool,
    every: float | None,
) -> None:
    """Make Kueue's queues what the catalog says, and nothing else.

    Asks the cluster as the pod this runs in, else as KUBECONFIG says. Objects without this
    installation's labels are never touched. A queue that is wanted no more admits nothing from then
    on, and goes when nobody holds anything of it: sync again until nothing is left to do.

    Quotas of flavours of which more is promised than there is are not raised, and those that are
    new are of nothing; all else is done. With --every, what is the same as the last time is not
    printed again.

    Exit status: 0 when all is done, or left to wait for; 1 when something stands against it, and
    nothing is done; 3 when all is done but what would promise more than the farm has.
    """
    _need_client()
    sys.exit(asyncio.run(_sync(file, instance, namespace, dry_run, overcommit, every)))


@queues.command("doctor")
@_installation
@_OVERCOMMIT
@click.option(
    "--start-timeout",
    type=click.IntRange(min=1),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="The hub's start_timeout, which Kueue's own timeout is compared with.",
)
@click.option(
    "--kueue-namespace",
    default="kueue-system",
    show_default=True,
    help="Where Kueue is, whose configuration is looked at too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("request", required=False, default="")
def doctor_command(
    file: Path,
    instance: str,
    namespace: str,
    overcommit: bool,
    start_timeout: int,
    kueue_namespace: str,
    as_json: bool,
    request: str,
) -> None:
    """Say what is wrong with the queues, and why each request waits; changes nothing.

    REQUEST is a request's id, or its Workload's name: then only this one, and what is wrong.

    Kueue's own configuration is looked at, too, where it may be read.

    Asks the cluster as the pod this runs in, else as KUBECONFIG says.

    Exit status: 0 when nothing is wrong; 1 when something is.
    """
    _need_client()
    start = timedelta(seconds=start_timeout)
    asked = _examine(file, instance, namespace, overcommit, request, kueue_namespace, start)
    findings = asyncio.run(asked)
    well = not any(one.wrong for one in findings)
    if as_json:
        said = {"well": well, "findings": [asdict(one) for one in findings]}
        click.echo(json.dumps(said, indent=2))
    else:
        for one in findings:
            click.echo(one.render())
    sys.exit(0 if well else 1)


async def _examine(
    file: Path,
    instance: str,
    namespace: str,
    overcommit: bool,
    request: str,
    kueue: str,
    start: timedelta,
) -> list[Finding]:
    from arcetri_spawner.queues.doctor import Doctor
    from arcetri_spawner.queues.findings import Finding

    result = check(file)
    found = [
        Finding("catalog", "catalog_invalid", True, one.render(), "Correct the catalog.")
        for one in result.errors
    ]
    async with _connected(instance, namespace) as (client, names):
        catalog = result.catalog.catalog if result.catalog else None
        doctor = Doctor(client, names, kueue=kueue, start=start)
        return found + await doctor.examine(catalog, request, overcommit=overcommit)


def _need_client() -> None:
    """Say what to install where the client of Kubernetes is not."""
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        raise click.ClickException(
            "The client of Kubernetes is not installed: install arcetri[kubernetes]."
        ) from None


@contextlib.asynccontextmanager
async def _connected(instance: str, namespace: str) -> AsyncIterator[tuple[ApiClient, Names]]:
    """The connection to the cluster, and what the queues are called there."""
    from arcetri_spawner.queues.connecting import connect
    from arcetri_spawner.queues.names import Names

    try:
        client = await connect()
    except ArcetriError as error:
        raise click.ClickException(str(error)) from error
    try:
        yield client, Names(instance, namespace)
    finally:
        await client.close()


class _Words:
    """What is printed: of two rounds that say the same, the second says nothing."""

    def __init__(self) -> None:
        self.short: set[str] = set()
        """Flavours of which there was too little in the last round."""
        self._now: list[tuple[str, bool]] = []
        self._last: list[tuple[str, bool]] = []

    def say(self, text: str, *, wrong: bool = False) -> None:
        """Say a line; what is wrong goes to standard error."""
        self._now.append((text, wrong))

    def out(self) -> None:
        """Print what was said, and begin the next round."""
        if self._now != self._last:
            for text, wrong in self._now:
                click.echo(text, err=wrong)
        self._now, self._last = [], self._now


async def _sync(
    file: Path, instance: str, namespace: str, dry_run: bool, overcommit: bool, every: float | None
) -> int:
    from arcetri_spawner.queues.sync import Queues

    words = _Words()
    async with _connected(instance, namespace) as (client, names):
        work = Queues(client, names)
        ended = _told_to_end() if every is not None else asyncio.Event()
        last: LoadedCatalog | None = None
        while True:
            result = check(file)
            for finding in result.errors if result.catalog is None else ():
                words.say(finding.render(), wrong=True)
            if result.catalog is None and last is not None:
                words.say(f"{file} cannot be used; the last good one stays.", wrong=True)
            last = result.catalog or last
            status = 1 if last is None else await _once(work, last, dry_run, overcommit, words)
            words.out()
            if every is None:
                return status
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await ended.wait()
                    return 0


def _told_to_end() -> asyncio.Event:
    """Set at SIGTERM, which the first process of a container has to take itself."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    return ended


async def _once(
    work: Queues, catalog: LoadedCatalog, dry_run: bool, overcommit: bool, words: _Words
) -> int:
    from arcetri_spawner.queues.sync import QueuesRefused
    from kueue_client import KueueError

    try:
        outlook = await work.look(catalog.catalog, overcommit=overcommit)
        if dry_run:
            _tell(outlook, words, done=False)
        outlook.check()
        if not dry_run:
            await work.carry_out(outlook)
            _tell(outlook, words, done=True)
    except QueuesRefused as error:
        _refuse(error, words)
        return 1
    except (ArcetriError, KueueError) as error:
        words.say(f"arcetri: {error}", wrong=True)
        return 1
    return _WITHHELD if outlook.withheld else 0


def _tell(outlook: Outlook, words: _Words, *, done: bool) -> None:
    for notice in outlook.plan.notices:
        words.say(f"note: {notice}")
    for promise in () if outlook.withheld else outlook.plan.overcommitted:
        words.say(f"over-commitment: {promise.sentence}")
    if outlook.withheld:
        rest = "All else is done." if done else "All else would be done."
        words.say(f"arcetri: More is promised than the farm has. {rest}", wrong=True)
    for one in outlook.withheld:
        words.say(f"  {one.sentence}\n    {one.promise.remedy}", wrong=True)
    if outlook.withheld:
        words.say("Or say --overcommit, where more devices are to come.", wrong=True)
    short = {flavor for one in outlook.withheld for flavor in one.promise.flavors}
    for flavor in sorted(words.short - short):
        words.say(f"{flavor}: the farm has what is promised again.")
    words.short = short
    for change in outlook.changes:
        words.say(change.render().removesuffix("\n"))
    if not outlook.changes:
        words.say("Nothing to change.")
    elif not done:
        words.say("Nothing was changed: --dry-run.")


def _refuse(error: QueuesRefused, words: _Words) -> None:
    words.say(f"arcetri: {error.message}", wrong=True)
    for reason in error.reasons:
        words.say(f"  {reason}", wrong=True)
    words.say(error.remedy, wrong=True)
