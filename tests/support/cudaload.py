"""Keep the first GPU that CUDA sees busy until standard input ends: ``python -m ...cudaload``.

Through the driver's own library, which is wherever there is a driver: no compiler and no toolkit.
"""

from __future__ import annotations

import ctypes
import select
import sys
from typing import Final

BYTES: Final = 512 << 20
_BATCH: Final = 32
NO_CUDA: Final = 77
"""The exit status where a load cannot be made here; standard error says why."""


def main() -> int:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return NO_CUDA
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    for name, arguments in (
        ("cuInit", (ctypes.c_uint(0),)),
        ("cuDeviceGet", (ctypes.byref(device), ctypes.c_int(0))),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuCtxSetCurrent", (context,)),
        ("cuMemAlloc_v2", (ctypes.byref(memory), ctypes.c_size_t(BYTES))),
    ):
        code = getattr(cuda, name)(*arguments)
        if code:
            sys.stderr.write(f"{name} answers {code}\n")
            return NO_CUDA
    said = False
    while not select.select([sys.stdin], [], [], 0)[0]:
        for value in range(_BATCH):
            cuda.cuMemsetD32_v2(memory, ctypes.c_uint(value), ctypes.c_size_t(BYTES // 4))
        if code := cuda.cuCtxSynchronize():
            sys.stderr.write(f"cuCtxSynchronize answers {code}\n")
            return 1
        if not said:
            sys.stdout.write("computing\n")
            sys.stdout.flush()
            said = True
    return 0


if __name__ == "__main__":
    sys.exit(main())
