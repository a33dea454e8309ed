"""Whether crowds and big clusters are served as promised: ``python -m benchmarks.bounds``.

The benchmarks ``crowd`` and ``following`` measure; this ends with status 1 where a start fails or
the page follows too late, and writes no figures. ``make soak`` runs it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from benchmarks import crowd, following

FOLLOWED = 10.0
"""Seconds within which the page follows a node."""
HUB_CPU = 0.05
"""Of a core, which the hub may use meanwhile."""
Found = Mapping[str, Any]


def crowd_faults(found: Found) -> list[str]:
    """What is wrong with many starts at once: each that failed or has no pod.

    Args:
        found: As ``crowd.run`` returns it.
    """
    asked = found["asked"]
    faults = [f"a start failed: {why}" for why in found["failures"]]
    wrong = (what for what in ("ready", "pods") if found[what] != asked)
    return [*faults, *(f"{found[what]} of {asked} {what}" for what in wrong)]


def following_faults(found: Found) -> list[str]:
    """What is wrong with how the page follows nodes: the longest delay, and what it takes.

    Args:
        found: As ``following.run`` returns it.
    """
    if not found["events"]:
        return ["nothing was changed"]
    longest = found["seconds_to_follow_longest"]
    faults = []
    if longest > FOLLOWED:
        faults.append(
            f"the page followed a change after {longest:.1f} s, not within {FOLLOWED:.0f} s"
        )
    return faults + [
        f"{name} is {found[name]:.3f}, and not at most {HUB_CPU}"
        for name in ("hub_cpu_of_a_core", "hub_cpu_of_a_core_while_replaced")
        if found[name] > HUB_CPU
    ]


BOUNDS: Mapping[str, tuple[Callable[[], Found], Callable[[Found], list[str]]]] = {
    "500 starts at once": (crowd.run, crowd_faults),
    "200 nodes and 2,000 pods": (following.run, following_faults),
}


@click.command()
def main() -> None:
    """Try each, and end with status 1 where one is not as promised."""
    faults = []
    for name, (run, judge) in BOUNDS.items():
        click.echo(f"{name} …", err=True)
        found = run()
        click.echo(json.dumps({name: found}, indent=2, default=str))
        faults += [f"{name}: {fault}" for fault in judge(found)]
    for fault in faults:
        click.echo(fault, err=True)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
