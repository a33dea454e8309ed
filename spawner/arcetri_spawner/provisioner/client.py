"""The hub's side of the provisioner: a few HTTP calls, and their failures in words."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import httpx
import structlog
from pydantic import ValidationError

from arcetri_spawner.provisioner.contract import (
    FOLDERS,
    HEALTH,
    SPACE,
    FoldersRequest,
    Refusal,
    Report,
    SpaceRequest,
)
from arcetri_spawner.provisioner.faults import TELL, FolderTrouble

log = structlog.get_logger(__name__)

PATIENCE: Final = 30.0
"""Seconds for making folders."""
GLANCE: Final = 2.0
"""Seconds for saying how much room there is: a page waits for it."""


class ProvisionerClient:
    """Asks the provisioner; for one event loop.

    Args:
        url: Where it is, such as ``http://arcetri-provisioner.arcetri-storage:8020``.
        token_file: The hub's token for it, read anew for each call, since it rotates.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self._token_file = token_file
        self._client = httpx.AsyncClient(base_url=url.rstrip("/"), trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def answers(self) -> bool:
        """Whether it answers at all."""
        try:
            answer = await self._client.get(HEALTH, timeout=GLANCE)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def make(self, request: FoldersRequest) -> Report:
        """Have folders made.

        Raises:
            FolderTrouble: They could not be made ready.
        """
        return await self._ask(FOLDERS, request, PATIENCE)

    async def space(self, request: SpaceRequest) -> Report:
        """Ask how much room there is.

        Raises:
            FolderTrouble: It does not say.
        """
        return await self._ask(SPACE, request, GLANCE)

    async def _ask(
        self, path: str, request: FoldersRequest | SpaceRequest, patience: float
    ) -> Report:
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
            answer = await self._client.post(
                path,
                content=request.model_dump_json(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                timeout=patience,
            )
        except (OSError, UnicodeError) as error:
            raise _refused(f"the hub's token cannot be read: {error}") from error
        except httpx.HTTPError as error:
            raise _away(f"{type(error).__name__}: {error}") from error
        try:
            if answer.status_code == 200:
                return Report.model_validate_json(answer.content)
            refusal = Refusal.model_validate_json(answer.content)
        except ValidationError:
            raise _away(f"it answered {answer.status_code} and no JSON of its own") from None
        said = f"{answer.status_code} {refusal.code}: {refusal.message} {refusal.details}".strip()
        if answer.status_code in (401, 403, 404, 413, 422, 500) or not refusal.message:
            raise _refused(said)
        if refusal.code == "review_unavailable":
            raise _away(said)
        raise FolderTrouble(
            refusal.message, code=refusal.code, remedy=refusal.remedy, details=refusal.details
        )


def _away(details: str) -> FolderTrouble:
    return FolderTrouble(
        "The part of the platform that makes your folders does not answer.",
        code="provisioner_away",
        remedy="Start again in a few minutes. If it lasts, tell the operator of the platform.",
        details=details,
    )


def _refused(details: str) -> FolderTrouble:
    return FolderTrouble(
        "The part of the platform that makes your folders refused to make them.",
        code="provisioner_refused",
        remedy=f"{TELL}, with the details.",
        details=details,
    )
