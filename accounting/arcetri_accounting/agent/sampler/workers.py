"""Threads that may hang without harm.

One thread does everything, one thing after the other, for as long as that is quick: threads that
wait for each other cost more than what they do here. Where it is not, others join it, so that what
hangs holds up nothing but itself.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
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

    They are daemons: one that hangs in a driver does not keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        lock = threading.Lock()
        # Each wakes only whom it is for: who wakes for nothing takes the time of who works.
        self._given = threading.Condition(lock)
        self._finished = threading.Condition(lock)
        self._waiting: deque[Task[Any]] = deque()
        self._idle = 0
        self._threads = 0
        self._closed = False

    def give(self, task: Task[T], work: Callable[[], T]) -> None:
        """Have ``work`` called; the task must not be busy."""
        task.busy, task.done, task.work = True, False, work
        with self._given:
            self._waiting.append(task)

    def wait(self, tasks: Sequence[Task[Any]], seconds: float) -> None:
        """Return when these are done, or after so many seconds; more threads join as needed."""
        deadline = time.monotonic() + seconds
        with self._finished:
            while not all(task.done for task in tasks):
                left = deadline - time.monotonic()
                # At the end: what nobody has begun would wait for what hangs.
                self._join()
                if left <= 0:
                    return
                # Once all is begun no other thread can help.
                self._finished.wait(min(left, QUICK) if self._waiting else left)

    def close(self) -> None:
        """End the threads that are not hanging."""
        with self._given:
            self._closed = True
            self._waiting.clear()
            self._given.notify_all()

    def _join(self) -> None:
        if not self._waiting:
            return
        if self._idle:
            self._given.notify()
        else:
            self._threads += 1
            name = f"{self._name}-{self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        task: Task[Any] | None = None
        while (task := self._next(task)) is not None:
            try:
                assert task.work is not None  # noqa: S101 - it was given with its work
                task.result = task.work()
            except Exception:  # a fault of one device must not end the looks at it for good
                log.exception("a look at a device failed")
                task.result = None

    def _next(self, done: Task[Any] | None) -> Task[Any] | None:
        """What is to be done after that; None once the pool is closed."""
        with self._given:
            if done is not None:
                done.done = True
                if not self._waiting:
                    self._finished.notify()
            self._idle += 1
            while not self._waiting and not self._closed:
                self._given.wait()
            self._idle -= 1
            return None if self._closed else self._waiting.popleft()
