"""What ``arcetri-agent look`` prints."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from arcetri_accounting.agent.allocations import Ended, SourceError, Started
from arcetri_accounting.agent.clock import SystemClock
from arcetri_accounting.agent.figures import Figures
from arcetri_accounting.agent.journal import LeaseJournal
from arcetri_accounting.agent.readings import Reading
from arcetri_accounting.agent.sampler import Look
from arcetri_accounting.agent.sampler.nvml import NvmlSampler


def devices(seconds: float) -> Iterator[str]:
    """Look at the devices of this machine for some seconds; yields lines."""
    clock = SystemClock()
    sampler = NvmlSampler(clock, Figures(), max(round(seconds * 1000), 2000))
    sampler.look(clock.now(), frozenset())
    time.sleep(seconds)
    look = sampler.look(clock.now(), frozenset())
    sampler.close()
    yield from described(look)


def described(look: Look) -> Iterator[str]:
    """A look in words, one line a device."""
    if not look.available:
        yield "NVML does not answer: allocations count, their use is unobserved."
        return
    for reading in sorted(look.readings, key=lambda one: (one.device.parent, one.device.uuid)):
        device = reading.device
        parts = [device.uuid, device.model, "lost" if reading.down else "up"]
        if device.weight == 0:
            parts.append("in MIG mode")
        elif not reading.down:
            parts += _seen(reading)
        yield "  ".join(parts)
    if not look.readings:
        yield "NVML answers, and there is no GPU."
    if look.silent:
        yield f"{look.silent} GPUs or instances have not answered in time."


def _seen(reading: Reading) -> list[str]:
    length = sum(end - begin for begin, end, _value in reading.busy)
    if length:
        busy = sum((end - begin) * value for begin, end, value in reading.busy) / length
        parts = [f"used {busy / 100:.1f} %"]
    else:
        parts = ["use cannot be measured"]
    parts.append("occupied" if reading.occupied else "no process")
    if reading.memory is not None:
        parts.append(f"{reading.memory / 2**30:.2f} GiB")
    if reading.energy is not None and reading.energy[1] > reading.energy[0]:
        begin, end, energy = reading.energy
        parts.append(f"{energy / (end - begin):.0f} W")
    return parts


def sessions(journal: Path) -> Iterator[str]:
    """What holds devices according to a journal; yields lines."""
    try:
        events = LeaseJournal(journal, "look").poll(0)
    except SourceError as error:
        yield f"The journal cannot be read: {error}"
        return
    running: dict[str, Started] = {}
    for event in events:
        if isinstance(event, Started):
            running[event.session] = event
        elif isinstance(event, Ended):
            running.pop(event.session, None)
    for session, event in running.items():
        held = ", ".join(one.device for one in event.allocations if one.device) or "no device"
        first = event.allocations[0]
        yield f"{session}  {event.username}  {first.group}  {first.flavor}  {held}"
    if not running:
        yield "No session runs."
