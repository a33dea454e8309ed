"""Look at the GPUs through NVML, once a line of standard input; prints a look a line as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import pynvml
import structlog

from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.sampler.nvml import NvmlSampler


class Counted:
    """The library, whichever it is: its functions, and how often each was called."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)
        if name == "nvmlErrorString":  # the client gives it a type
            return function

        def call(*arguments: Any) -> Any:
            self.calls[name] += 1
            return function(*arguments)

        return call


def counted() -> Counter[str]:
    """Count the calls of NVML from now on; the counts, which go on growing."""
    try:
        pynvml._LoadNvmlLibrary()
    except pynvml.NVMLError:
        return Counter()
    pynvml.nvmlLib = library = Counted(pynvml.nvmlLib)
    return library.calls


def main(interval_ms: int) -> None:
    calls = counted()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    clock, figures = SystemClock(), Figures()
    sampler = NvmlSampler(clock, figures, interval_ms)
    for line in sys.stdin:
        began = time.monotonic()
        look = sampler.look(clock.now(), frozenset(line.split()))
        answer = {
            "took": time.monotonic() - began,
            "available": look.available,
            "silent": look.silent,
            "calls": calls,
            "errors": figures.nvml_errors,
            "present": None if look.present is None else sorted(look.present),
            # One that came late is told of beside the one of now, which is the last.
            "readings": {one.device.uuid: asdict(one) for one in look.readings},
            "remade": sorted({one.device.uuid for one in look.readings if one.remade}),
            "told": [asdict(one) for one in look.readings],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
