"""Starts the platform, keeps it running, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

from arcetri_hub.up import parts, usage
from arcetri_hub.up.banner import Ready, as_json, as_text
from arcetri_hub.up.children import Child, ChildSpec
from arcetri_hub.up.ending import end_sessions
from arcetri_hub.up.errors import UpError
from arcetri_hub.up.faults import keep_log
from arcetri_hub.up.machine import running_sessions, simulated
from arcetri_hub.up.options import UpOptions
from arcetri_hub.up.prepare import Plan, check_options, check_port, prepare
from arcetri_hub.up.statefolder import StateFolder

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 10.0
"""Seconds each part has to end by itself."""


def supervise(options: UpOptions) -> None:
    """Run the platform until it is told to stop.

    Raises:
        UpError: It cannot start.
    """
    warnings = check_options(options)
    folder = StateFolder.open(options.state, others_pass=options.accounts)
    try:
        keep_log(folder.logs)
        check_port(options)
        asyncio.run(_Supervisor(options, folder, warnings).run())
    except UpError:
        folder.forget()
        raise
    finally:
        folder.close()


class _Interrupted(Exception):  # no error: somebody pressed Ctrl-C
    """Told to stop while something was still starting."""


class _Supervisor:
    def __init__(self, options: UpOptions, folder: StateFolder, warnings: list[str]) -> None:
        self._options = options
        self._folder = folder
        self._warnings = warnings
        self._hub: Child | None = None
        self._others: list[Child] = []
        self._history: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told_to_stop)
        try:
            if self._options.fresh and self._folder.is_used():
                await self._begin_again()
            plan = prepare(self._options, self._folder, self._warnings)
            self._folder.announce(plan.settings.public_url)
            await self._start(plan)
            await self._stop.wait()
        except _Interrupted:
            pass
        finally:
            await self._end()

    async def _begin_again(self) -> None:
        """Nothing of an earlier life must run on when a new one begins."""
        _say("Ending what is left from before …")
        await self._end_sessions()
        kept = self._folder.begin_again()
        if kept is not None:
            _say(
                f"Homes, group folders, the catalog and the database of before are now in {kept}: "
                "remove them when nobody misses them."
            )

    async def _start(self, plan: Plan) -> None:
        for warning in plan.warnings:
            _say(f"Warning: {warning}")
        login = "the development IAM" if plan.iam_port is not None else ""
        started = ", ".join(filter(None, (login, "the ledger", "the proxy")))
        _say(f"Starting {started} and the hub …")
        self._others = [
            self._child(spec)
            for spec in (
                parts.proxy(plan),
                usage.ledger(plan.usage, plan.settings, plan.folder.logs),
                usage.agent(plan.usage, plan.folder.path, plan.folder.logs),
            )
        ]
        if plan.iam_port is not None:
            self._others.append(self._child(parts.iam(plan)))
        await self._unless_stopped(_all(child.start() for child in self._others))
        self._hub = self._child(parts.hub(plan))
        await self._unless_stopped(self._hub.start())
        self._greet(plan)
        self._history = asyncio.create_task(usage.write_history(plan.usage, plan.folder.logs))

    def _child(self, spec: ChildSpec) -> Child:
        return Child(spec, _say, self._folder.pids / f"{spec.name}.pid")

    def _greet(self, plan: Plan) -> None:
        ready = Ready(
            plan=plan,
            simulated=simulated(plan.catalog.catalog),
            adopted=running_sessions(plan.settings.instance_id),
            pid=os.getpid(),
        )
        text = as_json(ready) if self._options.json else as_text(ready)
        # A reader that has gone away (``| head``) is no reason to stop.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    async def _unless_stopped(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for ``work``, but not longer than until one is told to stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise _Interrupted
        task.result()

    async def _end(self) -> None:
        if self._history is not None:
            self._history.cancel()
            await asyncio.gather(self._history, return_exceptions=True)
        if self._hub is not None:
            # The hub first, so that nobody starts anything any more; then what it had started.
            await self._unless_hurried(self._hub)
            running = running_sessions(self._folder.instance_id)
            if running and not self._options.keep_sessions:
                _say(f"Ending {_sessions(running)} …")
            if not self._options.keep_sessions:
                await self._end_sessions()
        await _all(self._unless_hurried(child) for child in self._others)
        if self._stop.is_set():
            left = running_sessions(self._folder.instance_id)
            _say(f"Stopped; {_sessions(left)} still run." if left else "Stopped.")

    async def _end_sessions(self) -> None:
        log = self._folder.logs / "ending.log"
        await end_sessions(self._folder.settings_file, log, self._hurry)

    async def _unless_hurried(self, child: Child) -> None:
        stopping = asyncio.ensure_future(child.stop(_GRACE))
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((stopping, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not stopping.done():
            child.kill()
        await stopping

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
            return
        self._stop.set()
        what = "sessions go on" if self._options.keep_sessions else "and its sessions"
        _say(f"Stopping the platform ({what}); once more to hurry …")


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of it, and then raise the first error there was."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _sessions(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"


def _say(sentence: str) -> None:
    """A line for who watches; standard output is kept for the banner or the JSON line."""
    with contextlib.suppress(OSError):
        sys.stderr.write(sentence[:1].upper() + sentence[1:] + "\n")
        sys.stderr.flush()
