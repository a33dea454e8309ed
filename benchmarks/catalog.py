"""Loading and checking a large catalog, against what PyYAML's C loader needs for the same file.

The catalog has 1,000 groups and 60 flavours; each group grants 20 of them, as the groups of a farm
do that shares its devices. Ours includes positions, models, cross-checks and warnings; the
reference is ``yaml.load`` with ``CSafeLoader`` and nothing else. CPU time of this process.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import Any

import yaml

from arcetri_spawner.catalog import parse
from benchmarks.stats import interleave, ratio_of_medians

GROUPS = 1_000
FLAVORS = 60
GRANTED = 20
TARGET = 4.0
_HEAD = """\
version: 1
site: {name: AI platform, timezone: Europe/Rome, admins: [/lab/admins]}
defaults: {idle: 1h, lifetime: 3d, hold: 10m, grace: 5m, stop: 30s}
ids: {users: 200000-299999, groups: 300000-309999}
everyone: {flavors: [cpu], volumes: [home]}
sizes:
  small: {cpu: 2, memory: 8Gi, shm: 2Gi}
environments:
  python: {title: Python, image: "registry.example/arcetri/minimal:2026.11", local: default}
"""


def large_catalog(groups: int = GROUPS, flavors: int = FLAVORS, granted: int = GRANTED) -> str:
    """Return a valid catalog without warnings, the same at every call."""
    draw = random.Random(1)  # noqa: S311 - the same catalog every time, not a secret
    lines = [_HEAD.rstrip(), "flavors:", "  cpu: {title: No accelerator}"]
    lines += [
        f"  gpu-{i}: {{title: GPU {i}, memory: 16Gi, resource: nvidia.com/gpu,"
        f" nodes: {{nvidia.com/gpu.product: GPU-{i}}}}}"
        for i in range(flavors - 1)
    ]
    lines += [
        "volumes:",
        '  home: {mount: "/home/{username}", claim: shared, path: "home/{username}"}',
    ]
    lines += [
        f"  data-{i}: {{mount: /data/{i}, claim: shared, path: groups/{i}}}" for i in range(groups)
    ]
    lines.append("groups:")
    for i in range(groups):
        lines += [
            f"  /lab/team-{i}:",
            f"    title: Team {i}",
            f"    leads: [/lab/team-{i}/leads]",
            f"    volumes: [data-{i}]",
            "    flavors:",
        ]
        # Every flavour is granted to somebody, whatever is drawn.
        chosen = {i % (flavors - 1), *draw.sample(range(flavors - 1), granted - 1)}
        lines += [
            f"      gpu-{k}:"
            f" {{quota: {draw.randint(2, 8)}, borrow: {draw.randint(0, 2)}, limit: 2}}"
            for k in sorted(chosen)
        ]
    return "\n".join(lines) + "\n"


def run(pairs: int = 30) -> dict[str, Any]:
    """Measure, print, and return the figures."""
    data = large_catalog().encode()
    result = parse(data, "profiles.yaml")
    if result.findings:
        raise RuntimeError(f"the benchmark's catalog is wrong: {result.findings[0].render()}")
    ours, reference = interleave(
        lambda: _cpu(lambda: parse(data, "profiles.yaml")),
        lambda: _cpu(lambda: yaml.load(data, Loader=yaml.CSafeLoader)),
        pairs=pairs,
    )
    ratio = ratio_of_medians(ours, reference)
    print(  # noqa: T201 - a benchmark's output
        f"catalog of {GROUPS} groups and {FLAVORS} flavours, {len(data):,} bytes:"
        f" load and check / CSafeLoader = {ratio} s of CPU; target <= {TARGET}"
    )
    return {
        "name": "catalog",
        "what": "load and check a catalog of 1,000 groups and 60 flavours / yaml.CSafeLoader, CPU",
        "bytes": len(data),
        "target": TARGET,
        "met": ratio.high <= TARGET,
        **ratio.to_json(),
    }


def _cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one go, begun without another's garbage."""
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    run()
