"""Keeps a namespace's DaemonSets as the catalog wants them, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import structlog

from arcetri_spawner.backends.kubernetes.api import Api, ApiAway, ApiRefused
from arcetri_spawner.backends.kubernetes.mirror import Mirror
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.prepuller.plan import Applied, Steps, altered_by_others, plan
from arcetri_spawner.prepuller.status import OnNode, on_nodes, selector_of
from arcetri_spawner.prepuller.wanted import MANAGER, Prepulling, wanted

log = structlog.get_logger(__name__)

SETTLE: Final = 0.5
"""Seconds for which changes are gathered before something is done about them."""
RETRY: Final = 10.0
"""Seconds until what failed is tried again."""
REGULAR: Final = 300.0
"""Seconds after which everything is looked at though nothing was heard of."""


class Keeper:
    """One a process; ``run`` is all there is to it.

    Args:
        api: The API server.
        catalogs: The catalog of the moment.
        settings: Where, and whose.
        told: Told after every turn what was done and which node has what.
    """

    def __init__(
        self,
        api: Api,
        catalogs: CatalogHolder,
        settings: Prepulling,
        told: Callable[[Steps, tuple[OnNode, ...]], None],
    ) -> None:
        self._api = api
        self._catalogs = catalogs
        self._settings = settings
        self._told = told
        self._wake = asyncio.Event()
        self._applied: dict[str, Applied] = {}
        self._complained: dict[str, str] = {}
        self._path = f"/apis/apps/v1/namespaces/{settings.namespace}/daemonsets"
        self._sets = Mirror(api, self._path, self._changed)
        self._pods = Mirror(
            api,
            f"/api/v1/namespaces/{settings.namespace}/pods",
            self._changed,
            selector=selector_of(settings.release),
        )
        catalogs.subscribe(self._changed)

    async def run(self) -> None:
        """Keep them, for ever. What cannot be done now is tried again, and keeps back no other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sets.run())
            group.create_task(self._pods.run())
            group.create_task(self._catalogs.watch())
            group.create_task(self._turns())

    async def _turns(self) -> None:
        await self._sets.listed()
        await self._pods.listed()
        while True:
            self._wake.clear()
            steps, well = await self._turn()
            self._told(steps, on_nodes(self._pods))
            try:
                async with asyncio.timeout(REGULAR if well else RETRY):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE)

    def _changed(self, *_: object) -> None:
        self._wake.set()

    async def _turn(self) -> tuple[Steps, bool]:
        """Do what is to be done now; and whether all of it was."""
        manifests = wanted(self._catalogs.current.catalog, self._settings)
        steps = plan(manifests, self._sets, self._applied, self._settings.release)
        well = True
        for manifest in steps.apply:
            name = manifest["metadata"]["name"]
            well &= await self._try(name, partial(self._apply, manifest))
        for found in steps.delete:
            name = found["metadata"]["name"]
            well &= await self._try(name, partial(self._delete, found))
        for name in steps.taken:
            self._complain(name, "somebody else's DaemonSet has this name; it is left alone")
        for name in self._applied.keys() - manifests.keys():
            del self._applied[name]
        return steps, well

    async def _apply(self, manifest: Mapping[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        path = f"{self._path}/{name}"
        answer = await self._api.apply(path, dict(manifest), manager=MANAGER)
        if altered_by_others(answer):
            log.warning("was altered by others; made anew", name=name)
            await self._api.delete(path, uid=answer["metadata"]["uid"])
            answer = await self._api.apply(path, dict(manifest), manager=MANAGER)
        metadata = answer["metadata"]
        if name not in self._applied:
            log.info("pulls an image beforehand", name=name, **metadata["annotations"])
        self._applied[name] = Applied(metadata["uid"], metadata["generation"], manifest)

    async def _delete(self, found: Mapping[str, Any]) -> None:
        metadata = found["metadata"]
        if await self._api.delete(f"{self._path}/{metadata['name']}", uid=metadata["uid"]):
            log.info("pulls an image no longer", name=metadata["name"])

    async def _try(self, name: str, step: Callable[[], Awaitable[None]]) -> bool:
        try:
            await step()
        except (ApiAway, ApiRefused) as error:
            self._complain(name, str(error)[:300])
            return False
        self._complained.pop(name, None)
        return True

    def _complain(self, name: str, why: str) -> None:
        """Say it once, until it is otherwise."""
        if self._complained.get(name) != why:
            self._complained[name] = why
            log.warning("a DaemonSet is not as the catalog wants it", name=name, why=why)
