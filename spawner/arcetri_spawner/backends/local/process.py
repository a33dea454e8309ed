"""A session's first process, the keeper: starting it, and knowing at once when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from arcetri_spawner.backends.local.procs import (
    INSTANCE_VARIABLE,
    SESSION_VARIABLE,
    ProcessKey,
    key_of,
    open_pidfd,
)
from arcetri_spawner.errors import StartFailed

_KEEPER = Path(__file__).with_name("keeper.py")


class Keeper:
    """One keeper process, started by this hub or adopted from an earlier one.

    ``gone`` is done as soon as the process has ended; its result is the exit status, or None where
    it cannot be known because another process was its parent.
    """

    def __init__(self, key: ProcessKey, pidfd: int, orders: int | None = None) -> None:
        self.key = key
        self.gone: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._pidfd = pidfd
        self._orders = orders
        asyncio.get_running_loop().add_reader(pidfd, self._ended)

    def _ended(self) -> None:
        try:
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            # Adopted: whoever is its parent takes its status.
            found = None
        status: int | None = None
        if found is not None:
            killed = found.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            status = -found.si_status if killed else found.si_status
        self.close()
        if not self.gone.done():
            self.gone.set_result(status)

    def close(self) -> None:
        """Stop watching; the process runs on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        self.dismiss()

    def release(self, orders: Mapping[str, Any]) -> None:
        """Let the server start.

        Raises:
            StartFailed: The keeper is gone already.
        """
        assert self._orders is not None  # noqa: S101 - only a keeper of ours waits for orders
        pipe, self._orders = self._orders, None
        try:
            with os.fdopen(pipe, "wb") as file:
                file.write(json.dumps(orders).encode())
        except BrokenPipeError as error:
            raise StartFailed("The session's first process ended before it began.") from error

    def dismiss(self) -> None:
        """Give no orders: the keeper goes away by itself."""
        if self._orders is not None:
            os.close(self._orders)
            self._orders = None

    def ask_to_end(self) -> None:
        """Send SIGTERM, which the keeper hands to the server."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)


def spawn(session_id: UUID, instance_id: str) -> Keeper:
    """Start a keeper that waits for its orders.

    Raises:
        StartFailed: The machine cannot start another process.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(_KEEPER)],
            {SESSION_VARIABLE: str(session_id), INSTANCE_VARIABLE: instance_id},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            # The hub ignores or handles some; what the keeper does not set, it has as by default.
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD),
        )
    except OSError as error:
        os.close(writing)
        raise StartFailed(
            f"This machine cannot start another process ({error.strerror or error}).",
            code="process_refused",
            remedy="Try again when other sessions have ended.",
        ) from error
    finally:
        os.close(reading)
    # A child stays at least as a zombie until it is waited for, so its pid is its own.
    key = key_of(pid)
    pidfd = open_pidfd(key) if key else None
    if key is None or pidfd is None:
        os.close(writing)
        raise StartFailed("The session's first process ended before it began.")
    return Keeper(key, pidfd, writing)


def adopt(key: ProcessKey) -> Keeper | None:
    """Watch a keeper that an earlier hub started; None when it is gone."""
    pidfd = open_pidfd(key)
    return Keeper(key, pidfd) if pidfd is not None else None
