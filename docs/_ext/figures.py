"""The results page: what ``make bench`` last found, beside what is wanted of it."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from models import Undocumented

RESULTS: Final = Path(__file__).parent.parent / "reference" / "figures.json"


@dataclass(frozen=True, slots=True)
class Bound:
    """What is wanted of a figure."""

    sign: Literal["≤", "≥", "="]
    limit: float
    """In the figure's unit; of a ratio, without one."""
    of: str = ""
    """Path of another figure of this part, of which the limit is a multiple."""
    of_what: str = ""
    """That other figure, in words."""
    upper_end: bool = False
    """Of a ratio's interval the upper end counts, and not the ratio itself."""

    def __str__(self) -> str:
        limit = "no" if self.limit is False else f"{self.limit:g}"
        sign = "" if self.sign == "=" else f"{self.sign} "
        times = f" times {self.of_what}" if self.of else ""
        return f"{'upper end ' if self.upper_end else ''}{sign}{limit}{times}"

    def met(self, found: Mapping[str, Any], value: Any, scale: float) -> bool:
        """Whether a value found is as it should be."""
        if isinstance(value, Mapping):
            number = value["high" if self.upper_end else "ratio"]
        else:
            number = value * scale
        limit = self.limit * (_at(found, self.of) * scale if self.of else 1)
        compare = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}[self.sign]
        return bool(compare(number, limit))


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: what it is, where it stands in the results, and what is wanted of it."""

    what: str
    path: str
    """Keys, separated by slashes."""
    wanted: Bound | None = None
    unit: str = ""
    scale: float = 1
    because: str = ""
    """Why it misses what is wanted; shown only where it does."""


def _most(limit: float, **more: Any) -> Bound:
    return Bound("≤", limit, **more)


def _least(limit: float) -> Bound:
    return Bound("≥", limit)


def _exactly(limit: float) -> Bound:
    return Bound("=", limit)


_DURABLE: Final = (
    "about a quarter of a cycle is a write that is on the disk when it ends and a delivery that was"
    " acknowledged, which the exporter has no need of"
)

_REGIMES: Final = {
    "light": "light tails",
    "memoryless": "no memory",
    "heavy": "heavy tails",
    "capped": "half end by lifetime",
    "idle": "many end by idleness",
    "course": "with a course",
    "quotas": "quotas",
    "change": "habits that change",
}
"""Generated farms, by their name in the results."""

PARTS: Final[Mapping[str, tuple[str, list[Line]]]] = {
    "start": (
        "Starts, against stock JupyterHub with `SimpleLocalProcessSpawner`",
        [
            Line("Time from asking to ready", "seconds_to_ready", _most(1.10, upper_end=True), "s"),
            Line("Processor time of the hub", "hub_cpu_seconds_per_start", _most(1.2), "ms", 1000),
            Line("Memory of hub and proxy", "memory_ratio", _most(1.3)),
            Line("Of 20 starts at once, ready", "crowd/ready", _exactly(20)),
            Line("The last of them", "crowd/last_seconds", unit="s"),
        ],
    ),
    "memory": (
        "Memory of every process, its share of what they share, with one session",
        [
            Line(name.replace("_", " "), name, _most(50) if name == "agent" else None, "MB")
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
        [Line("Processor time to load and check it", "", _most(4), "s")],
    ),
    "offers": (
        "Offers to a person in 20 of those groups, against one whole start",
        [
            Line("Processor time", "", _most(0.02), "ms", 1000),
            Line("The same, of the hub's part of a start", "of_the_hubs_part", None, "ms", 1000),
        ],
    ),
    "install": (
        "What `make up` installs",
        [
            Line("To the login page, with a warm package cache", "seconds_to_login_warm_package_cache", unit="s"),
            Line("To the login page, when all is installed", "seconds_to_login_installed", unit="s"),
            Line("Size", "installed_mb", unit="MB"),
            Line("Packages", "packages"),
            Line("A Kubernetes client among them", "kubernetes_client", _exactly(False)),
        ],
    ),
    "agent": (
        "The agent, at 8 GPUs of 7 MIG instances, one cycle a second, beside nvitop-exporter",
        [
            Line("Calls of NVML a device and cycle", "no delay/agent/calls_per_device_and_cycle"),
            Line("… of nvitop-exporter", "no delay/nvitop_exporter/calls_per_device_and_cycle"),
            Line("Processor time a cycle, against nvitop-exporter's", "no delay/cpu", _most(0.05), "ms", because=_DURABLE),
            Line("… with 200 µs a call", "200 us a call/cpu", _most(0.05), "ms", because=_DURABLE),
            Line("… with one instance that hangs for 5 s", "one hangs 5 s/cpu", _most(0.05), "ms", because=_DURABLE),
            Line("A cycle takes", "no delay/agent/cycle_ms_median", unit="ms"),
            Line("… with 200 µs a call", "200 us a call/agent/cycle_ms_median", unit="ms"),
            Line("… with one instance that hangs", "one hangs 5 s/agent/cycle_ms_median", unit="ms"),
            Line("Cycles missed while one instance hangs", "one hangs 5 s/agent/cycles_missed", _exactly(0)),
            Line("Samples lost of its siblings meanwhile, of 6 a second", "one hangs 5 s/agent/samples_lost_of_its_siblings", _exactly(0)),
            Line("… of other GPUs, of 49 a second", "one hangs 5 s/agent/samples_lost_of_other_gpus", _exactly(0)),
            Line("Longest between two cycles meanwhile", "one hangs 5 s/agent/seconds_between_cycles_longest", unit="s"),
            Line("… of nvitop-exporter", "one hangs 5 s/nvitop_exporter/seconds_between_cycles_longest", unit="s"),
            Line("Memory, resident", "no delay/agent/resident_mb", _most(50), "MB"),
            Line("Error of `used`, steady load", "used_error/steady-buffer/error_percent", unit="%"),
            Line("… bursts of 1 s every 10 s", "used_error/bursts-buffer/error_percent", unit="%"),
            Line("… at random", "used_error/random-buffer/error_percent", unit="%"),
            Line("… bursts, where the driver keeps no samples", "used_error/bursts-readings/error_percent", unit="%"),
        ],
    ),
    "ledger": (
        "The ledger on PostgreSQL, durable, against the same work in SQL by hand",
        [
            Line("Rows a second, ours over by hand", "ingest/rate_against_by_hand", _least(0.7)),
            Line("… of the database's part alone", "ingest/rate_of_the_database_part_against_by_hand"),
            Line("Rows a second", "ingest/rows_a_second"),
            Line("… by hand", "ingest/by_hand_rows_a_second"),
            Line("… by bare COPY", "ingest/copy_rows_a_second"),
            Line("Time of redelivery, over first delivery", "ingest/time_of_redelivery_against_first", _most(1), "ms", 1000),
            Line("Bytes a segment, with indexes", "ingest/bytes_a_segment_with_indexes"),
            Line("… and of roll-ups", "ingest/bytes_of_rollups_a_segment"),
            Line("Days of a node of 56 slices in 1 GB", "ingest/days_of_a_node_of_56_slices_in_1_GB"),
            Line("A backlog of so many segments", "backlog/segments"),
            Line("… drains, while reports are read, in", "backlog/whole_backlog_takes_minutes", unit="min"),
            Line("The slowest report meanwhile", "backlog/report_while_draining_ms/slowest", _most(2, of="backlog/report_at_rest_ms/slowest", of_what="that at rest"), "ms"),
            Line("… at rest", "backlog/report_at_rest_ms/slowest", unit="ms"),
            Line("The median report meanwhile", "backlog/report_while_draining_ms/median", unit="ms"),
            Line("… at rest", "backlog/report_at_rest_ms/median", unit="ms"),
            Line("A month's report for 1,000 users, against one roll-up read by hand", "backlog/report_against_by_hand", _most(2), "ms", 1000),
            Line("The report with all the raw data", "backlog/report_ms_with_all", unit="ms"),
            Line("… with a tenth of it", "backlog/report_ms_with_a_tenth_of_the_raw_data", unit="ms"),
        ],
    ),
    "pods": (
        "Starts on a cluster, against JupyterHub with stock KubeSpawner",
        [
            Line("Time from asking to ready", "seconds_to_ready", _most(1.10, upper_end=True), "s"),
            Line("Processor time of the hub a start", "hub_cpu_seconds_per_start", _most(1.2), "ms", 1000),
            Line("Requests to the API server, a start and a stop", "api_requests_per_start_and_stop", _most(1.2)),
            Line("Memory of the hub a running session", "memory/ratio_a_session", _most(1.1)),
            Line("Memory of the hub with them all", "memory/hub_ratio_with_all", _most(1.1)),
            Line("… of so many sessions, on simulated nodes", "memory/sessions"),
        ],
    ),
    "crowd": (
        "Starts at once, on simulated nodes with room for all",
        [
            Line("Asked for", "asked"),
            Line("Ready", "ready", Bound("≥", 1, of="asked", of_what="those asked for")),
            Line("Half of them after", "median_seconds", unit="s"),
            Line("The last after", "last_seconds", unit="s"),
            Line("Processor time of the hub a start", "hub_cpu_seconds_per_start", unit="ms", scale=1000),
        ],
    ),
    "following": (
        "What is on offer follows nodes and pods",
        [
            Line("Simulated nodes", "nodes"),
            Line("Pods on them", "pods"),
            Line("Nodes cordoned, lost and cut otherwise, pods with a device come, and back", "events"),
            Line("The page says so after, at the longest", "seconds_to_follow_longest", _most(10), "s"),
            Line("… half the time", "seconds_to_follow_median", unit="s"),
            Line("The hub's processor time, of a core, while it watches them", "hub_cpu_of_a_core", _most(5), "%", 100),
            Line("… while so many pods a second are replaced", "pods_replaced_a_second"),
            Line("… its processor time then, of a core", "hub_cpu_of_a_core_while_replaced", _most(5), "%", 100),
        ],
    ),
    "waits": (
        "Expected waits, against the mean of past waits and an oracle",
        [
            Line("Traces of six weeks, generated", "traces"),
            Line("Moments looked at", "looks"),
            Line("Nothing was said at", "abstained", _most(10), "%", 100),
            Line("The 80 % range held the truth, at least", "inside", _least(75), "%", 100),
            Line("… at most", "inside", _most(85), "%", 100),
            Line("Median error of what was called likely", "error_hours", unit="h"),
            Line("… of the mean of past waits", "naive_hours", unit="h"),
            Line("… of the same less what was waited already", "less_waited_hours", unit="h"),
            Line("… of an oracle that knows every session's end", "oracle_hours", unit="h"),
            Line("… of who knows the laws of lengths, and not the future", "best_hours", unit="h"),
            Line("Of the gap between the mean and the oracle, closed", "closed", _least(70), "%", 100),
            Line("… by who knows the laws", "closed_at_best", unit="%", scale=100),
            Line("Of the gap between the mean less what was waited and the oracle, closed", "closed_of_less_waited", unit="%", scale=100),
            Line("… by who knows the laws", "closed_at_best_of_less_waited", unit="%", scale=100),
            Line("Processor time for everybody in a line", "ms_a_line", unit="ms"),
            *(
                Line(f"Closed, {what}", f"regimes/{name}/closed", unit="%", scale=100)
                for name, what in _REGIMES.items()
            ),
            *(
                Line(f"Held the truth, {what}", f"regimes/{name}/inside", unit="%", scale=100)
                for name, what in _REGIMES.items()
            ),
        ],
    ),
    "sync": (
        "Kueue's queues of a large catalog, kept as it says",
        [
            Line("Groups", "groups"),
            Line("Objects that come of them", "objects"),
            Line("Written where the catalog is as it was", "unchanged/writes", _exactly(0)),
            Line("… read, a kind's whole list in one", "unchanged/reads"),
            Line("… in", "unchanged/seconds", unit="s"),
            Line("Objects written where one group's quota is another", "one_change/objects", _exactly(1)),
            Line("… requests that write", "one_change/writes", _exactly(1)),
            Line("To make them all", "made/seconds", unit="s"),
        ],
    ),
    "queue": (
        "Notebooks asked for at once behind Kueue, on simulated nodes",
        [
            Line("Asked for", "asked"),
            Line("Devices, each session ended once it runs", "room"),
            Line("Groups that share them out, a queue each", "queues"),
            Line("Ran", "ran", Bound("≥", 1, of="asked", of_what="those asked for")),
            Line("Two of a group, asked for in different seconds", "pairs"),
            Line("… of which the later one was admitted first", "pairs_out_of_order", _exactly(0)),
            Line("The last had run after", "last_seconds", unit="s"),
            Line("Processor time of the hub a session", "hub_cpu_seconds_per_session", unit="ms", scale=1000),
            Line("The hub's processor time, of a core, while all devices are in use and nobody waits", "waiting/none/cpu_of_a_core", unit="%", scale=100),
            Line("… while 100 wait", "waiting/few/cpu_of_a_core", unit="%", scale=100),
            Line("… while 400 wait in the same queues", "waiting/many/cpu_of_a_core", _most(1.2, of="waiting/few/cpu_of_a_core", of_what="that of 100"), "%", 100),
            Line("The same with everybody's waiting page open in a tab behind others, while 100 wait", "waiting/few_look/cpu_of_a_core", unit="%", scale=100),
            Line("… while 400 wait in the same queues", "waiting/many_look/cpu_of_a_core", unit="%", scale=100),
            Line("… how often such a page asks how it stands, of all, a second", "waiting/many_look/looks_a_second"),
            Line("… half of the answers come within", "waiting/many_look/median_seconds_a_look", unit="ms", scale=1000),
            Line("Requests to the API server a minute while nobody waits", "waiting/none/requests_a_minute"),
            Line("… while 100 wait", "waiting/few/requests_a_minute"),
            Line("… while 400 wait in the same queues", "waiting/many/requests_a_minute", _most(1.2, of="waiting/few/requests_a_minute", of_what="that of 100")),
        ],
    ),
    "latency": (
        "From a device that becomes free to the next container on it, against a bare pod of the same image, device and home that Kueue manages",
        [
            Line("Time from the end of the one container to the start of the next", "seconds", _most(1.3), "s"),
            *(
                Line(what, f"steps/ours/{name}", unit="s")
                for name, what in {
                    "ticket_given_back": "Of that, until the ticket is given back",
                    "next_admitted": "… until Kueue has admitted the next one",
                    "pod_created": "… until its pod is made",
                    "sandbox_started": "… until its sandbox runs",
                }.items()
            ),
            Line("Of a bare pod's, until Kueue lets it start", "steps/bare/pod_ungated", unit="s"),
            Line("… until its sandbox runs", "steps/bare/sandbox_started", unit="s"),
        ],
    ),
}  # fmt: skip


def figures_markdown(undocumented: Undocumented) -> str:
    """The tables of all benchmarks; a benchmark without one is reported."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    undocumented += [f"benchmark {name}" for name in results if name not in PARTS]
    installed = results.get("install", {})
    if len(installed.get("packages_mb", {})) != installed.get("packages", 0):
        undocumented.append("every package that is installed: run make bench ARGS=install")
    return "\n".join(
        _table(title, results[name], lines)
        if name in results
        else f"## {title}\n\nNot measured yet: `make bench ARGS={name}`.\n"
        for name, (title, lines) in PARTS.items()
    ) + _packages(installed.get("packages_mb", {}))


