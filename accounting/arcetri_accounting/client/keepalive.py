"""By what the kernel finds that the other end of a long connection is gone without a word.

As where a machine died or a network was cut. A process that hangs is none of these: its kernel
answers for it.
"""

from __future__ import annotations

import socket
from typing import Final

Option = tuple[int, int, int]
"""A level, an option and its value, as ``setsockopt`` takes them."""

KEEPALIVE: Final[tuple[Option, ...]] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Within 15 seconds: after 5 of silence the kernel asks every 3, three times."""
