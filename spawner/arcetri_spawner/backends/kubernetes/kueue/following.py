"""Objects as the cluster has them, kept by one watch a kind, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog

from kueue_client import AsyncWatch, EventType, KueueError
from kueue_client.base import Object
from kueue_client.objects import AsyncObjects

log = structlog.get_logger(__name__)

O = TypeVar("O", bound=Object)  # noqa: E741  # an object

PAUSE: Final = 5.0
"""Seconds until one begins anew where the cluster says no to the watch itself."""


class Following(Generic[O]):
    """The objects of one kind and place, by name.

    Args:
        objects: Where they are read.
        namespace: Whose; None for what is in none.
        labels: A label selector.
        changed: Told of each change: how the object was, and how it is; None is not there.
    """

    def __init__(
        self,
        objects: AsyncObjects[O],
        namespace: str | None,
        labels: str,
        changed: Callable[[O | None, O | None], None],
    ) -> None:
        self._objects = objects
        self._namespace = namespace
        self._labels = labels
        self._changed = changed
        self._watch: AsyncWatch[O] | None = None
        self._listed = asyncio.Event()
        self._trouble: KueueError | None = None
        self.there: dict[str, O] = {}

    @property
    def trouble(self) -> KueueError | None:
        """Why what is known may be old; None while it is followed."""
        return self._trouble or (self._watch.trouble if self._watch else None)

    @property
    def known(self) -> bool:
        """Whether everything was read at least once."""
        return self._listed.is_set()

    async def listed(self) -> None:
        """Return once everything was read."""
        await self._listed.wait()

    def put(self, one: O) -> None:
        """Take what somebody was just answered, unless what came of it was heard of already."""
        self._take(one)

    def newer(self, one: O) -> None:
        """The same of what somebody has just changed, unless it was heard to be gone."""
        there = self.there.get(one.name)
        if there is not None and there.metadata.uid == one.metadata.uid:
            self._take(one)

    def drop(self, name: str) -> None:
        """Take away what somebody has just deleted."""
        before = self.there.pop(name, None)
        if before is not None:
            self._changed(before, None)

    async def run(self) -> None:
        """Follow, for ever."""
        while True:
            try:
                await self._follow()
            except KueueError as error:
                if self._trouble is None or self._trouble.code != error.code:
                    log.error("the queue cannot be followed", of=self._kind, why=str(error))
                self._trouble = error
            await asyncio.sleep(PAUSE)

    @property
    def _kind(self) -> str:
        return self._objects.kind.__name__

    async def _follow(self) -> None:
        before = list(self.there)
        listing = await self._objects.list(self._namespace, labels=self._labels)
        now = {one.name for one in listing.items}
        # What was put in while this was read may be newer than it.
        for name in before:
            if name not in now:
                self.drop(name)
        for one in listing.items:
            self._take(one)
        self._trouble = None
        self._listed.set()
        self._watch = self._objects.watch(self._namespace, labels=self._labels, start=listing)
        try:
            async for event in self._watch:
                if event.type is EventType.DELETED:
                    there = self.there.get(event.object.name)
                    if there is not None and there.metadata.uid == event.object.metadata.uid:
                        self.drop(event.object.name)
                else:
                    self._take(event.object)
        finally:
            self._watch = None

    def _take(self, one: O) -> None:
        before = self.there.get(one.name)
        if before is not None and _is_older(one, before):
            # An answer can come after news of what happened since, and no more news may come.
            return
        self.there[one.name] = one
        self._changed(before, one)


def _is_older(one: Object, there: Object) -> bool:
    """Whether an object is an earlier state of the same one.

    The API server's versions of one kind's objects are numbers that grow (Kubernetes, KEP-5504).
    """
    versions = one.metadata.resource_version or "", there.metadata.resource_version or ""
    if one.metadata.uid != there.metadata.uid or not all(map(str.isdecimal, versions)):
        return False
    return int(versions[0]) < int(versions[1])
