"""Whether a single-user server answers, asked the cheapest way there is."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

ANSWER_SECONDS: Final = 10.0
"""After which one question is given up."""


async def answers(host: str, port: int, base_url: str) -> bool:
    """Whether ``http://{host}:{port}{base_url}api`` is answered; the host is an address.

    5xx means that it is up but not yet ready; 403 and the like are answers.
    """
    request = (
        f"GET {base_url}api HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Accept: application/json\r\nConnection: close\r\n\r\n"
    )
    writer: asyncio.StreamWriter | None = None
    asked = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    asked.setblocking(False)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            # Most often nobody listens yet: that is known before streams are made.
            await asyncio.get_running_loop().sock_connect(asked, (host, port))
            reader, writer = await asyncio.open_connection(sock=asked)
            writer.write(request.encode())
            await writer.drain()
            status = (await reader.readline()).split()
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is None:
            asked.close()
        else:
            writer.close()
    return len(status) >= 2 and status[1].isdigit() and int(status[1]) < 500
