"""One GPU and its MIG instances: found, read, lost, found again.

One thread looks at a board. Where the driver hangs at an instance, ``go_past`` leaves that thread
there, and another one goes on: it has the board from then on. What comes of the instance after all
is told by the first look after that.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final, TypeVar

import pynvml
import structlog

from arcetri_accounting.agent.clock import Clock, Instant
from arcetri_accounting.agent.readings import Busy, Device, EnergyMethod, Reading
from arcetri_accounting.agent.sampler import instances, library, samples
from arcetri_accounting.agent.sampler.library import NvmlError
from arcetri_accounting.agent.sampler.turn import (
    SLEPT_MS,
    Energy,
    Glance,
    Late,
    Part,
    Turn,
    joined,
    slept,
)
from arcetri_accounting.contract.share import SHARE_UNITS

log = structlog.get_logger(__name__)

T = TypeVar("T")

GPM_MS: Final = 100
"""How far apart GPM needs its samples to be."""
SEARCH_MS: Final = 60_000
"""How often instances are looked for where nothing says that they changed."""


@dataclass(slots=True)
class Board:
    """The GPU at an index."""

    index: int
    clock: Clock
    hold_ms: int
    """How long a look holds."""
    _gpu: Part | None = None
    _parts: list[Part] = field(default_factory=list)
    _mig: bool = False
    _known: dict[str, Device] = field(default_factory=dict)
    """What was there when it was last found whole; it is what is lost with it."""
    _present: frozenset[str] = frozenset()
    """Their names."""
    _slept: int | None = None
    """How long the machine had slept, since it booted, before the last look."""
    _events: library.Events | None = None
    _searched: int = -SEARCH_MS
    _samples: library.Samples | None = None
    _processes: library.Processes | None = None
    _counter: library.Energy | None = None
    """None where energy is not measured."""
    _energy: tuple[int, int] | None = None
    """When the counter was read last, and what it said."""
    _has_rates: bool = True
    _errors: int = 0
    _reloaded: bool = False
    """The driver was initialised anew since the last look."""
    _turn: Turn | None = None
    """The look that goes on, or the last one."""
    hanging: int = 0
    """How many threads the driver holds at instances that were passed by."""
    _late: list[Late] = field(default_factory=list)
    """What came of those after all, and is not told yet."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Held for ``hanging`` and ``_late``: all else is of the one thread that has the board."""

    def look(self, *, search: bool) -> Glance | None:
        """Look at everything once; ``search`` for instances first. Never raises for a driver.

        Returns:
            None where another thread went on with it.
        """
        self._errors = 0
        try:
            gpu = self._gpu or self._find()
            remade = self._renew(gpu, search=search)
            turn = self._turn = self._begin(self._gpu or gpu, remade)
        except NvmlError as error:
            return self._failed(error)
        return self._go_on(turn)

    def go_past(self) -> Callable[[], Glance | None] | None:
        """Give up waiting for the instance that is being read; what goes on with the others.

        Called by the thread that waits. None where the driver does not hang at an instance.
        """
        turn = self._turn.go_past() if self._turn is not None else None
        if turn is None:
            return None
        self._turn, self._processes = turn, turn.processes
        with self._lock:
            self.hanging += 1
        return functools.partial(self._go_on, turn)

    def driver_anew(self) -> None:
        """The driver is initialised anew: what was there may be there again, and is another."""
        self._forget()
        self._reloaded = True

    def _forget(self) -> None:
        self._close()
        self._gpu = None
        self._parts = []

    # -- finding ---------------------------------------------------------------------------------

    def _find(self) -> Part:
        handle = pynvml.nvmlDeviceGetHandleByIndex(self.index)
        uuid = str(pynvml.nvmlDeviceGetUUID(handle))
        name = str(pynvml.nvmlDeviceGetName(handle))
        self._mig = instances.mig_enabled(handle)
        weight = 0 if self._mig else SHARE_UNITS
        self._gpu = gpu = Part(Device(uuid, name, weight=weight), handle)
        self._parts = []
        self._energy = None
        self._has_rates = True
        self._processes = library.Processes()
        with contextlib.suppress(NvmlError):
            self._counter = library.Energy()
        with contextlib.suppress(NvmlError):
            self._samples = library.Samples()
        if self._mig:
            with contextlib.suppress(NvmlError):
                self._events = library.Events(handle)
        self._searched = -SEARCH_MS
        return gpu

    def _renew(self, gpu: Part, *, search: bool) -> bool:
        """Find the instances again where that is due; True where they are known to have changed."""
        changed = self._events is not None and self._events.changed()
        now = self.clock.boottime()
        if not (changed or search or now - self._searched >= SEARCH_MS) and (
            self._events is not None or not self._mig
        ):
            return False
        mig = instances.mig_enabled(gpu.handle)
        if mig != self._mig:
            self._forget()
            gpu = self._find()
        if self._mig:
            self._parts = instances.find(gpu, self._parts, anew=changed)
        self._searched = now
        self._know({part.device.uuid: part.device for part in (gpu, *self._parts)})
        return changed

    def _know(self, devices: dict[str, Device]) -> None:
        self._known = devices
        self._present = frozenset(devices)

    # -- reading ---------------------------------------------------------------------------------

    def _begin(self, gpu: Part, remade: bool) -> Turn:
        """Read what is of the GPU itself."""
        before = self._wake(gpu)
        assert self._processes is not None  # noqa: S101 - made when the GPU was found
        energy = self._read_energy(gpu)
        shares: list[Energy | None] | repeat[None] = repeat(None)
        if energy:
            parts = samples.split(energy[2], [part.device.weight for part in self._parts])
            shares = [(energy[0], energy[1], part) for part in parts]
        turn = Turn(
            before,
            remade or self._reloaded,
            zip(self._parts, shares, strict=False),
            self._processes,
            [],
        )
        if self._late:
            self._tell_late(turn)
        if self._mig:
            reading = Reading(gpu.device, before.boot)
        else:
            reading = self._read_part(gpu, self._processes, energy, "measured")
        reading.remade = self._reloaded
        turn.readings.append(reading)
        return turn

    def _go_on(self, turn: Turn) -> Glance | None:
        """Read the instances that are left; None where another thread went on with them."""
        hand, processes = turn.hand, turn.processes
        tell = turn.readings.append
        for part, share in turn.left:
            if part.hung or part.owed is not None:
                share, part.owed = joined(part.owed, share), None
                if part.hung:
                    part.owed = share
                    continue
            hand.append(part)
            failed: NvmlError | None = None
            reading: Reading | None = None
            try:
                reading = self._read_part(part, processes, share, "split")
            except NvmlError as error:
                failed = error
            try:
                hand.pop()
            except IndexError:
                self._come_late(turn, Late(part, reading, share))
                return None
            if reading is not None:
                reading.remade, part.remade = turn.remade or part.remade, False
                tell(reading)
            elif failed is not None and failed.value not in library.STALE:
                return self._failed(failed)
            else:
                turn.stale.add(part.device.uuid)
        return self._end(turn)

    def _end(self, turn: Turn) -> Glance:
        """Everything that can be read has been."""
        if turn.stale:
            # Look for what is there instead, at the next look.
            self._searched = -SEARCH_MS
            self._parts = [part for part in self._parts if part.device.uuid not in turn.stale]
            self._know({uuid: one for uuid, one in self._known.items() if uuid not in turn.stale})
        took = turn.readings[-1].at - turn.began.boot
        if took >= SLEPT_MS and slept(turn.began, self.clock.now()):
            # Nobody knows which of them were read before it slept.
            for reading in turn.readings:
                reading.seen_from = None
        self._reloaded = False
        return Glance(turn.readings, self._present, self._errors)

    def _come_late(self, turn: Turn, late: Late) -> None:
        """The driver has answered after all, but another thread has the board."""
        if late.reading is not None and slept(turn.began, self.clock.now()):
            late.reading.seen_from = None
        with self._lock:
            self._late.append(late)
            self.hanging -= 1

    def _tell_late(self, turn: Turn) -> None:
        with self._lock:
            told, self._late = self._late, []
        for late in told:
            part = late.part
            part.hung = False
            if late.reading is None:
                part.owed = joined(late.share, part.owed)
            # It may have been made anew meanwhile: then what was read is of another.
            elif any(part is one for one in self._parts):
                late.reading.remade, part.remade = part.remade, False
                turn.readings.append(late.reading)

    def _wake(self, gpu: Part) -> Instant:
        """Forget the last look where the machine slept since it began; returns what time it is."""
        now = self.clock.now()
        asleep, self._slept = self._slept, now.boot - now.awake
        if asleep is not None and self._slept - asleep >= SLEPT_MS:
            for part in (gpu, *self._parts):
                part.looked = None
        return now

    def _read_part(
        self,
        part: Part,
        processes: library.Processes,
        energy: Energy | None,
        method: EnergyMethod,
    ) -> Reading:
        busy = self._utilisation(part)
        count, held = -1, None
        try:
            count, held = processes.read(part.handle)
        except NvmlError as error:
            if not library.unsupported(error):
                raise
        if held is None:
            held = self._memory(part)
        at = self.clock.boottime()
        since = None
        if count >= 0:
            since = at if part.looked is None else max(part.looked, at - self.hold_ms)
            part.looked = at
        return Reading(part.device, at, busy, since, count > 0, held, energy, method)

    def _since(self, before: Instant | None, now: Instant) -> int:
        """Since when a rate that is read now holds."""
        if before is None or slept(before, now):
            return now.boot
        return max(before.boot, now.boot - self.hold_ms)

    def _utilisation(self, part: Part) -> list[Busy]:
        if part.gpm is not None:
            return self._from_gpm(part, part.gpm)
        if part.device.parent:
            return []
        if self._samples is not None:
            found = self._from_buffer(part, self._samples)
            if found:
                return found
        if not self._has_rates:
            return []
        return self._from_rates(part)

    def _from_gpm(self, part: Part, gpm: library.Gpm) -> list[Busy]:
        before, now = part.measured, self.clock.now()
        if before is None or now.boot - before.boot < GPM_MS:
            part.measured = before or now
            return []
        part.measured = now
        try:
            value = gpm.read()
        except NvmlError as error:
            if error.value in library.GONE or error.value in library.UNLOADED:
                raise
            return []
        return [] if value is None else [(self._whole(before, now), now.boot, value)]

    def _from_buffer(self, part: Part, buffer: library.Samples) -> list[Busy]:
        try:
            taken = buffer.read(part.handle, part.stamp)
        except NvmlError as error:
            if not library.unsupported(error):
                raise
            self._samples = None
            return []
        now = self.clock.now()
        found = samples.spans(taken, now.offset * 1000, now.boot, part.sampled)
        if taken:
            part.stamp = taken[-1][0]
        if found:
            part.sampled = found[-1][1]
        elif part.sampled is not None and now.boot - part.sampled > self.hold_ms:
            # Stamps went back, with the clock: what is there is read from its beginning.
            part.stamp = 0
        return found

    def _from_rates(self, part: Part) -> list[Busy]:
        rates = self._optional(lambda: pynvml.nvmlDeviceGetUtilizationRates(part.handle))
        before, part.measured = part.measured, self.clock.now()
        if rates is None:
            self._has_rates = False
            return []
        begin = self._since(before, part.measured)
        if part.sampled is not None:
            begin = max(begin, part.sampled)
        return [(begin, part.measured.boot, rates.gpu * 100)] if begin < part.measured.boot else []

    def _whole(self, before: Instant, now: Instant) -> int:
        """From when a mean between two moments holds: all of it, however long it was."""
        return now.boot if slept(before, now) else before.boot

    def _memory(self, part: Part) -> int | None:
        info = self._optional(lambda: pynvml.nvmlDeviceGetMemoryInfo(part.handle))
        return None if info is None else int(info.used)

    def _read_energy(self, gpu: Part) -> Energy | None:
        counter = self._counter
        if counter is None:
            return None
        value = self._optional(lambda: counter.read(gpu.handle))
        if value is None:
            self._counter = None
            return None
        at = self.clock.boottime()
        before, self._energy = self._energy, (at, value)
        if before is None or value < before[1] or at <= before[0]:
            # A counter that went back was reset: what it counted since then is not known.
            return None
        return before[0], at, value - before[1]

    def _optional(self, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except NvmlError as error:
            if not library.unsupported(error):
                raise
            return None

    # -- failing ---------------------------------------------------------------------------------

    def _failed(self, error: NvmlError) -> Glance:
        code = error.value
        self._errors += 1
        log.warning("a GPU does not answer", index=self.index, code=code, error=str(error))
        now = self.clock.boottime()
        lost = code in library.GONE or (self._gpu is None and bool(self._known))
        self._forget()
        if code in library.UNLOADED:
            return Glance((), self._present, self._errors, unloaded=True)
        if not lost:
            # Nothing is said of it now; at the next look it is found again.
            return Glance((), self._present, self._errors)
        devices = self._known.values()
        return Glance(
            [Reading(device, now, down=True) for device in devices], self._present, self._errors
        )

    def _close(self) -> None:
        # What cannot be given back is lost with the driver.
        with contextlib.suppress(NvmlError):
            if self._events is not None:
                self._events.close()
            for part in self._parts:
                part.close()
        self._events = None
