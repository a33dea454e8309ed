"""How long sessions lasted, as the ledger last said: asked for in the background, and kept."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
import structlog
from pydantic import ValidationError

from arcetri_accounting.client.bearer import authorization
from arcetri_accounting.contract.lengths import SessionLengths

log = structlog.get_logger(__name__)

DAYS: Final = 60
"""So far back: longer ago, habits were others."""
_EVERY: Final = 600.0
"""Seconds between two answers."""
_AGAIN: Final = (2.0, 60.0)
"""Seconds until the ledger is asked again when it gave none, at first and at most."""
_TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer of the ledger's."""

    lengths: SessionLengths
    at: datetime
    """When it came, by this machine's clock."""


class PastLengths:
    """Asks the ledger while ``run`` runs; ``heard`` is what it last said, None before it did.

    A ledger that is away is no trouble: what it said last stays, and grows old.

    Args:
        ledger: Its address with its prefix and a slash at the end.
        token_file: Holds the witness's token and nothing else; read at each question.
    """

    def __init__(self, ledger: str, token_file: Path) -> None:
        self._url = f"{ledger}api/v1/lengths"
        self._token_file = token_file
        self.heard: Heard | None = None

    async def run(self) -> None:
        """Ask now and then, for ever."""
        first, longest = _AGAIN
        pause = first
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            while True:
                try:
                    self.heard = Heard(await self._ask(client), datetime.now(UTC))
                    pause, wait = first, _EVERY
                except (httpx.HTTPError, OSError, ValidationError) as error:
                    # Nobody misses it who has an answer, or waits for one that comes later.
                    log.debug("the ledger does not say how long sessions last", why=_why(error))
                    wait = pause
                    pause = min(pause * 2, longest)
                # Not all questions at the same moment, when the ledger comes back.
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def _ask(self, client: httpx.AsyncClient) -> SessionLengths:
        headers = await authorization(self._token_file)
        answer = await client.get(self._url, params={"days": DAYS}, headers=headers)
        answer.raise_for_status()
        return await asyncio.to_thread(SessionLengths.model_validate_json, answer.content)


def _why(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    return "its answer is none" if isinstance(error, ValidationError) else type(error).__name__
