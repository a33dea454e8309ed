"""The local backend keeps what every backend promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_spawner.backends.base import Launch
from arcetri_spawner.backends.local import end_instance, procs
from tests.spawner import contract
from tests.spawner.contract import BackendContract
from tests.spawner.local.world import World, launch


class LocalSite(World):
    """A world that has a next one."""

    _closed = False

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await super().close()

    def launch(self, **env: str) -> Launch:
        return launch(**env)

    @asynccontextmanager
    async def again(self) -> AsyncIterator[LocalSite]:
        await self.close()
        after = LocalSite(self.folder, instance_id=self.config.instance_id)
        try:
            await after.backend.recover()
            yield after
        finally:
            await after.close()

    async def remains(self) -> list[str]:
        found = procs.sessions_of(self.config.instance_id)
        return [*map(str, found), *map(str, self.backend._live)]


class TestLocal(BackendContract):
    @pytest.fixture
    async def site(self, tmp_path: Path) -> AsyncIterator[contract.Site]:
        instance = uuid4().hex
        made = LocalSite(tmp_path, instance_id=instance)
        try:
            await made.backend.recover()
            yield made
        finally:
            await made.close()
            end_instance(instance, grace=0.0)
