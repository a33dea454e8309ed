"""The supervisor's processes: started, watched, started again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arcetri_hub.up.errors import UpError
from arcetri_hub.up.logs import BoundedLog

_LEASH = Path(__file__).with_name("leash.py")
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before each start after an unexpected end; the last one for ever."""
_STEADY = 30.0
"""Who lived this many seconds is started again without a long pause."""


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
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    patience: float = 60.0
    """Seconds until it must answer for the first time."""


class Child:
    """One part of the platform, kept running until ``stop``."""

    def __init__(self, spec: ChildSpec, say: Callable[[str], None]) -> None:
        self.spec = spec
        self._say = say
        self._log = BoundedLog(spec.log)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and return once it answers.

        Raises:
            UpError: It ended at once, or does not answer.
        """
        ended = asyncio.ensure_future(self._run_once())
        answers = asyncio.ensure_future(self._until_ready())
        await asyncio.wait(
            (ended, answers), timeout=self.spec.patience, return_when=asyncio.FIRST_COMPLETED
        )
        if answers.done() and not ended.done():
            self._keeper = asyncio.create_task(self._keep(ended))
            return
        answers.cancel()
        if ended.done():
            why = f"{self.spec.title} ended while it started ({_how(ended.result())})"
        else:
            why = f"{self.spec.title} did not answer within {self.spec.patience:.0f} seconds"
            await self.stop(0)
            await ended
        raise UpError(f"The platform cannot start: {why}.", *self._explanation())

    async def stop(self, grace: float) -> None:
        """End it: ask, wait at most ``grace`` seconds, then kill; also what it left behind."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            _signal(process.pid, signal.SIGTERM, group=False)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), grace)
            if process.returncode is None:
                _signal(process.pid, signal.SIGKILL, group=True)
            await process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._log.close()

    def kill(self) -> None:
        """End it at once."""
        self._stopping = True
        if self.pid is not None:
            _signal(self.pid, signal.SIGKILL, group=True)

    async def _keep(self, first: asyncio.Future[int]) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        running: asyncio.Future[int] = first
        while True:
            began = loop.time()
            code = await running
            if self._stopping:
                return
            failures = 0 if loop.time() - began > _STEADY else failures + 1
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            self._say(f"{self.spec.title} ended unexpectedly ({_how(code)}); starting it again.")
            await asyncio.sleep(pause)
            running = asyncio.ensure_future(self._run_once())
            back = asyncio.create_task(self._until_ready())
            await asyncio.wait((running, back), return_when=asyncio.FIRST_COMPLETED)
            if back.done():
                self._say(f"{self.spec.title} is back.")
            back.cancel()

    async def _until_ready(self) -> None:
        while not await self.spec.ready():  # noqa: ASYNC110  # a process tells nobody that it answers
            await asyncio.sleep(0.1)

    async def _run_once(self) -> int:
        """Run the command until it ends; its exit status, or the negative of a signal."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_LEASH),
            str(os.getpid()),
            *self.spec.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.spec.env},
            start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor alone
        )
        self._process = process
        assert process.stdout is not None  # noqa: S101  # it was asked for just above
        reader = asyncio.create_task(self._copy(process.stdout))
        code = await process.wait()
        _signal(process.pid, signal.SIGKILL, group=True)  # whatever it left behind in its group
        # A grandchild may hold the pipe open: what it says no longer matters.
        await asyncio.wait((reader,), timeout=1)
        reader.cancel()
        return code

    async def _copy(self, stream: asyncio.StreamReader) -> None:
        while data := await stream.read(65_536):
            self._log.write(data)

    def _explanation(self) -> list[str]:
        """What it said of itself in plain words, else the end of its log."""
        lines = [line for line in self._log.tail() if line.strip()]
        plain = [line.removeprefix("arcetri: ") for line in lines if line.startswith("arcetri: ")]
        return plain or [*lines[-8:], f"All of it is in {self.spec.log}."]


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
