"""The ``arcetri-agent`` command."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from socket import gethostname
from typing import Any

import click
import structlog

from arcetri_accounting.agent import looking
from arcetri_accounting.agent.running import run as run_agent
from arcetri_accounting.agent.settings import (
    DEFAULT_RESOURCES,
    KUBELET_SOCKET,
    AgentSettings,
    PodSettings,
    read_config,
)
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
    help="On one machine: the lease journal, or the folder that holds it.",
)
@click.option(
    "--sessions-namespace",
    multiple=True,
    envvar="ARCETRI_AGENT_SESSIONS_NAMESPACE",
    metavar="NAMESPACE",
    help="On a cluster's node: where sessions run; said instead of --journal, also more than once.",
)
@click.option(
    "--instance",
    default="",
    envvar="ARCETRI_AGENT_INSTANCE",
    help="On a cluster: the one platform whose sessions count as such; each that has some there, if"
    " it is left out.",
)
@click.option(
    "--resource",
    multiple=True,
    default=DEFAULT_RESOURCES,
    show_default=True,
    envvar="ARCETRI_AGENT_RESOURCES",
    metavar="PREFIX",
    help="On a cluster: what the names of accelerators begin with.",
)
@click.option(
    "--kubelet-socket",
    type=click.Path(path_type=Path),
    default=KUBELET_SOCKET,
    show_default=True,
    envvar="ARCETRI_AGENT_KUBELET_SOCKET",
    help="On a cluster: the kubelet's PodResources.",
)
@click.option(
    "--service-account",
    type=click.Path(path_type=Path),
    envvar="ARCETRI_AGENT_SERVICE_ACCOUNT",
    help="On a cluster: folder with the agent's own token for the API server and its authority; the"
    " pod's usual one, if it is left out.",
)
@click.option(
    "--spool",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    envvar="ARCETRI_AGENT_SPOOL",
    help="File that keeps what the ledger has not acknowledged; made if it is missing.",
)
@click.option(
    "--ledger",
    required=True,
    envvar="ARCETRI_AGENT_LEDGER",
    help="The ledger's address: http://HOST:PORT/PATH.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    envvar="ARCETRI_AGENT_TOKEN_FILE",
    help="File with this agent's token; read again when used.",
)
@click.option(
    "--node",
    default=gethostname,
    envvar="ARCETRI_AGENT_NODE",
    help="This node's name, on a cluster the one it has there; its host name if left out.",
)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=300),
    default=10.0,
    show_default=True,
    envvar="ARCETRI_AGENT_INTERVAL",
    help="Seconds between samples.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    envvar="ARCETRI_AGENT_METRICS_PORT",
    help="Serve Prometheus metrics at this port; none if left out.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    envvar="ARCETRI_AGENT_METRICS_HOST",
    help="Address of this machine at which metrics are served.",
)
def run(
    journal: Path | None,
    sessions_namespace: tuple[str, ...],
    instance: str,
    resource: tuple[str, ...],
    kubelet_socket: Path,
    service_account: Path | None,
    **options: Any,
) -> None:
    """Run until SIGTERM or Ctrl-C; then cut what runs, and try once more to deliver it."""
    configure_logs()
    if (journal is None) == (not sessions_namespace):
        raise click.UsageError(
            "Say who holds what: --journal FILE on one machine, --sessions-namespace NAMESPACE on a"
            " cluster's node; one of the two."
        )
    pods = None
    if sessions_namespace:
        spaces = frozenset(sessions_namespace)
        pods = PodSettings(spaces, instance, resource, kubelet_socket, service_account)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_agent(AgentSettings(journal=journal, pods=pods, **options), stop)
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
