from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_spawner.backends.local import end_instance
from tests.spawner.local.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A recovered backend with two simulated T4; whatever still runs at the end is killed."""
    instance = uuid4().hex
    made = World(tmp_path, instance_id=instance)
    await made.backend.recover()
    try:
        yield made
    finally:
        await made.close()
        end_instance(instance, grace=0.0)
