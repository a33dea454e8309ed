"""Whose a listening port is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"

# sock_diag(7): one question about listening sockets costs microseconds, where reading /proc/net/tcp
# makes the kernel walk its whole table of connections.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_AND_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_LISTENING: Final = 1 << 10
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI 2s 46x")
"""``inet_diag_req_v2``: family, protocol, extensions, states, source port; any address."""
_PORT_AT: Final = _HEADER.size + 4
_INODE_AT: Final = _HEADER.size + 68


def listens_on(port: int, pids: Iterable[int]) -> bool:
    """Whether one of these processes listens on ``port``.

    Without this a stranger's server that was faster on the port would be taken for the session's.
    """
    try:
        wanted = {f"socket:[{inode}]" for inode in _ask_kernel(port)}
    except OSError:
        # A sandbox may forbid to ask.
        wanted = {f"socket:[{inode}]" for inode in _read_tables(port)}
    if not wanted:
        return False
    for pid in pids:
        try:
            links = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                if str(link.readlink()) in wanted:
                    return True
            except OSError:
                continue
    return False


def _ask_kernel(port: int) -> set[int]:
    """The inodes of the sockets that listen on a port, by sock_diag.

    Raises:
        OSError: The kernel does not answer this.
    """
    found: set[int] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as asking:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(
                family, socket.IPPROTO_TCP, 0, _LISTENING, port.to_bytes(2, "big")
            )
            asking.send(
                _HEADER.pack(
                    _HEADER.size + len(request),
                    _SOCK_DIAG_BY_FAMILY,
                    _NLM_F_REQUEST_AND_DUMP,
                    0,
                    0,
                )
                + request
            )
            while _take(asking.recv(1 << 16), port, found):
                pass
    return found


def _take(answer: bytes, port: int, found: set[int]) -> bool:
    """Add what an answer holds to ``found``; whether more comes."""
    while answer:
        length, kind, *_ = _HEADER.unpack_from(answer)
        if kind == _NLMSG_DONE:
            return False
        if kind == _NLMSG_ERROR:
            raise OSError("the kernel does not answer by sock_diag")
        if int.from_bytes(answer[_PORT_AT : _PORT_AT + 2], "big") == port:
            found.add(int(struct.unpack_from("=I", answer, _INODE_AT)[0]))
        answer = answer[(length + 3) & ~3 :]
    return True


def _read_tables(port: int) -> set[int]:
    found: set[int] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with Path(table).open() as lines:
                next(lines)
                for line in lines:
                    fields = line.split()
                    if fields[3] != _LISTEN:
                        # Listening sockets come first; the kernel looks long for the others.
                        break
                    if int(fields[1].rsplit(":", 1)[1], 16) == port:
                        found.add(int(fields[9]))
        except OSError:
            continue
    return found
