"""A process that looks at GPUs when a test tells it to."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class Glancer:
    """A process that looks when it is told to."""

    def __init__(self, environment: Mapping[str, str], interval_ms: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.accounting.agent.glance", str(interval_ms)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def look(self, *wanted: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(wanted) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float = 20) -> Any:
        """Look until it is so."""
        deadline = time.monotonic() + seconds
        while not condition(found := self.look()):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
