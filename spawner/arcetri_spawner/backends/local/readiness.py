"""Waiting for a server to answer: at once when it does, at once when it cannot any more."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from arcetri_spawner.backends.answering import answers

_FIRST_PAUSE = 0.15
_LONGEST_PAUSE = 0.5
_PATIENCE_SHARE = 0.05
"""Pauses grow with the time waited: an answer is noticed at most this share of it too late."""
_SECOND_PORT_EVERY = 5
_ANY_PORT_TRIES = 20
_PROBE_TIMEOUT = 0.02


class Failure(Enum):
    """Why a server does not answer."""

    DIED = "died"
    SILENT = "silent"


async def wait_until_ready(
    ports: Sequence[int],
    base_url: str,
    *,
    died: asyncio.Future[int | None],
    is_ours: Callable[[int], bool],
    patience: float,
) -> int | Failure:
    """Return the port as soon as the server answers ``{base_url}api`` there.

    Args:
        ports: Where it may listen, on loopback.
        base_url: Its path, with a slash at both ends.
        died: Done as soon as its process is gone.
        is_ours: Whether the session's own processes listen on a port; may block for milliseconds.
        patience: Seconds after which a silent server is given up.
    """
    asking = asyncio.ensure_future(_first_answer(ports, base_url, is_ours))
    try:
        # Not a `timeout` block: the death of the process must win over an answer.
        waiting: set[asyncio.Future[Any]] = {asking, died}
        await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            return Failure.DIED
        return asking.result() if asking.done() else Failure.SILENT
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _first_answer(ports: Sequence[int], base_url: str, is_ours: Callable[[int], bool]) -> int:
    begin = time.monotonic()
    for turn in itertools.count():
        # The later ports are used only where somebody else took the first.
        for port in ports if turn % _SECOND_PORT_EVERY == 0 else ports[:1]:
            if (
                _listens(port)
                and await answers("127.0.0.1", port, base_url)
                and await asyncio.to_thread(is_ours, port)
            ):
                return port
        pause = (time.monotonic() - begin) * _PATIENCE_SHARE
        await asyncio.sleep(min(max(pause, _FIRST_PAUSE), _LONGEST_PAUSE))
    raise AssertionError("an endless loop ended")


def _listens(port: int) -> bool:
    """Whether something accepts connections; on loopback the kernel answers within microseconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(("127.0.0.1", port))
        except TimeoutError:
            # Its accept queue is full: it is there all the same.
            return True
        except OSError:
            return False
        return True


def free_port(taken: frozenset[int]) -> int:
    """A port of this machine that nothing listens on now, and that no session of ours has.

    Raises:
        OSError: There is none.
    """
    for _ in range(_ANY_PORT_TRIES):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
    raise OSError("no port is free")
