"""A proxy that starts has no routes: it asks the hub for them, until the hub has answered.

The hub looks by itself once a minute. Until then every session would be away for its user.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

log = structlog.get_logger(__name__)

PAUSE: Final = 1.0
"""Seconds between two tries."""
PATIENCE: Final = 30.0
"""Seconds for one answer, which comes when every route is there."""


async def announce(url: str, token: str) -> None:
    """Tell the hub that this proxy is new, which makes it set all routes.

    Args:
        url: The hub's ``/hub/api/proxy``.
        token: May do just this.
    """
    said = ""
    while True:
        try:
            headers = {"Authorization": f"token {token}"}
            request = HTTPRequest(
                url, method="POST", headers=headers, body="", request_timeout=PATIENCE
            )
            await AsyncHTTPClient().fetch(request)
        except (HTTPClientError, OSError) as error:
            # The hub may be on its way back too; each new reason is said once.
            if str(error) != said:
                log.info("the hub does not set the routes yet", why=str(error))
            said = str(error)
            await asyncio.sleep(PAUSE)
        else:
            log.info("the hub has set the routes")
            return
