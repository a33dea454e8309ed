"""What the agent costs, and how well it measures: beside nvitop-exporter, on the fake NVML.

8 GPUs of 7 MIG instances each, every instance held by a session and busy with a process; both look
once a second, and hand over every other second what they saw (the agent to its ledger, and durably
to its spool every second; the exporter to who scrapes it), so that what a cycle costs is compared
and not how often there is one.
Both run at the same time, each on a fake library of its own, and what they cost is read of both at
the ends of the same windows. nvitop-exporter is installed, as locked in ``requirements/bench.txt``,
into an environment of its own; where it cannot be had, its figures are left out.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx

from arcetri_hub.up import ports
from benchmarks import exporter
from benchmarks.processes import proportional_mb, resident_mb
from benchmarks.stats import ratio_of_medians
from tests.accounting.agent.process import Hub
from tests.accounting.agent.tiny import TOKEN, TinyLedger, serving
from tests.support.nvml import BURSTS, RANDOM, STEADY, FakeMachine, Load, remove

GPUS: Final = 8
INSTANCES: Final = 7
DEVICES: Final = GPUS * (1 + INSTANCES)
HUNG: Final = "MIG-3-2"
_COMMAND: Final = """
import sys
# Among the tools of development only, and structlog loads it wherever it finds it.
sys.modules["rich"] = None
from arcetri_accounting.agent.cli import main
main()
"""
LOADS: Final = {"steady": STEADY, "bursts": BURSTS, "random": RANDOM}


@dataclass(frozen=True, slots=True)
class Condition:
    """What the fake library does to both."""

    extra: str
    """For its script, once everything is known."""
    windows: int
    seconds: int
    """Of each window; where a device hangs, an exporter needs longer for a cycle."""


CONDITIONS: Final = {
    "no delay": Condition("", 10, 6),
    "200 us a call": Condition("slow * 200", 10, 6),
    "one hangs 5 s": Condition(f"hang nvmlDeviceGetComputeRunningProcesses_v3 5 {HUNG}", 10, 12),
}


def run() -> dict[str, Any]:
    """Measure the agent, and nvitop-exporter beside it where it can be installed."""
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            python = exporter.install(folder / "nvitop")
            found: dict[str, Any] = {
                name: _condition(folder / str(number), condition, python)
                for number, (name, condition) in enumerate(CONDITIONS.items())
            }
            found["used_error"] = error_of_used(folder / "used")
            found["beside"] = json.loads(exporter.versions(python)) if python else {}
            return found
    finally:
        remove()


def error_of_used(folder: Path, seconds: float = 65.0) -> dict[str, Any]:
    """How far `used` is off a known load, in percent of it, at the agent's usual interval.

    Beside it what the same agent gives where the driver has no buffer of samples, and one value is
    read every ten seconds.
    """
    folder.mkdir(parents=True)
    machine = FakeMachine(folder / "machine")
    lines: list[str] = []
    held: dict[str, Load] = {}
    for source, buffer in (("buffer", ""), ("readings", "buffer 167 0")):
        for name, load in LOADS.items():
            uuid = f"GPU-{name}-{source}"
            lines += [f"gpu {uuid} nomig Tesla T4", load.line, buffer]
            held[uuid] = load
    machine.has("\n".join(filter(None, lines)))
    hub, ledger = Hub(folder), TinyLedger()
    with serving(ledger) as url, _agent(folder, url, machine.environment(), 10.0):
        ledger.wait(lambda: bool(ledger.batches), "the agent runs")
        # The first look has to be over: what is measured is what comes in the long run.
        time.sleep(10.5)
        sessions = {hub.start(uuid): uuid for uuid in held}
        time.sleep(seconds)
        for session in sessions:
            hub.end(session)
        ledger.wait(lambda: len({s.allocation for s in ledger.segments()}) == len(held), "closed")
        ledger.wait(lambda: not ledger.open, "all are final")
    hub.journal.close()
    answer: dict[str, Any] = {}
    for session, uuid in sessions.items():
        began, ended = hub.truth[session]
        assert ended is not None  # noqa: S101 - it was ended above
        truth = held[uuid].busy(began, ended) / 100
        segments = ledger.segments(session)
        used = sum(one.used_u or 0 for one in segments) / 10_080
        measured = sum(one.util_ms for one in segments)
        answer[uuid.removeprefix("GPU-")] = {
            "error_percent": round(100 * (used - truth) / truth, 3),
            "measured_percent_of_time": round(100 * measured / (ended - began), 2),
        }
    return answer


def _condition(folder: Path, condition: Condition, python: Path | None) -> dict[str, Any]:
    folder.mkdir()
    ours, theirs = _Machine(folder / "agent"), _Machine(folder / "nvitop")
    hub, ledger = Hub(folder / "agent"), TinyLedger()
    port = ports.choose()
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving(ledger))
        sessions = {
            name: hub.start(name, share="1/7")
            for name in (f"MIG-{gpu}-{i}" for gpu in range(GPUS) for i in range(INSTANCES))
        }
        process = stack.enter_context(
            _agent(folder / "agent", url, ours.environment(), 1.0, "--metrics-port", str(port))
        )
        ledger.wait(lambda: len(ledger.open) == len(sessions), "all sessions are seen")
        agent = exporter.Exporter(ours, process, GPUS, "nvmlDeviceGetTotalEnergyConsumption")
        peer = None
        if python is not None:
            peer = stack.enter_context(exporter.running(python, theirs, DEVICES))
        for machine in (ours, theirs):
            machine.begin(condition.extra)
        time.sleep(2)
        with contextlib.ExitStack() as watching:
            seen = [
                watching.enter_context(exporter.watched(one)) if one else {}
                for one in (agent, peer)
            ]
            found = _windows(condition, agent, port, ledger, sessions, peer)
    hub.journal.close()
    longest = "seconds_between_cycles_longest"
    found["agent"][longest] = seen[0][longest]
    if peer is not None:
        found["nvitop_exporter"] |= seen[1]
    return found


class _Machine(FakeMachine):
    """The fake library with the devices, at first without what it does to who looks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        lines: list[str] = []
        for gpu in range(GPUS):
            lines += [f"gpu GPU-{gpu} mig NVIDIA A100-SXM4-40GB", "energy 1000 250000"]
            for instance in range(INSTANCES):
                pid = 4_000_000 + gpu * INSTANCES + instance
                lines += [f"mig MIG-{gpu}-{instance} 1g.5gb", f"process {pid} 1000000000"]
        self._text = "\n".join(lines)
        super().__init__(folder / "machine")
        self.has(self._text)

    def begin(self, extra: str) -> None:
        """Do it from now on."""
        self.has(f"{extra}\n{self._text}")


