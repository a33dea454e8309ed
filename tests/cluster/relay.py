"""Relays connections to a port of this machine to an address inside a cluster.

``python -m tests.cluster.relay DESCRIPTOR HOST PORT``, entered into the cluster's namespaces: it is
given a socket that listens outside, and connects from inside. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Final

COMING_UP: Final = 15.0
"""Seconds for which nobody wonders that what is behind does not answer yet."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Relay until standard input is closed; say once what does not answer, until it does again."""
    loop = asyncio.get_running_loop()
    silent_from = loop.time() + COMING_UP

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal silent_from
        with contextlib.closing(writer):
            try:
                there_reader, there_writer = await asyncio.open_connection(host, port)
            except OSError as error:
                if loop.time() > silent_from:
                    sys.stderr.write(f"{host}:{port} does not answer: {error}\n")
                    silent_from = float("inf")
                return
            silent_from = 0.0
            with contextlib.closing(there_writer):
                await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    server = await asyncio.start_server(relay, sock=listener)
    over = asyncio.Event()

    def look() -> None:
        if not sys.stdin.buffer.read1(4096):  # type: ignore[union-attr]
            over.set()

    loop.add_reader(0, look)
    async with server:
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
