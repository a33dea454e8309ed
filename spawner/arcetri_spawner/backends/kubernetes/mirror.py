"""A copy of one collection of the API server, kept true by watching it, for ever.

What the copy says is news only while the server gives signs of life. A watch lasts some seconds,
says how far it is before it ends, and is begun anew: so a server that hangs, or is cut off, is as
silent as none ever is that is well. Then the copy stays as it was and says so (``fresh``); when the
server is back, everything is listed again, and what is not in the list any more has gone. Nothing
is ever concluded from silence. Where the copy is fresh all the while, as after one begin that an
overloaded server refuses, the next watch goes on from where the last one was.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.api import (
    LATE,
    Api,
    ApiAway,
    ApiRefused,
    Expired,
    Object,
)

log = structlog.get_logger(__name__)

PAUSE: Final = 0.2
"""Seconds before the second try; each further pause is twice as long."""
LONGEST_PAUSE: Final = 5.0
"""A server that is back is known about within this time."""
WATCH_SECONDS: Final = 10
"""After which a watch is begun anew, as those of stock KubeSpawner are. Two seconds before, the API
server says how far it is (Kubernetes' ``cacheWatcher.nextBookmarkTime``)."""
PAGE: Final = 500
"""Objects in one answer to a list."""

Changed = Callable[[Object | None, Object | None], None]
"""Told of each change: the object before (None for a new one) and after (None for one gone)."""


class Mirror:
    """The objects at one path."""

    def __init__(
        self,
        api: Api,
        path: str,
        changed: Changed,
        *,
        selector: str = "",
        seconds: int = WATCH_SECONDS,
    ) -> None:
        """Copy what is at ``path`` (and has the labels of ``selector``), telling ``changed``.

        ``changed`` must not raise, and is called while the copy has the object as it is after.
        A watch lasts for so many seconds, within which the server gives a sign of life.
        """
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        self._changed = changed
        self._objects: dict[str, Object] = {}
        self._version = ""
        self._listed = asyncio.Event()
        self._seconds = seconds
        self._heard_at = 0.0
        self._failures = 0

    def __iter__(self) -> Iterator[Object]:
        """Every object, in no order."""
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def fresh(self) -> bool:
        """Whether what the copy says is what the server said within the last seconds."""
        if not self._listed.is_set():
            return False
        return time.monotonic() - self._heard_at < self._seconds + LATE

    async def listed(self) -> None:
        """Return once everything was listed for the first time."""
        await self._listed.wait()

    async def run(self) -> None:
        """Keep the copy true, for ever."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                self._stands()
            except Expired:
                self._version = ""
            except (ApiAway, ApiRefused) as error:
                await self._pause(error)

    async def _list(self) -> None:
        found: dict[str, Object] = {}
        query: dict[str, str | int] = {**self._query, "limit": PAGE}
        while True:
            answer = await self._api.get(self._path, **query)
            for item in answer.get("items", ()):
                found[item["metadata"]["uid"]] = _trimmed(item)
            follow = answer["metadata"].get("continue")
            if not follow:
                break
            query["continue"] = follow
        for uid in self._objects.keys() - found.keys():
            self._changed(self._objects.pop(uid), None)
        for item in found.values():
            self._put(item)
        self._version = answer["metadata"]["resourceVersion"]
        self._stands()
        self._listed.set()

    async def _watch(self) -> None:
        watch = self._api.watch(self._path, self._version, seconds=self._seconds, **self._query)
        async for event in watch:
            if not self.fresh:
                # The first of what happened since, after which the rest may not come.
                raise Expired
            self._stands()
            item = event["object"]
            self._version = item["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                before = self._objects.pop(item["metadata"]["uid"], None)
                if before is not None:
                    # The last word about it: how it ended may be said only here.
                    self._changed(_trimmed(item), None)
            else:
                self._put(_trimmed(item))

    def _put(self, item: Object) -> None:
        uid = item["metadata"]["uid"]
        before = self._objects.get(uid)
        same = before is not None and _version(before) == _version(item)
        self._objects[uid] = item
        if not same:
            self._changed(before, item)

    def _stands(self) -> None:
        if self._failures:
            log.info("the API server answers again", path=self._path, failures=self._failures)
        self._failures = 0
        self._heard_at = time.monotonic()

    async def _pause(self, error: Exception) -> None:
        if self._failures in (0, 10) or self._failures % 100 == 0:
            log.warning("cannot be watched; tried again", path=self._path, why=str(error)[:300])
        pause = min(PAUSE * 2.0 ** min(self._failures, 10), LONGEST_PAUSE)
        self._failures += 1
        if isinstance(error, ApiRefused):
            self._version = ""
        await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - no secret
        if not self.fresh:
            self._version = ""


def _version(item: Object) -> object:
    return item["metadata"].get("resourceVersion")


def _trimmed(item: Object) -> Object:
    """Without what nobody here reads, and what is more than half of a pod's size."""
    metadata = item["metadata"]
    metadata.pop("managedFields", None)
    for name in podmarks.FILES & metadata.get("annotations", {}).keys():
        del metadata["annotations"][name]
    return item
