"""Relays connections to a port of this machine to an address inside a cluster.

``python -m tests.cluster.relay DESCRIPTOR HOST PORT``, entered into the cluster's namespaces: it is
given a socket that listens outside, and connects from inside. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys


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
    """Relay until standard input is closed."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                there_reader, there_writer = await asyncio.open_connection(host, port)
            except OSError as error:
                sys.stderr.write(f"{host}:{port}: {error}\n")
                return
            with contextlib.closing(there_writer):
                await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    server = await asyncio.start_server(relay, sock=listener)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look() -> None:
        if not sys.stdin.buffer.read1(4096):  # type: ignore[union-attr]
            over.set()

    loop.add_reader(0, look)
    async with server:
        await over.wait()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
