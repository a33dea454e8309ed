"""What a source of allocations cannot know of devices, and NVML does. Pure."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from arcetri_accounting.agent.allocations import Started
from arcetri_accounting.agent.presence import Presences
from arcetri_accounting.contract.podmarks import OUTSIDE
from arcetri_accounting.contract.share import SHARE_UNITS
from arcetri_accounting.contract.usage import Allocation


def described(event: Started, presences: Presences) -> Started:
    """A start whose devices have their models, where the source did not say them.

    Nobody has granted what lies outside of the platform: there a slice's share is its weight.
    """
    if all(one.model or not one.device for one in event.allocations):
        return event
    return replace(
        event, allocations=tuple(_described(one, presences) for one in event.allocations)
    )


def _described(one: Allocation, presences: Presences) -> Allocation:
    known = presences.known.get(one.device)
    if one.model or known is None:
        return one
    found: dict[str, object] = {"model": known.device.model}
    if one.group == OUTSIDE and not one.shared and known.device.weight:
        found["share"] = Fraction(known.device.weight, SHARE_UNITS)
    return one.model_copy(update=found)
