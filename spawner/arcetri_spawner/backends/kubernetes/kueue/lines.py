"""The order of the queues, as Kueue says it: asked for once for all who want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog

from arcetri_spawner.backends.kubernetes.kueue.faults import PASSING
from kueue_client import AsyncKueue, KueueError, PendingWorkload, Workload

log = structlog.get_logger(__name__)

AGAIN: Final = 1.0
"""Seconds after which one that did not answer is asked once more."""
LINE_KEPT: Final = 1.0
"""Seconds for which the order of a queue is not asked for again."""


class _Line:
    """The order of one queue, as it was asked for last."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.at = float("-inf")
        self.waiting: dict[str, PendingWorkload] | None = None


class Lines:
    """Who stands in Kueue's lines.

    Args:
        kueue: Says the order.
        namespace: The LocalQueues'.
    """

    def __init__(self, kueue: AsyncKueue, namespace: str) -> None:
        self._kueue = kueue
        self._namespace = namespace
        self._lines: dict[str, _Line] = {}

    async def order(self, queue: str) -> Mapping[str, PendingWorkload] | None:
        """Those that wait in a queue, in order, by name; None where Kueue does not say."""
        line = self._lines.setdefault(queue, _Line())
        async with line.asking:
            if time.monotonic() - line.at >= LINE_KEPT:
                try:
                    found = await self._kueue.pending(queue, self._namespace)
                    line.waiting = {one.metadata.name: one for one in found}
                except KueueError as error:
                    log.debug("the order of a queue is not known", queue=queue, why=str(error))
                    line.waiting = None
                line.at = time.monotonic()
        return line.waiting

    async def check(self, queue: str) -> None:
        """See that Kueue still has a queue's line, of which everybody is known to stand in it.

        What this costs does not grow with the line.
        """
        line = self._lines[queue]
        async with line.asking:
            try:
                first = await self._kueue.pending(queue, self._namespace, most=1)
            except KueueError as error:
                log.debug("a queue's line is not known", queue=queue, why=str(error))
                first = ()
            if not first:
                line.waiting = None

    async def answers(self, queue: str) -> bool:
        """Whether Kueue answers at all; a silence of a moment is none.

        Where nobody may ask it, it is taken to.
        """
        for pause in (0.0, AGAIN):
            await asyncio.sleep(pause)
            try:
                await self._kueue.pending(queue, self._namespace, most=1)
            except PASSING as error:
                log.debug("the queue does not answer", queue=queue, why=str(error))
            except KueueError:
                return True
            else:
                return True
        return False

    def position(self, workload: Workload) -> PendingWorkload | None:
        """Where a Workload was found to stand last; None where it was not, or nobody can say."""
        line = self._lines.get(workload.spec.queue_name)
        return line.waiting.get(workload.name) if line and line.waiting else None

    def has(self, workload: Workload) -> bool:
        """Whether Kueue was once found to have it in its line, and still has that line."""
        return self.position(workload) is not None
