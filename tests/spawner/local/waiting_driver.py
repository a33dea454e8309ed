"""A hub with a waiting room in a process of its own, which a kill point ends.

``python -m tests.spawner.local.waiting_driver FOLDER INSTANCE CATALOG POINT``: alice has the only
T4 and bob waits for it; she ends hers, and with the kill point armed his starts by itself.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from arcetri_spawner import killpoints
from tests.spawner.local.test_waiting import a_hub, until


async def live(folder: Path, instance: str, catalog: str, point: str) -> None:
    async with a_hub(folder, instance, catalog) as hub:
        await hub.ask("alice")
        await hub.ask("bob")
        killpoints.arm(point)
        await hub.end("alice")
        await until(lambda: hub.runs("bob"))


if __name__ == "__main__":
    where, whose, profiles, armed = sys.argv[1:]
    asyncio.run(live(Path(where), whose, profiles, armed))
