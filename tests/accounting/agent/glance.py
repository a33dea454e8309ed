"""Look at the GPUs through NVML, once a line of standard input; prints a look a line as JSON."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

import structlog

from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.sampler.nvml import NvmlSampler


def main(interval_ms: int) -> None:
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
            "errors": figures.nvml_errors,
            "present": None if look.present is None else sorted(look.present),
            "sightings": {one.device.uuid: asdict(one) for one in look.sightings},
            "readings": {one.uuid: asdict(one) for one in look.readings},
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
