"""Asking a server on this machine whether it answers, with nothing but the standard library."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit


async def status(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    patience: float = 5,
) -> int:
    """The HTTP status that ``url`` answers with; 0 when nobody answers. Follows no redirection."""
    return await asyncio.to_thread(_status, url, dict(headers or {}), method, patience)


def _status(url: str, headers: dict[str, str], method: str, patience: float) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=patience)
    try:
        connection.request(method, parts.path or "/", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
