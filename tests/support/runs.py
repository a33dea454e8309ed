"""``make test``: all tests side by side, then those that failed once more, one after the other.

Tests share a busy machine, and some fail in company that do not fail alone. That is said, by name,
and only a few of them are let pass: the last lines and the exit status are of both runs together.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.tally import RECORD_VARIABLE, Result, lines, read

LIMIT = 3
"""So many tests may fail in company and pass alone; more fail the run."""

_FAILED = 1
"""Pytest's exit status when tests failed, and nothing worse happened."""
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Both:
    """Two runs as one."""

    tally: Mapping[str, Result]
    """What became of each test; one that passed only alone has passed."""
    flaky: Sequence[str]
    """Tests that failed in company and passed alone."""
    again: Sequence[str]
    """Tests that failed in company and did not pass alone."""
    broken: int = 0
    """Pytest's exit status of the second run where that ended in no proper way."""

    @property
    def status(self) -> int:
        """The exit status of the two together."""
        return self.broken or int(bool(self.again) or len(self.flaky) > LIMIT)


def merged(first: Mapping[str, Result], second: Mapping[str, Result], status: int = 0) -> Both:
    """Make one of a run and of the run of what failed in it.

    A test that failed and was then skipped, or not found again, has failed.

    Args:
        first: What became of each test in company.
        second: What became alone of those that failed.
        status: Pytest's exit status of the second run.
    """
    tally = dict(first)
    flaky: list[str] = []
    again: list[str] = []
    for name, result in first.items():
        if result.kind != "failed":
            continue
        alone = second.get(name)
        if alone is not None and alone.kind == "passed":
            tally[name] = alone
            flaky.append(name)
        else:
            again.append(name)
    for name, result in second.items():
        if name not in first:
            # Such as a test of a file that could not be read before.
            tally[name] = result
            if result.kind == "failed":
                again.append(name)
    # Failed, as pytest says, though no test did: that cannot be explained away either.
    unexplained = status == _FAILED and not again
    return Both(tally, flaky, again, 0 if status in (0, _FAILED) and not unexplained else status)


def closing(both: Both, seconds: float) -> Iterator[str]:
    """The last lines: tiers, what is flaky, the verdict, and a line as pytest's own last one."""
    yield _ruled(" both runs together ", "=")
    yield from lines(both.tally)
    if both.flaky:
        yield "Passed only alone (flaky):"
        yield from (f"  {name}" for name in both.flaky)
    if both.again:
        yield "Failed again, alone:"
        yield from (f"  {name}" for name in both.again)
    too_many = len(both.flaky) > LIMIT
    if too_many:
        yield f"{len(both.flaky)} tests passed only alone, more than {LIMIT}: the run has failed."
    if both.broken:
        yield f"The run of what had failed ended with pytest's exit status {both.broken}."
    kinds = [result.kind for result in both.tally.values()]
    flaky = len(both.flaky)
    counts = {
        "failed": len(both.again) + (flaky if too_many else 0),
        "passed": kinds.count("passed") - (flaky if too_many else 0),
        "skipped": kinds.count("skipped"),
        "flaky": 0 if too_many else flaky,
        "error": int(bool(both.broken)),
    }
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    yield _ruled(f" {said} in {seconds:.2f}s ", "=")


def _ruled(text: str, sign: str) -> str:
    return text.center(_WIDTH, sign)


def _pytest(arguments: Sequence[str], record: Path) -> int:
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, RECORD_VARIABLE: str(record)}
    return subprocess.run(command, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run pytest with these arguments; the exit status of both runs together."""
    began = time.monotonic()
    # Tests wait more than they work: one process more than there are processors. A file's tests
    # share what they start, so they stay together.
    processes = len(os.sched_getaffinity(0)) + 1
    with TemporaryDirectory() as folder:
        first, second = Path(folder, "first.json"), Path(folder, "second.json")
        company = ["--numprocesses", str(processes), "--dist", "loadfile"]
        # In the order of tests/conftest.py, not those files first that have most tests.
        company.append("--no-loadscope-reorder")
        # What a run's time goes to, for who wants it shorter.
        company += ["--durations=40", "--durations-min=10"]
        status = _pytest([*company, *arguments], first)
        if status != _FAILED:
            return status
        _say("Once more, one after the other, what failed in company:")
        alone = ["--last-failed", "--last-failed-no-failures", "none"]
        status_alone = _pytest([*arguments, *alone], second)
        both = merged(read(first), read(second), status_alone)
    for line in closing(both, time.monotonic() - began):
        _say(line)
    return both.status


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
