"""Choosing ports, and finding out that one is taken."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection

_CHOICE = range(20_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections, so that a port kept
from one start to the next is not taken by chance."""


def is_free(ip: str, port: int) -> bool:
    """Whether a server could listen on ``port`` of ``ip`` now.

    Raises:
        OSError: ``ip`` is no address of this machine, or the account may not use the port.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def choose(taken: Collection[int] = ()) -> int:
    """A port of 127.0.0.1 that nobody listens on, and none of ``taken``."""
    for port in random.sample(_CHOICE, 200):
        if port not in taken and is_free("127.0.0.1", port):
            return port
    raise OSError("no free port on 127.0.0.1")
