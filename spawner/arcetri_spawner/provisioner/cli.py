"""``arcetri-provisioner``: make homes and group folders for the hub of a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from arcetri_accounting.client.apiserver import ApiServer, NotInCluster
from arcetri_accounting.client.tokenreview import TokenReviewer
from arcetri_accounting.logs import configure_logs
from arcetri_spawner.provisioner.contract import AUDIENCE

PORT: Final = 8020
NEEDED: Final = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4}
"""Linux' capabilities that it cannot do without, by their numbers."""


def missing_rights(status: str) -> list[str]:
    """Name the capabilities that a process lacks.

    Args:
        status: Its ``/proc/PID/status``.
    """
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    has = int(line.split()[1], 16)
    return [name for name, bit in NEEDED.items() if not has & 1 << bit]


def _fail(message: str) -> NoReturn:
    click.echo(f"arcetri-provisioner: {message}", err=True)
    sys.exit(2)


@click.command()
@click.version_option(package_name="arcetri")
@click.option(
    "--claims",
    type=click.Path(path_type=Path),
    default=Path("/claims"),
    show_default=True,
    envvar="ARCETRI_PROVISIONER_CLAIMS",
    help="The folder in which each claim is mounted, by its name.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    required=True,
    envvar="ARCETRI_PROVISIONER_ACCOUNTS",
    metavar="NAMESPACE:NAME",
    help="A service account that may ask, as NAMESPACE:NAME, such as arcetri:arcetri-hub; several"
    " times for several.",
)
@click.option(
    "--host",
    default="0.0.0.0",  # noqa: S104 - in a pod its address is given to it
    show_default=True,
    envvar="ARCETRI_PROVISIONER_HOST",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=PORT,
    show_default=True,
    envvar="ARCETRI_PROVISIONER_PORT",
)
@click.option(
    "--any-folder",
    is_flag=True,
    envvar="ARCETRI_PROVISIONER_ANY_FOLDER",
    help="Take folders on which nothing is mounted for claims too: for a try outside a pod.",
)
def main(
    claims: Path,
    accounts: tuple[str, ...],
    host: str,
    port: int,
    any_folder: bool,
) -> None:
    """Make homes and group folders on claims, for the hub alone."""
    import uvicorn

    from arcetri_spawner.provisioner.app import Provisioner
    from arcetri_spawner.provisioner.work import Claims

    lacking = missing_rights(Path("/proc/self/status").read_text(encoding="ascii"))
    if os.geteuid() != 0 or lacking:
        _fail(
            "It runs as root with the capabilities "
            + ", ".join(NEEDED)
            + (f"; {', '.join(lacking)} is missing." if lacking else ".")
        )
    try:
        reviewer = TokenReviewer(AUDIENCE, ApiServer.of_pod())
    except NotInCluster as error:
        _fail(str(error))
    configure_logs()
    # A folder's mode is what is asked for, whatever the container was started with.
    os.umask(0o077)
    serving = Claims(claims, mounted=not any_folder)
    app = Provisioner(serving, reviewer, accounts).app()
    click.echo(f"arcetri-provisioner: serves {', '.join(serving.names()) or 'no claim'}", err=True)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        http="h11",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
