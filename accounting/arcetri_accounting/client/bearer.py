"""Who asks the ledger: the token that a file holds."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def authorization(token_file: Path) -> dict[str, str]:
    """The header with the token, read anew: it may be changed while the hub runs.

    Raises:
        OSError: The file cannot be read.
    """
    token = (await asyncio.to_thread(token_file.read_text, "utf-8")).strip()
    return {"Authorization": f"Bearer {token}"}
