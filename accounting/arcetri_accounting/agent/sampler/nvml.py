"""The sampler over NVML: threads look at the driver and the GPUs; a cycle waits for none."""

from __future__ import annotations

import contextlib
import functools
from typing import Final

import pynvml
import structlog

from arcetri_accounting.agent.clock import Clock, Instant
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.readings import Reading
from arcetri_accounting.agent.sampler import library
from arcetri_accounting.agent.sampler.board import Board
from arcetri_accounting.agent.sampler.look import Look
from arcetri_accounting.agent.sampler.turn import Glance
from arcetri_accounting.agent.sampler.workers import Pool, Task

log = structlog.get_logger(__name__)

SEARCH_MS: Final = 60_000
"""How often GPUs are counted."""


class Count:
    """What the driver says there is."""

    def __init__(self, gpus: int, *, absent: bool = False, ready: bool = True) -> None:
        self.gpus = gpus
        self.absent = absent
        """There is no driver."""
        self.ready = ready
        """The driver answers."""


class NvmlSampler:
    """Looks at every GPU that NVML has."""

    def __init__(self, clock: Clock, figures: Figures, interval_ms: int) -> None:
        self._clock = clock
        self._figures = figures
        self._hold_ms = interval_ms * 3 // 2
        self._patience = min(0.5, interval_ms / 4000)
        self._pool = Pool("nvml")
        self._driver: Task[Count] = Task()
        self._boards: list[tuple[Board, Task[Glance | None]]] = []
        self._listed: dict[int, frozenset[str]] = {}
        self._present: frozenset[str] = frozenset()
        """All that is listed."""
        self._count = Count(0, ready=False)
        self._counted: int | None = None
        self._initialised = False
        self._reload = False
        self._missed: frozenset[str] = frozenset()
        """Devices that sessions hold, and that were looked for in vain."""

    def look(self, now: Instant, wanted: frozenset[str]) -> Look:
        """Look at every GPU; see ``Sampler``."""
        self._search(now)
        unknown = wanted - self._present
        search, self._missed = bool(unknown - self._missed), unknown
        asked = []
        if self._count.ready and not self._reload:
            for board, task in self._boards:
                if not task.busy:
                    self._pool.give(task, functools.partial(board.look, search=search))
                    asked.append(task)
        self._pool.wait(asked, self._patience)
        if any(task.busy and not task.done for _, task in self._boards):
            self._pool.wait(self._go_past(), self._patience)
        return self._collect()

    def _go_past(self) -> list[Task[Glance | None]]:
        """Have what lies behind instances that hang looked at by other threads."""
        asked = []
        for number, (board, task) in enumerate(self._boards):
            if task.busy and not task.done and (rest := board.go_past()) is not None:
                # Nobody waits any more for the task of before.
                another: Task[Glance | None] = Task()
                self._boards[number] = board, another
                self._pool.give(another, rest)
                asked.append(another)
        return asked

    def close(self) -> None:
        """Let the threads end that can; a driver that hangs is left alone."""
        self._pool.close()

    def _search(self, now: Instant) -> None:
        """Count the GPUs where that is due, and have a board for each."""
        due = (
            self._counted is None or now.boot - self._counted >= SEARCH_MS or not self._count.ready
        )
        # A driver is initialised anew only when nobody is in it.
        free = not self._reload or not any(
            task.busy or board.hanging for board, task in self._boards
        )
        if (due or self._reload) and free and not self._driver.busy:
            self._counted = now.boot
            anew, self._reload = self._reload, False
            self._pool.give(self._driver, functools.partial(self._ask, anew=anew))
            self._pool.wait([self._driver], self._patience)
        if not self._driver.busy:
            return
        count = self._driver.collect()
        if count is None:
            return
        self._count = count
        while len(self._boards) < count.gpus:
            index = len(self._boards)
            board = Board(index, self._clock, self._hold_ms)
            self._boards.append((board, Task()))

    def _ask(self, *, anew: bool) -> Count:
        """Initialise and count; runs in the driver's thread."""
        if anew and self._initialised:
            for board, _task in self._boards:
                board.driver_anew()
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()
            self._initialised = False
        try:
            if not self._initialised:
                pynvml.nvmlInit()
                self._initialised = True
            return Count(int(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError as error:
            absent = error.value in library.ABSENT
            if not absent:
                self._figures.nvml_errors += 1
                log.warning("the driver does not answer", code=error.value, error=str(error))
            self._reload = self._initialised
            return Count(0, absent=absent, ready=False)

    def _collect(self) -> Look:
        readings: list[Reading] = []
        silent = 0
        for board, task in self._boards:
            glance = task.collect()
            silent += board.hanging
            if glance is None:
                silent += task.busy
                continue
            if self._listed.get(board.index) is not glance.present:
                self._listed[board.index] = glance.present
                self._present = frozenset().union(*self._listed.values())
            self._figures.nvml_errors += glance.errors
            self._reload = self._reload or glance.unloaded
            readings += glance.readings
        present: frozenset[str] | None = None
        if self._count.absent:
            present = frozenset()
        elif self._count.ready and len(self._listed) == len(self._boards):
            present = self._present
        return Look(readings, present, silent, available=self._count.ready)
