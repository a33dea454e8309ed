"""One GPU and its MIG instances: found, read, lost, found again. One thread uses a board."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import pynvml
import structlog

from arcetri_accounting.agent.clock import Clock, Instant
from arcetri_accounting.agent.presence import Sighting
from arcetri_accounting.agent.readings import Busy, Device, EnergyMethod, Reading
from arcetri_accounting.agent.sampler import library, samples
from arcetri_accounting.agent.sampler.library import Handle, NvmlError
from arcetri_accounting.contract.share import SHARE_UNITS

log = structlog.get_logger(__name__)

T = TypeVar("T")

_PROFILE: Final = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb(?:[+.-]\S+)?)\s*$")
SLEPT_MS: Final = 1000
GPM_MS: Final = 100
"""How far apart GPM needs its samples to be."""
SEARCH_MS: Final = 60_000
"""How often instances are looked for where nothing says that they changed."""


@dataclass(slots=True)
class Part:
    """What is looked at: the GPU itself, or an instance of it."""

    device: Device
    handle: Handle
    gpm: library.Gpm | None = None
    looked: int | None = None
    """When its processes were read last, by CLOCK_BOOTTIME; None where the machine slept since."""
    sampled: int | None = None
    """Up to when its utilisation is known."""
    stamp: int = 0
    """Of its last sample, as the driver says it."""
    measured: Instant | None = None
    """When its utilisation was read last, where there is no buffer."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What one look at a board gives."""

    sightings: tuple[Sighting, ...]
    readings: tuple[Reading, ...]
    present: frozenset[str]
    errors: int = 0
    unloaded: bool = False
    """The driver has to be initialised anew."""


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

    def look(self, *, search: bool) -> Glance:
        """Look at everything once; ``search`` for instances first. Never raises for a driver."""
        self._errors = 0
        try:
            gpu = self._gpu or self._find()
            remade = self._renew(gpu, search=search)
            glance = self._read(self._gpu or gpu, remade)
        except NvmlError as error:
            self._errors += 1
            return self._failed(error)
        self._reloaded = False
        return glance

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
        self._mig = _mig_enabled(handle)
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
        mig = _mig_enabled(gpu.handle)
        if mig != self._mig:
            self._forget()
            gpu = self._find()
        if self._mig:
            self._find_instances(gpu, anew=changed)
        self._searched = now
        self._know({part.device.uuid: part.device for part in (gpu, *self._parts)})
        return changed

    def _know(self, devices: dict[str, Device]) -> None:
        self._known = devices
        self._present = frozenset(devices)

    def _find_instances(self, gpu: Part, *, anew: bool) -> None:
        before = {part.device.uuid: part for part in self._parts}
        found: list[Part] = []
        whole = 0
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu.handle)):
            try:
                handle = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu.handle, index)
            except pynvml.NVMLError_NotFound:
                continue
            uuid = str(pynvml.nvmlDeviceGetUUID(handle))
            part = before.pop(uuid, None)
            if part is None or anew:
                if part is not None and part.gpm is not None:
                    part.gpm.close()
                profile = _profile(handle)
                whole = whole or _slices(gpu.handle, gpu.device.model)
                weight = _weight(handle, profile, whole)
                model = f"{gpu.device.model} MIG {profile}"
                part = Part(Device(uuid, model, gpu.device.uuid, profile, weight), handle)
                part.gpm = _gpm(gpu.handle, handle)
            # A handle may have been given to another instance.
            part.handle = handle
            found.append(part)
        for part in before.values():
            if part.gpm is not None:
                part.gpm.close()
        self._parts = found

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, gpu: Part, remade: bool) -> Glance:
        before = self._wake(gpu)
        sightings = [Sighting(gpu.device, before.boot, remade=self._reloaded)]
        remade = remade or self._reloaded
        readings: list[Reading] = []
        energy = self._read_energy(gpu)
        if not self._mig:
            readings.append(self._read_part(gpu, energy, "measured"))
        shares = samples.split(energy[2], [p.device.weight for p in self._parts]) if energy else []
        stale = False
        for number, part in enumerate(self._parts):
            share = (energy[0], energy[1], shares[number]) if energy else None
            try:
                readings.append(self._read_part(part, share, "split"))
            except NvmlError as error:
                if error.value not in library.STALE:
                    raise
                stale = True
                continue
            sightings.append(Sighting(part.device, readings[-1].at, remade=remade))
        if stale:
            # Look for what is there instead, at the next look.
            self._searched = -SEARCH_MS
            there = {sighting.device.uuid for sighting in sightings}
            self._parts = [part for part in self._parts if part.device.uuid in there]
            self._know({uuid: self._known[uuid] for uuid in there})
        took = readings[-1].at - before.boot if readings else 0
        if took >= SLEPT_MS and _slept(before, self.clock.now()):
            # Nobody knows which of them were read before it slept.
            for reading in readings:
                reading.seen_from = None
        return Glance(tuple(sightings), tuple(readings), self._present, self._errors)

    def _wake(self, gpu: Part) -> Instant:
        """Forget the last look where the machine slept since it began; returns what time it is."""
        now = self.clock.now()
        slept, self._slept = self._slept, now.boot - now.awake
        if slept is not None and self._slept - slept >= SLEPT_MS:
            for part in (gpu, *self._parts):
                part.looked = None
        return now

    def _read_part(
        self, part: Part, energy: tuple[int, int, int] | None, method: EnergyMethod
    ) -> Reading:
        busy = self._utilisation(part)
        assert self._processes is not None  # noqa: S101 - made when the GPU was found
        count, held = -1, None
        try:
            count, held = self._processes.read(part.handle)
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
        return Reading(part.device.uuid, at, busy, since, count > 0, held, energy, method)

    def _since(self, before: Instant | None, now: Instant) -> int:
        """Since when a rate that is read now holds."""
        if before is None or _slept(before, now):
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
        return now.boot if _slept(before, now) else before.boot

    def _memory(self, part: Part) -> int | None:
        info = self._optional(lambda: pynvml.nvmlDeviceGetMemoryInfo(part.handle))
        return None if info is None else int(info.used)

    def _read_energy(self, gpu: Part) -> tuple[int, int, int] | None:
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
        log.warning("a GPU does not answer", index=self.index, code=code, error=str(error))
        now = self.clock.boottime()
        lost = code in library.GONE or (self._gpu is None and bool(self._known))
        self._forget()
        if code in library.UNLOADED:
            return Glance((), (), self._present, self._errors, unloaded=True)
        if not lost:
            # Nothing is said of it now; at the next look it is found again.
            return Glance((), (), self._present, self._errors)
        devices = self._known.values()
        return Glance(
            tuple(Sighting(device, now, down=True) for device in devices),
            tuple(Reading(device.uuid, now, down=True) for device in devices),
            self._present,
            self._errors,
        )

    def _close(self) -> None:
        # What cannot be given back is lost with the driver.
        with contextlib.suppress(NvmlError):
            if self._events is not None:
                self._events.close()
            for part in self._parts:
                if part.gpm is not None:
                    part.gpm.close()
        self._events = None


