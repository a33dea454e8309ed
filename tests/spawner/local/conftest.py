from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.spawner.local.world import World, recovered


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A recovered backend with two simulated T4."""
    async with recovered(tmp_path) as made:
        yield made
