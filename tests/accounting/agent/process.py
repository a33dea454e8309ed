"""The real agent in a process of its own, and the real writer of a journal beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

from arcetri_accounting.contract.journal import LeasedDevice, LeaseEnded, LeaseStarted
from arcetri_spawner.backends.local.journal import Journal
from tests.accounting.agent.tiny import TOKEN

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Hub:
    """Starts and ends sessions in a journal, as the local backend does."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"
        self.journal = Journal(self.path / "leases.jsonl")
        self.truth: dict[str, tuple[int, int | None]] = {}

    def start(self, *uuids: str, share: str = "1", pid: int = 0, simulated: bool = False) -> str:
        session = str(uuid4())
        at = boottime()
        self.journal.append_start(
            LeaseStarted(
                seq=1,
                session=session,
                account="6470c6b8",
                username="alice",
                group="/ai_infn/cms",
                flavor="t4",
                flavor_type="gpu" if uuids else "cpu",
                share=Fraction(share),
                catalog="c" * 64,
                cpu=2.0,
                memory=2**33,
                devices=tuple(
                    LeasedDevice(uuid=uuid, model="NVIDIA", simulated=simulated) for uuid in uuids
                ),
                pid=pid,
                pid_start_ticks=0,
                boot_id=BOOT,
                at=datetime.now(UTC),
                boottime_ms=at,
            )
        )
        self.truth[session] = (at, None)
        return session

    def end(self, session: str) -> int:
        """End a session; returns how long it was, in milliseconds."""
        at = boottime()
        self.journal.append_end(
            LeaseEnded(
                seq=1,
                session=session,
                reason="stopped",
                boot_id=BOOT,
                at=datetime.now(UTC),
                boottime_ms=at,
            )
        )
        began = self.truth[session][0]
        self.truth[session] = (began, at)
        return at - began


class AgentProcess:
    """``arcetri-agent run``."""

    def __init__(
        self, folder: Path, url: str, environment: Mapping[str, str], interval: float
    ) -> None:
        token = folder / "token"
        token.write_text(TOKEN + "\n")
        self.log = folder / "agent.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-c",
                    "from arcetri_accounting.agent.cli import main; main()",
                    "run", "--journal", str(folder / "journal"),
                    "--spool", str(folder / "spool.db"), "--ledger", url,
                    "--token-file", str(token), "--node", "node1", "--interval", str(interval),
                ],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def agent(
    folder: Path,
    url: str,
    environment: Mapping[str, str] | None = None,
    *,
    interval: float = 0.3,
) -> Iterator[AgentProcess]:
    """Run an agent; it is killed at the end if it still lives."""
    made = AgentProcess(folder, url, environment or {}, interval)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(20)
