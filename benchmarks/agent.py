"""What the agent costs, and how well it measures: beside nvitop-exporter, on the fake NVML.

8 GPUs of 7 MIG instances each, every instance held by a session and busy with a process; both look
once a second, and hand over once a second what they saw (the agent to its ledger, durably; the
exporter to who scrapes it), so that what a cycle costs is compared and not how often there is one.
nvitop-exporter is installed into an environment of its own; where it cannot be had, its figures are
left out.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx

from arcetri_hub.up import ports
from tests.accounting.agent.process import Hub
from tests.accounting.agent.tiny import TOKEN, TinyLedger, serving
from tests.support.nvml import BURSTS, RANDOM, STEADY, FakeMachine, Load, remove

CYCLES: Final = 20
DEVICES: Final = 64
HANGING: Final = "hang nvmlDeviceGetComputeRunningProcesses_v3 5 MIG-3-2"
LOOKS: Final = "nvmlDeviceGetMemoryInfo_v2"
"""What nvitop-exporter asks of every device once a cycle."""
LOADS: Final = {"steady": STEADY, "bursts": BURSTS, "random": RANDOM}


def run() -> dict[str, Any]:
    """Measure the agent, and nvitop-exporter beside it where it can be installed."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            exporter = _install(Path(folder) / "nvitop")
            conditions = {"no delay": "", "200 us a call": "slow * 200", "one hangs 5 s": HANGING}
            found: dict[str, Any] = {
                name: _condition(Path(folder) / str(number), extra, exporter)
                for number, (name, extra) in enumerate(conditions.items())
            }
            found["used_error"] = error_of_used(Path(folder) / "used")
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


def _condition(folder: Path, extra: str, exporter: Path | None) -> dict[str, Any]:
    folder.mkdir()
    found: dict[str, Any] = {"agent": _measure_agent(folder / "agent", extra)}
    if exporter is not None:
        found["nvitop_exporter"] = theirs = _measure_exporter(folder / "nvitop", extra, exporter)
        found["cpu_ratio"] = round(
            theirs["cpu_ms_per_cycle"] / found["agent"]["cpu_ms_per_cycle"], 1
        )
    return found


def _machine(folder: Path, extra: str) -> FakeMachine:
    lines = [extra]
    for gpu in range(8):
        lines += [f"gpu GPU-{gpu} mig NVIDIA A100-SXM4-40GB", "energy 1000 250000"]
        for instance in range(7):
            pid = 4_000_000 + gpu * 7 + instance
            lines += [f"mig MIG-{gpu}-{instance} 1g.5gb", f"process {pid} 1000000000"]
    machine = FakeMachine(folder / "machine")
    # A function that hangs does so only once everything is known.
    machine.has("\n".join(lines[1:]))
    return machine


def _begin(machine: FakeMachine, folder: Path, extra: str) -> None:
    script = folder / "machine"
    machine.has(f"{extra}\n{script.read_text()}")
    time.sleep(2)


def _measure_agent(folder: Path, extra: str) -> dict[str, Any]:
    folder.mkdir()
    machine = _machine(folder, extra)
    hub, ledger = Hub(folder), TinyLedger()
    environment = machine.environment()
    with serving(ledger) as url:
        for gpu in range(8):
            for instance in range(7):
                hub.start(f"MIG-{gpu}-{instance}", share="1/7")
        with _agent(folder, url, environment, 1.0) as process:
            ledger.wait(lambda: len(ledger.open) == 56, "all sessions are seen")
            _begin(machine, folder, extra)
            before, cpu, batches = machine.calls(), _cpu(process.pid), len(ledger.batches)
            time.sleep(CYCLES)
            sent = [batch.sent_at for batch in ledger.batches[batches:]]
            cycles = len(sent)
            apart = [(b - a) / 1000 for a, b in pairwise(sent)]
            calls = sum(machine.calls().values()) - sum(before.values())
            cost = _cpu(process.pid) - cpu
            resident = _memory(process.pid)
        port = ports.choose()
        with _agent(folder, url, environment, 1.0, "--metrics-port", str(port)):
            took, missed = _delays(port)
    hub.journal.close()
    return {
        "cycles": cycles,
        "calls_per_device_and_cycle": round(calls / cycles / DEVICES, 3),
        "cpu_ms_per_cycle": round(1000 * cost / cycles, 3),
        "cycle_ms_median": round(1000 * median(took), 2),
        "cycle_ms_longest": round(1000 * max(took), 2),
        "cycles_missed": missed,
        "seconds_between_cycles_longest": round(max(apart), 2),
        "resident_mb": round(resident["Rss"] / 1024, 1),
        "of_its_own_mb": round(resident["Pss"] / 1024, 1),
    }


