"""The supervisor's processes: started, watched, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcetri_hub.up.errors import UpError
from arcetri_hub.up.logs import BoundedLog

_LEASH = Path(__file__).with_name("leash.py")
_TRACED = re.compile(r"^\W*Traceback \(most recent call last\)|^\W*File \".*\", line \d+")
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a start: the first after an unexpected end of one that had answered, the others
while it does not come up; the last one for ever."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one part of the platform."""

    name: str
    """Such as ``hub``; names its log file."""
    title: str
    """Such as ``the hub``, for sentences."""
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    """Whether it answers now."""
    returned: Callable[[], Awaitable[None]] | None = None
    """What is to be done when it answers again after an unexpected end."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    patience: float = 60.0
    """Seconds until it must answer for the first time."""


class Child:
    """One part of the platform, kept running until ``stop``.

    Args:
        spec: How to run it.
        say: Who is told of what nobody asked for.
        pid_file: Holds its process id while it runs, for the operator.
    """

    def __init__(
        self, spec: ChildSpec, say: Callable[[str], None], pid_file: Path | None = None
    ) -> None:
        self.spec = spec
        self._pid_file = pid_file
        self._say = say
        self._log = BoundedLog(spec.log)
        self._process: subprocess.Popen[bytes] | None = None
        self._run: asyncio.Task[int] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it, and return once it answers.

        Raises:
            UpError: It ended at once, or does not answer.
        """
        run = self._begin()
        back = asyncio.create_task(self._until_ready())
        await asyncio.wait(
            (run, back), timeout=self.spec.patience, return_when=asyncio.FIRST_COMPLETED
        )
        if back.done() and not run.done():
            self._keeper = asyncio.create_task(self._keep(run))
            return
        back.cancel()
        if run.done():
            why = f"{self.spec.title} ended while it started ({_how(run.result())})"
        else:
            why = f"{self.spec.title} did not answer within {self.spec.patience:.0f} seconds"
            await self.stop(0)
        raise UpError(f"The platform cannot start: {why}.", *self._explanation())

    async def stop(self, grace: float) -> None:
        """End it: ask, wait at most ``grace`` seconds, then kill."""
        self._stopping.set()
        if self._run is not None:
            if self.pid is not None:
                _signal(self.pid, signal.SIGTERM, group=False)
            await asyncio.wait((self._run,), timeout=grace)
            self.kill()
            await self._run
        if self._keeper is not None:
            await self._keeper
        self._log.close()

    def kill(self) -> None:
        """End it at once."""
        self._stopping.set()
        if self.pid is not None:
            _signal(self.pid, signal.SIGKILL, group=True)

    async def _keep(self, run: asyncio.Task[int]) -> None:
        answered, failures = True, 0
        while True:
            code = await run
            if self._stopping.is_set():
                return
            failures = 0 if answered else failures + 1
            self._say(f"{self.spec.title} ended unexpectedly ({_how(code)}); starting it again.")
            with contextlib.suppress(TimeoutError):
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            run = self._begin()
            back = asyncio.create_task(self._until_back())
            await asyncio.wait((run, back), return_when=asyncio.FIRST_COMPLETED)
            answered = back.done()
            if answered:
                self._say(f"{self.spec.title} is back.")
            back.cancel()

    def _begin(self) -> asyncio.Task[int]:
        self._run = asyncio.create_task(self._run_once())
        return self._run

    async def _until_back(self) -> None:
        await self._until_ready()
        if self.spec.returned is not None:
            await self.spec.returned()

    async def _until_ready(self) -> None:
        while not await self.spec.ready():  # noqa: ASYNC110  # a process tells nobody that it answers
            await asyncio.sleep(0.1)

    async def _run_once(self) -> int:
        """Run the command until it ends; its exit status, or the negative of a signal."""
        process = subprocess.Popen(  # noqa: S603, ASYNC220  # our own command; it forks in no time
            [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *self.spec.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.spec.env},
            start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor alone
        )
        self._process = process
        self._note(process.pid)
        if self._stopping.is_set():  # told to stop between the decision and the start
            self.kill()
        assert process.stdout is not None  # noqa: S101  # it was asked for just above
        loop = asyncio.get_running_loop()
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        loop.add_reader(output, self._copy, output)
        # Not asyncio's own subprocess: that waits for the end of the pipe, which a grandchild may
        # hold open, where this must know of the end of the process.
        pidfd = os.pidfd_open(process.pid)
        ended = asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            _signal(process.pid, signal.SIGKILL, group=True)  # and whatever it left in its group
            code = process.wait()
            self._copy(output)
            loop.remove_reader(output)
            process.stdout.close()
            self._note(None)
        return code

    def _note(self, pid: int | None) -> None:
        """Keep the file with the process id; a disk that is full is no reason to end anything."""
        if self._pid_file is not None:
            with contextlib.suppress(OSError):
                if pid is None:
                    self._pid_file.unlink(missing_ok=True)
                else:
                    self._pid_file.write_text(f"{pid}\n", encoding="ascii")

    def _copy(self, output: int) -> None:
        """Log what it has said by now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(output, 65_536):
                self._log.write(data)
            asyncio.get_running_loop().remove_reader(output)

    def _explanation(self) -> list[str]:
        """What it said of itself in plain words, else the end of its log, but no traceback."""
        lines = [line for line in self._log.tail() if line.strip()]
        plain = [line.removeprefix("arcetri: ") for line in lines if line.startswith("arcetri: ")]
        if plain:
            return plain
        shown = [] if any(_TRACED.search(line) for line in lines) else lines[-8:]
        return [*shown, f"All of it is in {self.spec.log}."]


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
