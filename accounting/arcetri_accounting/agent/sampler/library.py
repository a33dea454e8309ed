"""NVML through nvidia-ml-py, with few calls and no copies; every call here may block.

The client's own functions for samples and processes call twice, to learn a size first, and copy
each structure, each field of which it reads through Python; these are called every cycle, and use
buffers that are kept instead.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final, TypeAlias

import pynvml
from pynvml import NVMLError

Handle = Any
NvmlError: TypeAlias = NVMLError

SAMPLES: Final = 1024
"""More than any driver keeps."""
PROCESSES: Final = 64
_UNKNOWN: Final = 2**64 - 1
MIG_CHANGED: Final = 0x100
"""``nvmlEventMigConfigChange``."""

GONE: Final = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
"""The device is there no more until something is done about it."""
UNLOADED: Final = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""The driver has to be initialised anew."""
ABSENT: Final = frozenset(
    {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
)
"""There is no driver: a machine without GPU."""
UNSUPPORTED: Final = frozenset(
    {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
)
STALE: Final = frozenset({pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND})
"""The handle is of something that is not there any more."""


def unsupported(error: NvmlError) -> bool:
    """Whether it will never work here, or is not allowed: no reason to ask again and again."""
    code: int = error.value
    return code in UNSUPPORTED or code == pynvml.NVML_ERROR_NO_PERMISSION


class _Sample(ctypes.Structure):
    _fields_ = pynvml.c_nvmlSample_t._fields_


class _Process(ctypes.Structure):
    _fields_ = pynvml.c_nvmlProcessInfo_v3_t._fields_


class Samples:
    """Reads the buffer of utilisation samples of one GPU."""

    def __init__(self) -> None:
        self._call = _function("nvmlDeviceGetSamples")
        self._buffer = (_Sample * SAMPLES)()
        self._count = ctypes.c_uint()
        self._type = ctypes.c_uint()

    def read(self, handle: Handle, after: int) -> list[tuple[int, int]]:
        """Stamps in microseconds and percent, of samples after a stamp; oldest first.

        Raises:
            NvmlError: There are none, or it cannot be asked.
        """
        self._count.value = SAMPLES
        code = self._call(
            handle,
            pynvml.NVML_GPU_UTILIZATION_SAMPLES,
            ctypes.c_ulonglong(after),
            ctypes.byref(self._type),
            ctypes.byref(self._count),
            self._buffer,
        )
        if code == pynvml.NVML_ERROR_NOT_FOUND:
            return []
        _check(code)
        buffer = self._buffer
        return sorted(
            (buffer[i].timeStamp, buffer[i].sampleValue.uiVal)
            for i in range(min(self._count.value, SAMPLES))
        )


class Processes:
    """Reads the compute processes of a device."""

    def __init__(self) -> None:
        self._call = _function("nvmlDeviceGetComputeRunningProcesses_v3")
        self._size = PROCESSES
        self._buffer = (_Process * self._size)()
        self._count = ctypes.c_uint()
        self._counted = ctypes.byref(self._count)

    def read(self, handle: Handle) -> tuple[int, int | None]:
        """How many there are, and the bytes they hold; None where that is not told.

        Raises:
            NvmlError: It cannot be asked.
        """
        self._count.value = self._size
        code = self._call(handle, self._counted, self._buffer)
        if code == pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
            self._size = self._count.value * 2 + 5
            self._buffer = (_Process * self._size)()
            self._count.value = self._size
            code = self._call(handle, self._counted, self._buffer)
        _check(code)
        count = self._count.value
        held: int | None = 0
        for i in range(count):
            used = self._buffer[i].usedGpuMemory
            held = None if held is None or used == _UNKNOWN else held + used
        return count, held


class Energy:
    """Reads the energy that a GPU has taken since the driver was loaded."""

    def __init__(self) -> None:
        self._call = _function("nvmlDeviceGetTotalEnergyConsumption")
        self._value = ctypes.c_ulonglong()
        self._read = ctypes.byref(self._value)

    def read(self, handle: Handle) -> int:
        """Millijoules.

        Raises:
            NvmlError: It is not measured, or cannot be asked.
        """
        _check(self._call(handle, self._read))
        return self._value.value


class Events:
    """Tells whether the MIG instances of a GPU were changed."""

    def __init__(self, handle: Handle) -> None:
        """Begin to listen.

        Raises:
            NvmlError: This GPU, driver or account cannot.
        """
        self._set = pynvml.nvmlEventSetCreate()
        try:
            pynvml.nvmlDeviceRegisterEvents(handle, MIG_CHANGED, self._set)
        except NvmlError:
            pynvml.nvmlEventSetFree(self._set)
            raise
        self._call = _function("nvmlEventSetWait_v2")
        self._data = pynvml.c_nvmlEventData_t()
        self._told = ctypes.byref(self._data)
        self._at_once = ctypes.c_uint(0)

    def changed(self) -> bool:
        """Whether they were since the last call; does not wait for it.

        Raises:
            NvmlError: It cannot be asked.
        """
        code = self._call(self._set, self._told, self._at_once)
        if code == pynvml.NVML_ERROR_TIMEOUT:
            return False
        _check(code)
        while self._call(self._set, self._told, self._at_once) == 0:
            # Several changes are one.
            continue
        return True

    def close(self) -> None:
        """Stop listening."""
        pynvml.nvmlEventSetFree(self._set)


class Gpm:
    """Utilisation of one MIG instance by GPM, which Hopper and later GPUs have."""

    def __init__(self, gpu: Handle, instance: int) -> None:
        """Take a first sample.

        Raises:
            NvmlError: It cannot be taken.
        """
        self._gpu = gpu
        self._instance = instance
        self._old = pynvml.nvmlGpmSampleAlloc()
        self._new = pynvml.nvmlGpmSampleAlloc()
        self._get = pynvml.c_nvmlGpmMetricsGet_t()
        self._get.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._get.numMetrics = 1
        self._get.metrics[0].metricId = pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL
        pynvml.nvmlGpmMigSampleGet(gpu, instance, self._old)

    def read(self) -> int | None:
        """Mean utilisation since the last call in hundredths of a percent; None where unknown.

        Raises:
            NvmlError: It cannot be asked.
        """
        pynvml.nvmlGpmMigSampleGet(self._gpu, self._instance, self._new)
        self._get.sample1, self._get.sample2 = self._old, self._new
        self._old, self._new = self._new, self._old
        pynvml.nvmlGpmMetricsGet(self._get)
        metric = self._get.metrics[0]
        if metric.nvmlReturn != pynvml.NVML_SUCCESS or not 0 <= metric.value <= 100.5:
            return None
        return round(float(metric.value) * 100)

    def close(self) -> None:
        """Give the samples back."""
        for sample in (self._old, self._new):
            pynvml.nvmlGpmSampleFree(sample)


def has_gpm(handle: Handle) -> bool:
    """Whether a GPU has GPM."""
    try:
        return bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
    except NvmlError:
        return False


def _function(name: str) -> Any:
    try:
        return getattr(pynvml.nvmlLib, name)
    except AttributeError:
        raise NvmlError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None


def _check(code: int) -> None:
    if code != pynvml.NVML_SUCCESS:
        raise NvmlError(code)