def _slept(before: Instant, now: Instant) -> bool:
    """Whether the machine slept between two moments."""
    return (now.boot - before.boot) - (now.awake - before.awake) >= SLEPT_MS


def _mig_enabled(handle: Handle) -> bool:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except NvmlError as error:
        if library.unsupported(error):
            return False
        raise
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def _profile(handle: Handle) -> str:
    found = _PROFILE.search(str(pynvml.nvmlDeviceGetName(handle)))
    if found:
        # The device plugin writes the profile 1g.5gb+me as 1g.5gb.me.
        return found.group(1).replace("+", ".")
    attributes = pynvml.nvmlDeviceGetAttributes(handle)
    gigabytes = -(-attributes.memorySizeMB // 1024)
    return f"{attributes.gpuInstanceSliceCount}g.{gigabytes}gb"


def _weight(handle: Handle, profile: str, whole: int) -> int:
    """Of an instance in 1/10080 of its GPU, of ``whole`` compute slices."""
    slices = samples.compute_slices(profile)
    if slices is None:
        slices = int(pynvml.nvmlDeviceGetAttributes(handle).computeInstanceSliceCount)
    return SHARE_UNITS * min(slices, whole) // whole


def _slices(gpu: Handle, model: str) -> int:
    """Compute slices of a whole GPU: seven, or four where there is no instance of seven."""
    try:
        pynvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, pynvml.NVML_GPU_INSTANCE_PROFILE_7_SLICE)
    except pynvml.NVMLError_FunctionNotFound:
        return 4 if re.search(r"\bA30\b", model) else 7
    except NvmlError as error:
        if error.value in library.GONE or error.value in library.UNLOADED:
            raise
        return 4
    return 7


def _gpm(gpu: Handle, instance: Handle) -> library.Gpm | None:
    if not library.has_gpm(gpu):
        return None
    try:
        return library.Gpm(gpu, pynvml.nvmlDeviceGetGpuInstanceId(instance))
    except NvmlError:
        return None
