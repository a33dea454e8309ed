"""``python -m arcetri_hub.up.endsessions``: end all sessions of a platform whose hub is gone."""

from __future__ import annotations

import asyncio
import sys

from arcetri_hub.settings import SettingsError, settings_from_environment
from arcetri_spawner.errors import ArcetriError


async def _end() -> None:
    from arcetri_hub.factory import build_platform

    platform = build_platform(settings_from_environment())
    await platform.backend.recover()
    await platform.service.recover()
    await platform.service.close(end_sessions=True)


if __name__ == "__main__":
    try:
        asyncio.run(_end())
    except (ArcetriError, SettingsError) as error:
        sys.exit(f"arcetri: {error}")
