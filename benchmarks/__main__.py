"""Runs the benchmarks, and keeps docs/reference/figures.json: ``python -m benchmarks [NAME]``."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks import (
    agent,
    catalog,
    crowd,
    following,
    install,
    latency,
    ledger,
    memory,
    offers,
    pods,
    start,
    sync,
    waiting,
)
from benchmarks.waits import bench as waits

BENCHMARKS = {
    "catalog": catalog.run,
    "offers": offers.run,
    "start": start.run,
    "memory": memory.run,
    "install": install.run,
    "agent": agent.run,
    "ledger": ledger.run,
    "pods": pods.run,
    "crowd": crowd.run,
    "following": following.run,
    "waits": waits.run,
    "sync": sync.run,
    "queue": waiting.run,
    "latency": latency.run,
}
RESULTS = Path(__file__).parent.parent / "docs" / "reference" / "figures.json"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Measure what is named, or everything; a figure not measured keeps its last result."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or tuple(BENCHMARKS):
        click.echo(f"{name} …", err=True)
        results[name] = {
            "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": f"{psutil.cpu_count()} cores, Python {platform.python_version()}",
            **BENCHMARKS[name](),
        }
        RESULTS.write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
        click.echo(json.dumps({name: results[name]}, indent=2, default=str))


if __name__ == "__main__":
    main()
