"""Asking a session what it does, over its own address, with what its user may steal safely."""

from __future__ import annotations

from typing import Final

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from arcetri_hub.reaper.answers import Answers, Unreadable, read_activity
from arcetri_hub.reaper.decide import Activity

MAX_ANSWER: Final = 1 << 20
"""Bytes of one answer; a session that says more is not believed."""


class Unasked(Exception):
    """The session gave no answer that says what it does."""


class SessionClient:
    """Asks jupyter-server's API; bounded in time, size and connections."""

    def __init__(self, *, timeout: float = 5.0, connections: int = 8) -> None:
        self._timeout = timeout
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=connections, max_body_size=MAX_ANSWER
        )

    async def ask(self, url: str, token: str) -> Activity:
        """Ask the session at ``url``, which ends in a slash.

        Raises:
            Unasked: It did not answer, or with something else.
        """
        # api/status never counts as activity; the other two are told not to.
        try:
            status = await self._get(f"{url}api/status", token)
            kernels = await self._get(f"{url}api/kernels?no_track_activity=1", token)
            try:
                terminals = (await self._get(f"{url}api/terminals?no_track_activity=1", token)).body
            except HTTPClientError as error:
                if error.code != 404:
                    raise
                terminals = None
            return read_activity(Answers(status.body, kernels.body, terminals))
        except HTTPClientError as error:
            raise Unasked(f"it answered with status {error.code}") from error
        except Unreadable as error:
            raise Unasked(str(error)) from error
        except (TimeoutError, OSError, ValueError) as error:
            raise Unasked(f"it did not answer ({type(error).__name__})") from error

    async def _get(self, url: str, token: str) -> HTTPResponse:
        return await self._client.fetch(
            HTTPRequest(
                url,
                headers={"Authorization": f"token {token}"},
                connect_timeout=self._timeout,
                request_timeout=self._timeout,
                follow_redirects=False,
            )
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
