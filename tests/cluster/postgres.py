"""The tests' PostgreSQL, reached from pods as a site's is: by TCP, at an address of the node."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.cluster import addresses
from tests.cluster.cluster import Cluster
from tests.support.postgres import PostgresServer

PORT = 5432

_RELAY = """
import socket, sys, threading
place, address, port = sys.argv[1:]
def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    finally:
        for each in (one, other):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
listener = socket.create_server((address, int(port)))
print("listening", flush=True)
while True:
    asked, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(place)
    except OSError:
        asked.close()
        continue
    for pair in ((asked, server), (server, asked)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""
"""A server's socket is a file, which is the same in every network."""


def url(local: str) -> str:
    """Where pods find a database of ``PostgresServer.new_database``."""
    name = local.partition("@/")[2].partition("?")[0]
    return f"postgresql://postgres@{addresses.NODE}:{PORT}/{name}"


@contextlib.contextmanager
def reached(cluster: Cluster, server: PostgresServer) -> Iterator[None]:
    """Let pods connect to a server at the node's address."""
    # The network alone: the socket's file is this machine's.
    inside = [word for word in cluster.entering() if word not in ("--pid", "--mount")]
    place = str(server.folder / ".s.PGSQL.5432")
    command = [*inside, "setpriv", "--pdeathsig=KILL", sys.executable, "-c", _RELAY]
    relay = subprocess.Popen(
        [*command, place, addresses.NODE, str(PORT)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with relay:
        try:
            assert relay.stdout is not None
            assert relay.stdout.readline() == "listening\n"
            yield
        finally:
            relay.kill()
