"""What NVML says of MIG instances: there are some, their profile, their part of the GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pynvml

from arcetri_accounting.agent.readings import Device
from arcetri_accounting.agent.sampler import library, samples
from arcetri_accounting.agent.sampler.library import Handle, NvmlError
from arcetri_accounting.agent.sampler.turn import Part
from arcetri_accounting.contract.share import SHARE_UNITS

_PROFILE: Final = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb(?:[+.-]\S+)?)\s*$")


def find(gpu: Part, known: Iterable[Part], *, anew: bool) -> list[Part]:
    """The instances of a GPU; what is known of them is kept, unless they were made anew.

    Raises:
        NvmlError: They cannot be found.
    """
    before = {part.device.uuid: part for part in known}
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
            if part is not None:
                part.close()
            profile = profile_of(handle)
            whole = whole or compute_slices(gpu.handle, gpu.device.model)
            weight = weight_of(handle, profile, whole)
            model = f"{gpu.device.model} MIG {profile}"
            part = Part(Device(uuid, model, gpu.device.uuid, profile, weight), handle)
            part.gpm = gpm_of(gpu.handle, handle)
        # A handle may have been given to another instance.
        part.handle = handle
        found.append(part)
    for part in before.values():
        part.close()
    return found


def mig_enabled(handle: Handle) -> bool:
    """Whether a GPU is in MIG mode."""
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except NvmlError as error:
        if library.unsupported(error):
            return False
        raise
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def profile_of(handle: Handle) -> str:
    """The profile of an instance, such as ``1g.5gb``, as the device plugin writes it."""
    found = _PROFILE.search(str(pynvml.nvmlDeviceGetName(handle)))
    if found:
        # The device plugin writes the profile 1g.5gb+me as 1g.5gb.me.
        return found.group(1).replace("+", ".")
    attributes = pynvml.nvmlDeviceGetAttributes(handle)
    gigabytes = -(-attributes.memorySizeMB // 1024)
    return f"{attributes.gpuInstanceSliceCount}g.{gigabytes}gb"


def weight_of(handle: Handle, profile: str, whole: int) -> int:
    """Of an instance in 1/10080 of its GPU, of ``whole`` compute slices."""
    slices = samples.compute_slices(profile)
    if slices is None:
        slices = int(pynvml.nvmlDeviceGetAttributes(handle).computeInstanceSliceCount)
    return SHARE_UNITS * min(slices, whole) // whole


def compute_slices(gpu: Handle, model: str) -> int:
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


def gpm_of(gpu: Handle, instance: Handle) -> library.Gpm | None:
    """What reads the utilisation of an instance, where its GPU can tell."""
    if not library.has_gpm(gpu):
        return None
    try:
        return library.Gpm(gpu, pynvml.nvmlDeviceGetGpuInstanceId(instance))
    except NvmlError:
        return None