def _packages(sizes: Mapping[str, float]) -> str:
    """A table of every package, folded."""
    if not sizes:
        return ""
    rows = [f"| {name} | {size:.2f} |" for name, size in sizes.items()]
    return "\n".join(
        [
            "",
            "## Every package that `make up` installs, and its size",
            "",
            "<details><summary>Show them</summary>",
            "",
            "| Package | MB |",
            "| --- | --- |",
            *rows,
            "",
            "</details>",
            "",
        ]
    )


def _table(title: str, found: Mapping[str, Any], lines: list[Line]) -> str:
    rows = [
        f"| {line.what} | {_shown(found, line)} | {line.wanted or ''} | {_verdict(found, line)} |"
        for line in lines
    ]
    beside = ", ".join(f"{name} {version}" for name, version in found.get("beside", {}).items())
    return "\n".join(
        [
            f"## {title}",
            "",
            f"Measured on {found['measured']}, {found['machine']}"
            f"{f'; beside it {beside}' if beside else ''}.",
            "",
            "| Figure | Measured | Wanted | |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _at(found: Mapping[str, Any], path: str) -> Any:
    value: Any = found
    for key in filter(None, path.split("/")):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _verdict(found: Mapping[str, Any], line: Line) -> str:
    """Whether the figure is what is wanted, by the numbers; and where it is not, why."""
    value = _at(found, line.path)
    if line.wanted is None or value is None:
        return ""
    if line.wanted.met(found, value, line.scale):
        return "met"
    return f"**missed**: {line.because}" if line.because else "**missed**"


def _shown(found: Mapping[str, Any], line: Line) -> str:
    value = _at(found, line.path)
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
