"""A state folder on a disk that is really full."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_spawner.backends.base import Running
from arcetri_spawner.backends.local import procs
from arcetri_spawner.errors import StorageFull
from tests.spawner.local.world import World, launch, recovered
from tests.support.faults import fill, small_disk

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 40) as folder:
        yield folder


@pytest.fixture
async def world(disk: Path) -> AsyncIterator[World]:
    async with recovered(disk) as made:
        yield made


async def test_nothing_new_starts_and_what_runs_ends_in_the_books(world: World, disk: Path) -> None:
    running = await world.start(await world.grant("alice"))
    grant = await world.grant("bob", volumes=())
    ticket = await world.ticket(grant)
    ballast = fill(disk)
    journal = world.journal()

    with pytest.raises(StorageFull) as caught:
        await world.backend.start(grant, ticket, launch())

    assert "disk" in caught.value.message
    assert world.journal() == journal
    assert set(procs.sessions_of(world.config.instance_id)) == {running.id}
    assert await world.backend.poll(running) == Running()

    await world.backend.stop(running, timedelta(seconds=5))
    assert world.journal()[-1].type == "end"

    ballast.unlink()
    session = await world.backend.start(grant, ticket, launch())
    assert await world.backend.poll(session) == Running()