def _windows(
    condition: Condition,
    agent: exporter.Exporter,
    port: int,
    ledger: TinyLedger,
    sessions: Mapping[str, str],
    peer: exporter.Exporter | None,
) -> dict[str, Any]:
    """Read at the ends of each window what both have cost since its beginning."""
    cost: list[float] = []
    beside: list[float] = []
    took: list[float] = []
    looked = spent = 0.0
    pid = agent.process.pid
    _edge()
    unobserved, began, calls = _unobserved(ledger, sessions), agent.cycles(), agent.calls()
    peers_calls = peer.calls() if peer else 0
    for _ in range(condition.windows):
        agent.lap()
        if peer:
            peer.lap()
        _edge(condition.seconds)
        seconds, cycles = agent.lap()
        cost.append(seconds * 1000 / max(cycles, 1))
        if peer:
            seconds, cycles = peer.lap()
            beside.append(seconds * 1000 / max(cycles, 0.1))
            looked, spent = looked + cycles, spent + seconds
        # Between two windows: being asked costs something too.
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        took.append(_metric(metrics, "arcetri_agent_cycle_seconds"))
    cycles = agent.cycles() - began
    lost = _lost(unobserved, _unobserved(ledger, sessions))
    found: dict[str, Any] = {
        "agent": {
            "cycles": round(cycles),
            "calls_per_device_and_cycle": round((agent.calls() - calls) / cycles / DEVICES, 3),
            "cpu_ms_per_cycle": round(median(cost), 3),
            "cycle_ms_median": round(1000 * median(took), 2),
            "cycle_ms_longest": round(1000 * max(took), 2),
            "cycles_missed": int(_metric(metrics, "arcetri_agent_cycle_miss_total")),
            "resident_mb": resident_mb(pid),
            "of_its_own_mb": proportional_mb(pid),
            **lost,
        }
    }
    if peer:
        found["nvitop_exporter"] = {
            "cycles": round(looked, 1),
            "calls_per_device_and_cycle": round((peer.calls() - peers_calls) / looked / DEVICES, 3),
            "cpu_ms_per_cycle": round(1000 * spent / looked, 3),
            "resident_mb": peer.resident_mb(),
        }
        found["cpu"] = ratio_of_medians(cost, beside).to_json()
    return found


def _edge(seconds: int = 0) -> None:
    """Wait until so many seconds have passed, and then between two cycles of the agent.

    It has one at every whole second, so that a window holds as many as it has seconds.
    """
    now = time.time()
    edge = math.floor(now + seconds) + 0.5
    time.sleep(edge + (edge <= now) - now)


def _unobserved(ledger: TinyLedger, sessions: Mapping[str, str]) -> dict[str, int]:
    """Milliseconds of each instance that nothing was seen of, cut or not."""
    with ledger.lock:
        told: Sequence[Any] = [*ledger.segments(), *ledger.open]
        found = dict.fromkeys(sessions, 0)
        of = {session: name for name, session in sessions.items()}
        for one in told:
            found[of[ledger.allocations[one.allocation].session]] += one.unobserved_ms
        return found


def _lost(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, float]:
    """Samples, of a second each, that the instances beside one that hangs have lost, and others."""
    gpu = HUNG.rpartition("-")[0]
    lost = {name: (after[name] - before[name]) / 1000 for name in before}
    siblings = {name for name in lost if name.startswith(f"{gpu}-") and name != HUNG}
    return {
        "samples_lost_of_its_siblings": round(sum(lost[name] for name in siblings), 1),
        "samples_lost_of_other_gpus": round(
            sum(lost[name] for name in lost.keys() - siblings - {HUNG}), 1
        ),
    }


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None  # noqa: S101 - every metric is always there
    return float(found.group(1))


@contextlib.contextmanager
def _agent(
    folder: Path, url: str, environment: Mapping[str, str], interval: float, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    token = folder / "token"
    token.write_text(TOKEN)
    with (folder / "agent.log").open("ab") as log, subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", _COMMAND, "run",
         "--journal", folder / "journal", "--spool", folder / "spool.db", "--ledger", url,
         "--token-file", token, "--node", "node1", "--interval", str(interval), *more],
        env={**os.environ, **environment}, stderr=log,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)
