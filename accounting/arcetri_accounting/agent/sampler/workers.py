"""Threads that may hang without harm.

One thread does everything, one thing after the other, for as long as that is quick: threads that
wait for each other cost more than what they do here. Where it is not, others join it, so that what
hangs holds up nothing but itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
QUICK: Final = 0.03
"""Seconds after which another thread joins."""


class Task(Generic[T]):
    """Something that is done again and again, once at a time."""

    def __init__(self) -> None:
        self.busy = False
        """It was given to the pool, and what came of it was not yet collected."""
        self.done = False
        self.work: Callable[[], T] | None = None
        self.result: T | None = None

    def collect(self) -> T | None:
        """What came of it; None while it is not done, and where it failed."""
        if not self.done:
            return None
        self.busy = self.done = False
        result, self.result = self.result, None
        return result


class Pool:
    """The threads; one other thread gives and collects.

    They are daemons: one that hangs in a driver does not keep the process from ending. Each idle
    one has a lock of its own that wakes it and nobody else: who wakes for nothing takes the time of
    who works.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # What is added and taken at an end of a deque needs no lock.
        self._waiting: deque[Task[Any]] = deque()
        self._idle: deque[threading.Lock] = deque()
        self._finished: SimpleQueue[None] = SimpleQueue()
        self._threads = 0
        self._closed = False

    def give(self, task: Task[T], work: Callable[[], T]) -> None:
        """Have ``work`` called; the task must not be busy."""
        task.busy, task.done, task.work = True, False, work
        self._waiting.append(task)

    def wait(self, tasks: Sequence[Task[Any]], seconds: float) -> None:
        """Return when these are done, or after so many seconds; more threads join as needed."""
        deadline = time.monotonic() + seconds
        while not all(task.done for task in tasks):
            left = deadline - time.monotonic()
            # At the end: what nobody has begun would wait for what hangs.
            self._join()
            if left <= 0:
                return
            with contextlib.suppress(Empty):
                # Once all is begun no other thread can help.
                self._finished.get(timeout=min(left, QUICK) if self._waiting else left)

    def close(self) -> None:
        """End the threads that are not hanging."""
        self._closed = True
        self._waiting.clear()
        while self._idle:
            self._idle.pop().release()

    def _join(self) -> None:
        if not self._waiting:
            return
        if self._idle:
            # The one that was busy last: what it works with is still at hand.
            self._idle.pop().release()
        else:
            self._threads += 1
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        asleep = threading.Lock()
        asleep.acquire()
        while not self._closed:
            try:
                task = self._waiting.popleft()
            except IndexError:
                self._idle.append(asleep)
                if not self._closed:
                    asleep.acquire()
                continue
            try:
                assert task.work is not None  # noqa: S101 - it was given with its work
                task.result = task.work()
            except Exception:  # a fault of one device must not end the looks at it for good
                log.exception("a look at a device failed")
                task.result = None
            task.done = True
            if not self._waiting:
                self._finished.put(None)
