"""A state folder on a disk that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_spawner.backends.base import Running
from arcetri_spawner.backends.local import end_instance, procs
from arcetri_spawner.errors import StorageFull
from tests.spawner.local.world import World, launch

pytestmark = [
    pytest.mark.component,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
async def world(disk: Path) -> AsyncIterator[World]:
    instance = uuid4().hex
    made = World(disk, instance_id=instance)
    await made.backend.recover()
    try:
        yield made
    finally:
        await made.close()
        end_instance(instance, grace=0.0)


def fill(disk: Path) -> Path:
    """Leave not one byte."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


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
