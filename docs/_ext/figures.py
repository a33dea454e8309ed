"""The results page: what ``make bench`` last found, beside what is wanted of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models import Undocumented

RESULTS: Final = Path(__file__).parent.parent / "reference" / "figures.json"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: what it is, where it stands in the results, and what is wanted of it."""

    what: str
    path: str
    """Keys, separated by slashes."""
    wanted: str = ""
    unit: str = ""
    scale: float = 1


PARTS: Final[Mapping[str, tuple[str, list[Line]]]] = {
    "start": (
        "Starts, against stock JupyterHub with `SimpleLocalProcessSpawner`",
        [
            Line("Time from asking to ready", "seconds_to_ready", "upper end ≤ 1.10", "s"),
            Line("Processor time of the hub", "hub_cpu_seconds_per_start", "≤ 1.2", "ms", 1000),
            Line("Memory of hub and proxy", "memory_ratio", "≤ 1.3"),
            Line("Of 20 starts at once, ready", "crowd/ready", "20"),
            Line("The last of them", "crowd/last_seconds", unit="s"),
        ],
    ),
    "memory": (
        "Memory of every process, its share of what they share, with one session",
        [
            Line(name.replace("_", " "), name, "≤ 50" if name == "agent" else "", "MB")
            for name in (
                "hub",
                "proxy",
                "ledger",
                "agent",
                "supervisor",
                "development_iam",
                "keeper_of_a_session",
                "notebook_server",
            )
        ],
    ),
    "catalog": (
        "The catalog: 1,000 groups and 60 flavours, against `yaml.CSafeLoader`",
        [Line("Processor time to load and check it", "", "≤ 4", "s")],
    ),
    "offers": (
        "Offers to a person in 20 of those groups, against one whole start",
        [
            Line("Processor time", "", "≤ 0.02", "ms", 1000),
            Line("The same, of the hub's part of a start", "of_the_hubs_part", "", "ms", 1000),
        ],
    ),
    "install": (
        "What `make up` installs",
        [
            Line("To the login page, with a warm package cache", "seconds_to_login_warm_package_cache", unit="s"),
            Line("To the login page, when all is installed", "seconds_to_login_installed", unit="s"),
            Line("Size", "installed_mb", unit="MB"),
            Line("Packages", "packages"),
            Line("A Kubernetes client among them", "kubernetes_client", "no"),
        ],
    ),
    "agent": (
        "The agent, at 8 GPUs of 7 MIG instances, one cycle a second, beside nvitop-exporter",
        [
            Line("Calls of NVML a device and cycle", "no delay/agent/calls_per_device_and_cycle"),
            Line("… of nvitop-exporter", "no delay/nvitop_exporter/calls_per_device_and_cycle"),
            Line("Processor time a cycle: nvitop-exporter's over ours", "no delay/cpu_ratio", "≥ 20"),
            Line("… with 200 µs a call", "200 us a call/cpu_ratio", "≥ 20"),
            Line("… with one device that hangs for 5 s", "one hangs 5 s/cpu_ratio", "≥ 20"),
            Line("A cycle takes", "no delay/agent/cycle_ms_median", unit="ms"),
            Line("… with 200 µs a call", "200 us a call/agent/cycle_ms_median", unit="ms"),
            Line("… with one device that hangs", "one hangs 5 s/agent/cycle_ms_median", unit="ms"),
            Line("Cycles missed while one device hangs", "one hangs 5 s/agent/cycles_missed", "0"),
            Line("Memory, resident", "no delay/agent/resident_mb", "≤ 50", "MB"),
            Line("Error of `used`, steady load", "used_error/steady-buffer/error_percent", unit="%"),
            Line("… bursts of 1 s every 10 s", "used_error/bursts-buffer/error_percent", unit="%"),
            Line("… at random", "used_error/random-buffer/error_percent", unit="%"),
            Line("… bursts, where the driver keeps no samples", "used_error/bursts-readings/error_percent", unit="%"),
        ],
    ),
    "ledger": (
        "The ledger on PostgreSQL, durable, against the same work in SQL by hand",
        [
            Line("Rows a second, ours over by hand", "ingest/rate_against_by_hand", "≥ 0.7"),
            Line("… of the database's part alone", "ingest/rate_of_the_database_part_against_by_hand"),
            Line("Rows a second", "ingest/rows_a_second"),
            Line("… by hand", "ingest/by_hand_rows_a_second"),
            Line("… by bare COPY", "ingest/copy_rows_a_second"),
            Line("Time of redelivery, over first delivery", "ingest/time_of_redelivery_against_first", "≤ 1", "ms", 1000),
            Line("Bytes a segment, with indexes", "ingest/bytes_a_segment_with_indexes"),
            Line("… and of roll-ups", "ingest/bytes_of_rollups_a_segment"),
            Line("Days of a node of 56 slices in 1 GB", "ingest/days_of_a_node_of_56_slices_in_1_GB"),
            Line("A backlog of so many segments", "backlog/segments"),
            Line("… drains, while reports are read, in", "backlog/whole_backlog_takes_minutes", unit="min"),
            Line("The slowest report meanwhile", "backlog/report_while_draining_ms/slowest", "≤ twice that at rest", "ms"),
            Line("… at rest", "backlog/report_at_rest_ms/slowest", unit="ms"),
            Line("The median report meanwhile", "backlog/report_while_draining_ms/median", unit="ms"),
            Line("… at rest", "backlog/report_at_rest_ms/median", unit="ms"),
            Line("A month's report for 1,000 users, against one roll-up read by hand", "backlog/report_against_by_hand", "≤ 2", "ms", 1000),
            Line("The report with all the raw data", "backlog/report_ms_with_all", unit="ms"),
            Line("… with a tenth of it", "backlog/report_ms_with_a_tenth_of_the_raw_data", unit="ms"),
        ],
    ),
}  # fmt: skip


def figures_markdown(undocumented: Undocumented) -> str:
    """The tables of all benchmarks; a benchmark without one is reported."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    undocumented += [f"benchmark {name}" for name in results if name not in PARTS]
    return "\n".join(
        _table(title, results[name], lines)
        for name, (title, lines) in PARTS.items()
        if name in results
    )


def _table(title: str, found: Mapping[str, Any], lines: list[Line]) -> str:
    rows = [f"| {line.what} | {_shown(found, line)} | {line.wanted} |" for line in lines]
    return "\n".join(
        [
            f"## {title}",
            "",
            f"Measured on {found['measured']}, {found['machine']}.",
            "",
            "| Figure | Measured | Wanted |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _shown(found: Mapping[str, Any], line: Line) -> str:
    value: Any = found
    for key in filter(None, line.path.split("/")):
        value = value.get(key) if isinstance(value, Mapping) else None
    unit = f" {line.unit}" if line.unit else ""
    if isinstance(value, Mapping):
        ours, reference = (_number(value[name] * line.scale) for name in ("ours", "reference"))
        return (
            f"**{value['ratio']:.3g}** (95 % interval {value['low']:.3g} to {value['high']:.3g},"
            f" {value['pairs']} pairs; {ours} against {reference}{unit})"
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not measured" if value is None else f"{_number(value * line.scale)}{unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.3g}"
