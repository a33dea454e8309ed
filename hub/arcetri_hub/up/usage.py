"""The ledger and the agent beside the hub: their secrets, their database, and how each is run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arcetri_accounting.contract.journal import JOURNAL_NAME
from arcetri_hub.settings import UsageSettings
from arcetri_hub.up import ports
from arcetri_hub.up.children import ChildSpec
from arcetri_hub.up.probe import status
from arcetri_hub.usage import CALLBACK, CLIENT_ID, PREFIX, SCOPES, SERVICE, WITNESS

if TYPE_CHECKING:
    from arcetri_hub.settings import Settings
    from arcetri_hub.up.statefolder import StateFolder

_DATABASE = "ledger.sqlite"
_HISTORY = "usage-history-made"
_TARGETS = "agent-metrics.json"
"""Where Prometheus finds the agent, in the form that its ``file_sd_configs`` reads."""
_HISTORY_TRIES = 20
_INTERVAL = 10
"""Seconds between two samples of the agent."""


@dataclass(frozen=True, slots=True)
class UsagePlan:
    """What the ledger and the agent are started with."""

    settings: UsageSettings
    database_url: str
    writers: Path
    """The credentials of those who may write."""
    agent_token: Path
    agent_metrics_port: int
    """Where the agent serves its metrics, on loopback."""
    history: bool
    """The reports begin with a generated half-year."""

    @property
    def agent_metrics_url(self) -> str:
        """The agent's metrics, for this machine."""
        return f"http://127.0.0.1:{self.agent_metrics_port}/metrics"


def plan_usage(folder: StateFolder, warnings: list[str], *, history: bool) -> UsagePlan:
    """Choose ports, make the secrets, and write who may write and where metrics are.

    Args:
        folder: Where all of it is kept.
        warnings: Takes what an operator should know.
        history: Begin the reports with a generated half-year.

    Raises:
        UpError: The folder cannot be written.
    """
    node = _node()
    agent, witness = folder.secret("agent"), folder.secret("witness")
    writers = folder.path / "secrets" / "usage-writers.json"
    credentials = [
        {"sha256": _hash(agent), "role": "agent", "node": node},
        {"sha256": _hash(witness), "role": "witness", "writer": WITNESS},
    ]
    folder.write(writers, json.dumps(credentials, indent=2) + "\n")
    folder.seed(_DATABASE)
    metrics_port = _metrics_port(folder, warnings)
    targets = [{"targets": [f"127.0.0.1:{metrics_port}"], "labels": {"node": node}}]
    folder.write(folder.path / _TARGETS, json.dumps(targets) + "\n")
    return UsagePlan(
        settings=UsageSettings(
            url=f"http://127.0.0.1:{ports.choose()}",
            service_token_file=folder.secret("usage-service"),
            witness_token_file=witness,
            node=node,
            spool=folder.path / "witness.sqlite",
        ),
        database_url=f"sqlite:///{folder.path / _DATABASE}",
        writers=writers,
        agent_token=agent,
        agent_metrics_port=metrics_port,
        history=history,
    )


def ledger(plan: UsagePlan, settings: Settings, logs: Path) -> ChildSpec:
    """The ledger, JupyterHub's service of usage."""
    port = plan.settings.url.rsplit(":", 1)[1]

    async def ready() -> bool:
        return await status(f"{plan.settings.url}{PREFIX}api/v1/health") == 200

    command = [
        sys.executable,
        "-m",
        "arcetri_accounting.ledger",
        "serve",
        "--database",
        plan.database_url,
        "--port",
        port,
        "--credentials",
        str(plan.writers),
    ]
    return ChildSpec(
        name="ledger",
        title="the ledger",
        command=tuple(command),
        env={
            "JUPYTERHUB_SERVICE_NAME": SERVICE,
            "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{settings.hub_port}/hub/api",
            "JUPYTERHUB_API_TOKEN": plan.settings.service_token_file.read_text().strip(),
            "JUPYTERHUB_CLIENT_ID": CLIENT_ID,
            "JUPYTERHUB_OAUTH_CALLBACK_URL": CALLBACK,
            "JUPYTERHUB_OAUTH_SCOPES": json.dumps(list(SCOPES)),
            "JUPYTERHUB_PUBLIC_URL": f"{settings.public_url}{PREFIX}",
            "JUPYTERHUB_PUBLIC_HUB_URL": f"{settings.public_url}/",
        },
        log=logs / "ledger.log",
        ready=ready,
    )


def agent(plan: UsagePlan, state: Path, logs: Path) -> ChildSpec:
    """The agent of this machine."""

    async def ready() -> bool:
        # It needs nobody to answer: what it sees it keeps until the ledger is there.
        return True

    return ChildSpec(
        name="agent",
        title="the usage agent",
        command=(
            sys.executable,
            "-m",
            "arcetri_accounting.agent",
            "run",
            "--journal",
            str(state / "journal" / JOURNAL_NAME),
            "--spool",
            str(state / "agent.sqlite"),
            "--ledger",
            f"{plan.settings.url}{PREFIX}",
            "--token-file",
            str(plan.agent_token),
            "--node",
            plan.settings.node,
            "--interval",
            str(_INTERVAL),
            "--metrics-port",
            str(plan.agent_metrics_port),
        ),
        log=logs / "agent.log",
        ready=ready,
    )


async def write_history(plan: UsagePlan, logs: Path) -> None:
    """Give the demonstration's ledger its past, once; what goes wrong is in the log.

    It needs the catalog, which the hub tells the ledger a moment after it has started.
    """
    done = logs.parent / _HISTORY
    if not plan.history or done.exists():
        return
    command = (sys.executable, "-m", "arcetri_accounting.ledger", "history")
    for _ in range(_HISTORY_TRIES):
        with (logs / "history.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--database",
                plan.database_url,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.kill()
                await process.wait()
                raise
        if code == 0:
            done.touch()
            return
        await asyncio.sleep(2)


def _metrics_port(folder: StateFolder, warnings: list[str]) -> int:
    """The agent's port: the same at every start, for whoever was told to scrape it."""
    port, chosen = folder.kept_port("agent-metrics", ports.choose)
    if chosen or ports.is_free("127.0.0.1", port):
        return port
    other, _ = folder.kept_port("agent-metrics", ports.choose, anew=True)
    warnings.append(
        f"Port {port} of 127.0.0.1, where the usage agent served its metrics, is taken by another "
        f"program: they are at port {other} from now on ({folder.path / _TARGETS} says so too)."
    )
    return other


def _hash(secret: Path) -> str:
    return hashlib.sha256(secret.read_text(encoding="utf-8").strip().encode()).hexdigest()


def _node() -> str:
    """This machine's name as the contract writes it: letters, digits, dots and dashes."""
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())
    return name.strip("-") or "localhost"
