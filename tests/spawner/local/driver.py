"""One hub's worth of work in a process of its own, which a kill point ends.

``python -m tests.spawner.local.driver FOLDER INSTANCE POINT``: starts a session, and then, with the
kill point armed, takes a second one through its whole life. With POINT beginning with ``recover``,
it only recovers, armed.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from arcetri_spawner import killpoints
from tests.spawner.local.world import World, acknowledge


async def live(world: World, point: str) -> None:
    if point.startswith("recover"):
        killpoints.arm(point)
        await world.backend.recover()
        return
    await world.backend.recover()
    await world.start(await world.grant("alice"))
    killpoints.arm(point)
    grant = await world.grant("bob", volumes=())
    session = await world.start(grant)
    await world.backend.stop(session, timedelta(seconds=5))
    await world.queue.finish(await world.ticket(grant))
    await world.store.mark(grant.request_id, "ended", reason="stopped")
    journal = world.backend._journal
    acknowledge(world.config.journal_path, world.journal()[-1].seq)
    journal.compact()


if __name__ == "__main__":
    folder, instance, armed = sys.argv[1:]
    asyncio.run(live(World(Path(folder), instance_id=instance), armed))
