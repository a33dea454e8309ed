"""``arcetri queues``: Kueue's objects, made from the catalog and kept as it says."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arcetri_spawner.catalog import LoadedCatalog, check
from arcetri_spawner.errors import ArcetriError

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from arcetri_spawner.queues.sync import Outlook, Queues, QueuesRefused


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def queues() -> None:
    """Keep Kueue's queues as the catalog says."""


@queues.command("sync")
@click.option(
    "--profiles",
    "file",
    type=click.Path(path_type=Path),
    default="profiles.yaml",
    show_default=True,
    help="The catalog.",
)
@click.option(
    "--instance",
    default="arcetri",
    show_default=True,
    help="What this installation is called; its objects' names begin with it.",
)
@click.option(
    "--namespace",
    default="arcetri-sessions",
    show_default=True,
    help="Where the sessions are, and so the LocalQueues.",
)
@click.option(
    "--dry-run", is_flag=True, help="Only print what would change, and what stands against it."
)
@click.option(
    "--overcommit", is_flag=True, help="Promise more than the farm has, for devices to come."
)
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

    Exit status: 0 when all is done, or left to wait for; 1 when something stands against it.
    """
    try:
        import kubernetes  # noqa: F401
    except ImportError:
        raise click.ClickException(
            "The client of Kubernetes is not installed: install arcetri[kubernetes]."
        ) from None
    sys.exit(asyncio.run(_sync(file, instance, namespace, dry_run, overcommit, every)))


async def _sync(
    file: Path, instance: str, namespace: str, dry_run: bool, overcommit: bool, every: float | None
) -> int:
    from arcetri_spawner.queues.names import Names
    from arcetri_spawner.queues.sync import Queues

    client = await _connect()
    try:
        work = Queues(client, Names(instance, namespace))
        last: LoadedCatalog | None = None
        while True:
            result = check(file)
            if result.catalog is None:
                for finding in result.errors:
                    click.echo(finding.render(), err=True)
                if every is None:
                    return 1
                if last is not None:
                    click.echo(f"{file} cannot be used; the last good one stays.", err=True)
            last = result.catalog or last
            status = 1 if last is None else await _once(work, last, dry_run, overcommit)
            if every is None:
                return status
            await asyncio.sleep(every)
    finally:
        await client.close()


async def _once(work: Queues, catalog: LoadedCatalog, dry_run: bool, overcommit: bool) -> int:
    from arcetri_spawner.queues.sync import QueuesRefused
    from kueue_client import KueueError

    try:
        outlook = await work.look(catalog.catalog)
        if dry_run:
            _print(outlook, done=False)
        outlook.check(overcommit=overcommit)
        if not dry_run:
            await work.carry_out(outlook)
            _print(outlook, done=True)
    except QueuesRefused as error:
        _refuse(error)
        return 1
    except (ArcetriError, KueueError) as error:
        click.echo(f"arcetri: {error}", err=True)
        return 1
    return 0


def _print(outlook: Outlook, *, done: bool) -> None:
    for notice in outlook.plan.notices:
        click.echo(f"note: {notice}")
    for promise in outlook.plan.overcommitted:
        click.echo(f"over-commitment: {promise.sentence}")
    for change in outlook.changes:
        click.echo(change.render(), nl=False)
    if not outlook.changes:
        click.echo("Nothing to change.")
    elif not done:
        click.echo("Nothing was changed: --dry-run.")


def _refuse(error: QueuesRefused) -> None:
    click.echo(f"arcetri: {error.message}", err=True)
    for reason in error.reasons:
        click.echo(f"  {reason}", err=True)
    click.echo(error.remedy, err=True)


async def _connect() -> ApiClient:
    from kubernetes.aio import client, config
    from kubernetes.aio.config import ConfigException

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            # The package itself reads the variable only when it is imported.
            where = os.environ.get("KUBECONFIG") or None
            await config.load_kube_config(where, client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise click.ClickException(
                "Nothing says where the cluster's API server is: run this in a pod of the cluster,"
                " or set KUBECONFIG."
            ) from error
    return client.ApiClient(configuration)
