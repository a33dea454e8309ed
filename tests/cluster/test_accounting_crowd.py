"""The agent's memory while it works: a crowd on its node, most of it on a slice of a GPU each.

Kubelet, API server, ledger and pods are real; behind the ids of the slices are no GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import accounting, addresses
from tests.cluster.accounting import Site, session
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT, Layout, ids, nvml

pytestmark = pytest.mark.cluster

SESSIONS = "crowded"
MODEL, PROFILE = "NVIDIA A100-SXM4-40GB", "1g.5gb"
SLICE = f"nvidia.com/mig-{PROFILE}"
CROWD = int(os.environ.get("ARCETRI_CROWD", "8"))
"""Sessions; ``make soak`` has sixty, which take a node of two cores minutes to start and end."""
INSTANCES = 7
GPUS = CROWD // INSTANCES
SLICES: Layout = {
    SLICE: [
        {"id": f"MIG-{gpu}-{part}", "gpu": f"GPU-{gpu}", "model": MODEL, "profile": PROFILE}
        for gpu in range(GPUS)
        for part in range(INSTANCES)
    ]
}
CYCLES = 6
"""Of a second each, in which all of them are counted."""
LIMIT_KIB = 90_000_000 // 1024


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """An agent on a node with GPUs of seven slices, each slice busy with a process."""
    for resource in DEFAULT_LAYOUT:
        cluster.free(resource)
    cluster.offer(SLICES)
    try:
        with accounting.on(cluster, tmp_path, SESSIONS) as made:
            made.node.has(_busy(nvml(SLICES)))
            cluster.until(
                "node",
                addresses.NODE_NAME,
                lambda node: node["status"]["allocatable"].get(SLICE) == str(len(SLICES[SLICE])),
            )
            yield made
    finally:
        cluster.offer(DEFAULT_LAYOUT)


def _busy(machine: str) -> str:
    lines = machine.splitlines()
    pids = iter(range(4_000_000, 5_000_000))
    return "\n".join(
        f"{line}\nprocess {next(pids)} 1000000000" if line.startswith("mig ") else line
        for line in lines
    )


def _started(site: Site) -> list[str]:
    """A crowd of sessions, by their ids; those that have no slice come last."""
    made = []
    for number in range(CROWD):
        sliced = number < len(SLICES[SLICE])
        made.append(
            session(
                SESSIONS,
                devices={SLICE: 1} if sliced else None,
                flavor="a100-1g" if sliced else "cpu",
                kind="gpu" if sliced else "cpu",
                share="1/7" if sliced else "1",
            )
        )
    site.cluster.apply(*(manifest for _, manifest in made))
    return [name for name, _ in made]


def _peak(site: Site) -> int:
    """The most memory that the agent has had, in kilobytes."""
    status = Path(f"/proc/{site.parts['agent'].pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.timeout(300)
def test_the_agent_keeps_to_its_memory_with_a_crowd_on_its_node(site: Site) -> None:
    sessions = _started(site)
    open_ = "select count(*) from usage_open"
    site.until(lambda: site.rows(open_) == [(CROWD,)], "all of them are counted", 150)
    held = site.cluster.devices()
    assert len([key for key in held if key[0] == SESSIONS]) == len(SLICES[SLICE])
    devices = site.rows(
        "select distinct a.device from usage_open o"
        " join usage_allocation a on a.id = o.allocation_id"
    )
    assert {device for (device,) in devices} == {"", *ids(SLICES, SLICE)}
    heard = "select heartbeat from usage_node"
    for _ in range(CYCLES):
        before = site.rows(heard)
        site.until(lambda before=before: site.rows(heard) > before, "they go on being counted")
    # Ten go while the others stay, as on any day.
    gone = [f"pod/session-{name}" for name in sessions[-10:]]
    site.cluster.run(["kubectl", "delete", *gone, f"--namespace={SESSIONS}", "--now"])
    site.until(lambda: site.rows(open_) == [(CROWD - len(gone),)], "ten are over")
    peak = _peak(site)
    assert peak < LIMIT_KIB, site.log()
