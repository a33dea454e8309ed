"""Working out the spawn page's offers, against what one start costs.

The person is in 20 of 1,000 groups and is offered all 60 flavours; 500 sessions of others run and
nothing is free, so that every card needs its reasons: the most there is to do. The reference is one
start of stock JupyterHub in the same run: the CPU time of its hub and of the server it starts,
until the server is ready. The ratio to the hub's part alone is given too.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psutil

from arcetri_spawner.catalog import parse
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import offers
from arcetri_spawner.policy.model import (
    FlavorInventory,
    Identity,
    Inventory,
    LiveSession,
    Offers,
)
from benchmarks.catalog import FLAVORS, GROUPS, large_catalog
from benchmarks.hubs import Hub, stock
from benchmarks.stats import interleave, ratio_of_medians

MINE = 20
SESSIONS = 500
TARGET = 0.02
_USER = "user00"
_NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Page:
    """What the spawn page of the busiest moment is worked out from."""

    def __init__(self) -> None:
        self.catalog = _catalog()
        draw = Random(2)  # noqa: S311 - the same sessions every time, not a secret
        names = [name for name in self.catalog.flavors if name != "cpu"]
        groups = list(self.catalog.groups)
        self.identity = Identity("id", "alice", frozenset(groups[:: GROUPS // MINE]))
        self.inventory = Inventory(
            {name: FlavorInventory(total=8, free=0) for name in self.catalog.flavors}, _NOW
        )
        self.sessions = [
            _session(number, draw.choice(groups), draw.choice(names)) for number in range(SESSIONS)
        ]

    def offers(self) -> Offers:
        """Work it out."""
        return offers(self.catalog, self.identity, self.inventory, self.sessions, _NOW)

    def cpu(self) -> float:
        """Return the CPU seconds of working it out once, begun without another's garbage."""
        gc.collect()
        begun = time.process_time()
        self.offers()
        return time.process_time() - begun


def run(pairs: int = 30) -> dict[str, Any]:
    """Measure, and return the figures."""
    page = Page()
    cards = page.offers().offers
    if len(page.identity.groups) != MINE or len(cards) != FLAVORS:
        raise RuntimeError("the benchmark's person is not offered what it says")
    of_hub: list[float] = []

    def start() -> float:
        hub_cpu, server_cpu = _start(hub)
        of_hub.append(hub_cpu)
        return hub_cpu + server_cpu

    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        stock(Path(name), [_USER]) as hub,
    ):
        ours, reference = interleave(page.cpu, start, pairs=pairs, warm_up=2)
    ratio = ratio_of_medians(ours, reference)
    return {
        "name": "offers",
        "what": "offers for a user in 20 of 1,000 groups / CPU of one stock start",
        "cards": len(cards),
        "group_offers": sum(len(card.groups) for card in cards),
        "target": TARGET,
        "met": ratio.high <= TARGET,
        **ratio.to_json(),
        # The warm-up's are the first two.
        "of_the_hubs_part": ratio_of_medians(ours, of_hub[2:]).to_json(),
    }


def _start(hub: Hub) -> tuple[float, float]:
    """Start and stop one server; CPU seconds of the hub and of the server until it was ready."""
    process = psutil.Process(hub.pid)
    others = {child.pid for child in process.children(recursive=True)}
    with hub.client(_USER) as client:
        before = hub.cpu()
        hub.ask(client, _USER)
        hub.wait_ready(client, _USER)
        hub_cpu = hub.cpu() - before
        server_cpu = 0.0
        for child in process.children(recursive=True):
            if child.pid not in others:
                times = child.cpu_times()
                server_cpu += times.user + times.system
        hub.stop(client, _USER)
    if not server_cpu:
        raise RuntimeError("the stock hub's server was not found among its children")
    return hub_cpu, server_cpu


def _catalog() -> Catalog:
    loaded = parse(large_catalog().encode(), "profiles.yaml").catalog
    if loaded is None:
        raise RuntimeError("the benchmark's catalog is wrong")
    return loaded.catalog


def _session(number: int, group: GroupPath, flavor: str) -> LiveSession:
    return LiveSession(
        id=UUID(int=number),
        account_id=f"id-{number}",
        account_name=f"user{number}",
        server_name="",
        group=group,
        flavor=flavor,
        running=True,
        started=_NOW,
    )


if __name__ == "__main__":
    result = run(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
