"""The ``arcetri-agent`` command."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import click
import structlog

from arcetri_accounting.agent import looking
from arcetri_accounting.agent.running import run as run_agent
from arcetri_accounting.agent.settings import AgentSettings, read_config
from arcetri_accounting.logs import configure_logs
from arcetri_accounting.spool import SpoolError


def _take_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        found = read_config(path)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error)) from None
    known = {parameter.name for parameter in context.command.params} - {"config"}
    for name in found.keys() - known:
        allowed = ", ".join(sorted(filter(None, known)))
        raise click.BadParameter(f"{path}: there is no setting {name}; there are: {allowed}")
    context.default_map = {**(context.default_map or {}), **found}


@click.group()
def main() -> None:
    """Record what sessions hold on this node, and how it is used, and send it to the ledger."""


@main.command()
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_take_config,
    help="TOML file with these options; the command line wins.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    required=True,
    help="The lease journal, or the folder that holds it.",
)
@click.option(
    "--spool",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File that keeps what the ledger has not acknowledged; made if it is missing.",
)
@click.option("--ledger", required=True, help="The ledger's address: http://HOST:PORT/PATH.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File with this agent's token; read again when used.",
)
@click.option(
    "--node", default=socket.gethostname, help="This node's name; its host name if left out."
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=300),
    default=10.0,
    show_default=True,
    help="Seconds between samples.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve Prometheus metrics at this port of 127.0.0.1; none if left out.",
)
def run(**options: Any) -> None:
    """Run until SIGTERM or Ctrl-C; then cut what runs, and try once more to deliver it."""
    configure_logs()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_agent(AgentSettings(**options), stop)
    except (SpoolError, ValueError, OSError) as error:
        structlog.get_logger(__name__).error("the agent cannot run", error=str(error))
        sys.exit(1)


@main.command()
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    help="Show also who holds what, from this journal.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1, max=60),
    default=1.0,
    show_default=True,
    help="How long to look.",
)
def look(journal: Path | None, seconds: float) -> None:
    """Print once what the agent would see on this machine."""
    configure_logs()
    for line in looking.devices(seconds):
        click.echo(line)
    for line in looking.sessions(journal) if journal is not None else ():
        click.echo(line)