def _delays(port: int) -> tuple[list[float], int]:
    took: list[float] = []
    missed = 0
    time.sleep(4)
    for _ in range(CYCLES):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        took.append(_metric(text, "arcetri_agent_cycle_seconds"))
        missed = int(_metric(text, "arcetri_agent_cycle_miss_total"))
        time.sleep(1)
    return took, missed


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None  # noqa: S101 - every metric is always there
    return float(found.group(1))


def _measure_exporter(folder: Path, extra: str, command: Path) -> dict[str, Any]:
    folder.mkdir()
    machine = _machine(folder, extra)
    port = ports.choose()
    with subprocess.Popen(  # noqa: S603 - installed above
        [command, "--port", str(port), "--interval", "1"],
        env=machine.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            _until_called(machine)
            _begin(machine, folder, extra)
            cpu, before = _cpu(process.pid), machine.calls()
            with _scraped(port):
                bursts, longest = _watch(machine)
            cost = _cpu(process.pid) - cpu
            after = machine.calls()
            resident = _memory(process.pid)
        finally:
            process.kill()
    calls = sum(after.values()) - sum(before.values())
    cycles = (after[LOOKS] - before[LOOKS]) / DEVICES
    return {
        "cycles": round(cycles, 1),
        "calls_per_device_and_cycle": round(calls / max(cycles, 0.1) / DEVICES, 3),
        "cpu_ms_per_cycle": round(1000 * cost / max(cycles, 0.1), 3),
        "cycle_ms_median": round(1000 * median(bursts), 2) if bursts else None,
        "seconds_between_cycles_longest": round(longest, 2),
        "resident_mb": round(resident["Rss"] / 1024, 1),
    }


@contextlib.contextmanager
def _scraped(port: int) -> Iterator[None]:
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(1):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=20, trust_env=False)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield
    finally:
        done.set()
        scraper.join()


def _until_called(machine: FakeMachine) -> None:
    deadline = time.monotonic() + 60
    while machine.calls().get(LOOKS, 0) < 3 * DEVICES:
        if time.monotonic() > deadline:
            raise RuntimeError("nvitop-exporter does not look at the devices")
        time.sleep(0.1)


def _watch(machine: FakeMachine) -> tuple[list[float], float]:
    """How long each burst of calls took, and the longest time between two that were all done."""
    ends = time.monotonic() + CYCLES
    bursts: list[float] = []
    began: float | None = None
    last = done = time.monotonic()
    counted = machine.calls()
    longest = 0.0
    while (now := time.monotonic()) < ends:
        calls = machine.calls()
        if calls != counted:
            began = began or now
            if calls[LOOKS] // DEVICES != counted[LOOKS] // DEVICES:
                longest, done = max(longest, now - done), now
            last, counted = now, calls
        elif began is not None and now - last > 0.3:
            bursts.append(last - began)
            began = None
        time.sleep(0.002)
    return bursts, longest


def _install(folder: Path) -> Path | None:
    """nvitop-exporter in an environment of its own; None where it cannot be had."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)  # noqa: S603
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "nvitop-exporter"]
        subprocess.run(pip, check=True, timeout=300, stderr=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return folder / "bin" / "nvitop-exporter"


@contextlib.contextmanager
def _agent(
    folder: Path, url: str, environment: Mapping[str, str], interval: float, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    token = folder / "token"
    token.write_text(TOKEN)
    with (folder / "agent.log").open("ab") as log, subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", "from arcetri_accounting.agent.cli import main; main()", "run",
         "--journal", folder / "journal", "--spool", folder / "spool.db", "--ledger", url,
         "--token-file", token, "--node", "node1", "--interval", str(interval), *more],
        env={**os.environ, **environment}, stderr=log,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def _cpu(pid: int) -> float:
    """Seconds of processor that all threads of a process have had, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _memory(pid: int) -> dict[str, int]:
    """Resident and proportional memory in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return {
        name: int(size) for name, size in re.findall(r"^(Rss|Pss):\s+(\d+)", text, re.MULTILINE)
    }
