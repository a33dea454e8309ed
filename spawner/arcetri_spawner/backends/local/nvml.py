"""What NVML finds on this machine, asked in a thread that may hang without harm.

A machine without driver has no devices; that is no error. A driver that does not answer in time, or
a device that has fallen off the bus, leaves the last known list standing, marked stale.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pynvml
import structlog

log = structlog.get_logger(__name__)

_PROFILE = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb(?:[+.-]\S+)?)\s*$")


@dataclass(frozen=True, slots=True)
class MigInstance:
    """An existing MIG instance."""

    uuid: str
    profile: str
    """As in the resource's name: ``1g.5gb``."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A physical GPU."""

    uuid: str
    name: str
    """As NVML says it: ``Tesla T4``."""
    mig_enabled: bool = False
    instances: tuple[MigInstance, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the machine."""

    gpus: tuple[Gpu, ...]
    complete: bool
    """False when a device, or the whole driver, gave no answer: a device not listed may exist."""


class Driver:
    """The NVML library, kept initialised between looks.

    Without a persistence daemon, closing it would power the GPUs down and up again at every look.
    """

    def __init__(self) -> None:
        self._ready = False

    def look(self) -> Look:
        """Ask for every GPU and MIG instance; blocks, and never raises for what NVML answers."""
        if not self._ready:
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError_LibraryNotFound:
                return Look((), complete=True)
            except pynvml.NVMLError as error:
                # A driver that is not loaded is a machine without GPU; anything else is not known.
                return Look((), complete=error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
            self._ready = True
        found = _look()
        if not found.complete:
            self._close()
        return found

    def _close(self) -> None:
        """Begin anew at the next look: a driver that was reloaded is found again."""
        self._ready = False
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError as error:
            log.debug("NVML could not be shut down", error=str(error))


def _look() -> Look:
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return Look((), complete=False)
    gpus: list[Gpu] = []
    complete = True
    for index in range(count):
        try:
            gpu, whole = _gpu(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError as error:
            # One GPU lost must not hide the others.
            log.warning("a GPU does not answer", index=index, error=str(error))
            complete = False
            continue
        gpus.append(gpu)
        complete = complete and whole
    return Look(tuple(gpus), complete)


def _gpu(handle: object) -> tuple[Gpu, bool]:
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    name = str(pynvml.nvmlDeviceGetName(handle))
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return Gpu(uuid, name), True
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return Gpu(uuid, name), True
    instances: list[MigInstance] = []
    complete = True
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except pynvml.NVMLError_NotFound:
            continue
        try:
            instances.append(
                MigInstance(str(pynvml.nvmlDeviceGetUUID(instance)), _profile(instance))
            )
        except pynvml.NVMLError as error:
            log.warning("a MIG instance does not answer", gpu=uuid, error=str(error))
            complete = False
    return Gpu(uuid, name, mig_enabled=True, instances=tuple(instances)), complete


def _profile(instance: object) -> str:
    found = _PROFILE.search(str(pynvml.nvmlDeviceGetName(instance)))
    if found:
        # The device plugin writes the profile 1g.5gb+me as 1g.5gb.me.
        return found.group(1).replace("+", ".")
    attributes = pynvml.nvmlDeviceGetAttributes(instance)
    gigabytes = -(-attributes.memorySizeMB // 1024)
    return f"{attributes.gpuInstanceSliceCount}g.{gigabytes}gb"


class Watcher:
    """Looks again and again, with a time limit, one look at a time."""

    def __init__(self, timeout: float, asker: Callable[[], Look] | None = None) -> None:
        self._timeout = timeout
        self._asker = asker or Driver().look
        self._pending: asyncio.Future[Look] | None = None
        self.last = Look((), complete=False)
        """Until the first look is over, nothing is known."""
        self.stale = False

    async def refresh(self) -> bool:
        """Look once more; True when something changed.

        A look that hangs keeps its thread until the driver lets it go; no second one is started
        beside it, and the last known devices stay.
        """
        before = (self.last, self.stale)
        if self._pending is None:
            self._pending = self._start()
        done, _ = await asyncio.wait({self._pending}, timeout=self._timeout)
        if not done:
            self._doubt()
            return before != (self.last, self.stale)
        pending, self._pending = self._pending, None
        self._take(pending)
        return before != (self.last, self.stale)

    def _take(self, pending: asyncio.Future[Look]) -> None:
        try:
            found = pending.result()
        except Exception as error:  # noqa: BLE001 - a broken driver library must not end the hub
            log.warning("NVML cannot be asked", error=repr(error))
            self._doubt()
            return
        if found.complete:
            self.last, self.stale = found, False
        elif found.gpus:
            # What does answer can be used; what does not is not offered.
            self.last, self.stale = found, True
        else:
            self._doubt()

    def _doubt(self) -> None:
        """Keep what was last known, but do not call it all there is."""
        self.last = Look(self.last.gpus, complete=False)
        self.stale = True

    def _start(self) -> asyncio.Future[Look]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Look] = loop.create_future()

        def finish(found: Look | None, error: Exception | None) -> None:
            if future.done():
                return
            if found is not None:
                future.set_result(found)
            else:
                future.set_exception(error or RuntimeError("no answer"))

        def work() -> None:
            found: Look | None = None
            failed: Exception | None = None
            try:
                found = self._asker()
            except Exception as error:  # noqa: BLE001 - carried to the waiting coroutine
                failed = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, found, failed)

        # A daemon thread of its own: one that hangs in the driver must not hold up the hub's end.
        threading.Thread(target=work, name="nvml", daemon=True).start()
        return future
