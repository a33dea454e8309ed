"""Which headers go through the proxy, in each direction."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

_HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""RFC 9110, section 7.6.1: these belong to one connection."""
_NOT_NAMED: Final = frozenset({"host", "content-length", "set-cookie", "sec-websocket-key"})
"""Whoever names these in ``Connection`` wants the next hop to misread the message."""
_CLAIMED: Final = frozenset({"forwarded", "x-real-ip", "x-scheme"})
"""Beside ``X-Forwarded-*``: what the hub would read as who asks, and how."""
_SOCKET: Final = frozenset(
    {
        "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)  # fmt: skip
"""A web socket is one connection too: each side shakes hands for itself."""


def has_body(headers: HTTPHeaders) -> bool:
    """Whether a message has a body, by what it says of its length.

    Raises:
        ValueError: The next reader might see another end than this one.
    """
    lengths, encodings = headers.get_list("Content-Length"), headers.get_list("Transfer-Encoding")
    if len(lengths) + len(encodings) > 1:
        raise ValueError("more than one length")
    if any(not (one.isascii() and one.isdigit()) for one in lengths):
        raise ValueError("not a length")
    if any(one.lower() != "chunked" for one in encodings):
        raise ValueError("unknown transfer encoding")
    return bool(lengths or encodings)


def to_target(
    headers: HTTPHeaders, *, remote_ip: str, protocol: str, socket: bool = False
) -> HTTPHeaders:
    """What a target is told: the browser's headers, and who really asks.

    Args:
        headers: What the browser sent.
        remote_ip: Where it connected from.
        protocol: ``http`` or ``https``.
        socket: Whether a web socket is asked for, whose handshake is made anew.
    """
    # The proxy answers ``Expect`` itself, by reading on.
    without = _HOP_BY_HOP | _CLAIMED | {"expect"} | _named(headers)
    if socket:
        without |= _SOCKET
    passed = HTTPHeaders()
    for name, value in headers.get_all():
        lower = name.lower()
        if lower not in without and not lower.startswith("x-forwarded-"):
            passed.add(name, value)
    # Whatever a browser claims here is not believed: the proxy is the first to see it.
    passed["X-Forwarded-For"] = remote_ip
    passed["X-Forwarded-Proto"] = protocol
    host = headers.get("Host", "")
    if host:
        passed["X-Forwarded-Host"] = host
    passed["X-Forwarded-Port"] = str(_port(host) or (443 if protocol == "https" else 80))
    return passed


def to_browser(headers: HTTPHeaders) -> list[tuple[str, str]]:
    """What a browser is told, in the target's order, repeated headers included."""
    without = _HOP_BY_HOP | _named(headers)
    return [(name, value) for name, value in headers.get_all() if name.lower() not in without]


def _named(headers: HTTPHeaders) -> frozenset[str]:
    """What ``Connection`` says belongs to this connection alone."""
    words = ",".join(headers.get_list("Connection")).split(",")
    return frozenset(word.strip().lower() for word in words) - _NOT_NAMED


def _port(host: str) -> int | None:
    try:
        return urlsplit(f"//{host}").port
    except ValueError:
        return None
