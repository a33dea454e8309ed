"""Whether IAM can be reached: watched from the hub's start on, so that a login page can say so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from arcetri_hub.auth.answers import Reply
from arcetri_hub.auth.client import IamClient, IamSilentError

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_HEALTHY_PAUSE = 600.0
_FRESH = 10.0


class Contact:
    """Looks for IAM until it is found, and again whenever it falls silent."""

    def __init__(self, client: IamClient, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._client = client
        self._log = log
        self._clock = clock
        self._heard = float("-inf")
        self._silent = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether IAM was silent when last asked."""
        return self._silent

    def note(self, reply: Reply) -> None:
        """Take note of any reply: silence and faults of IAM's wake the watch."""
        if reply.status is not None and reply.status < 500:
            self._heard = self._clock()
        elif not self._silent:
            self._wake.set()

    async def check(self) -> None:
        """Make sure that IAM answers, unless it just did.

        Raises:
            IamSilentError: It does not.
        """
        if self._silent or self._clock() - self._heard >= _FRESH:
            await self._look()

    def watch(self) -> None:
        """Begin to watch, in the running loop."""
        self._task = asyncio.create_task(self._watch(), name="iam-contact")

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._wake.clear()
            try:
                await self._look()
                pause, wait = _FIRST_PAUSE, _HEALTHY_PAUSE
            except IamSilentError:
                self._wake.clear()
                pause, wait = min(pause * 2, _LONGEST_PAUSE), pause
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    async def _look(self) -> None:
        try:
            await self._client.discover()
        except IamSilentError as error:
            if not self._silent:
                self._log.warning(
                    "IAM at %s gives no usable answer (%s). Sessions go on, nobody can log in; "
                    "it is asked again until it answers.",
                    self._client.settings.issuer,
                    error,
                )
            self._silent = True
            raise
        if self._silent:
            self._log.info("IAM at %s answers again.", self._client.settings.issuer)
        self._silent = False
