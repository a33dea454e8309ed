"""Five hundred starts at once, on simulated nodes with room for all: how many fail."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.cluster import hubs, site
from benchmarks.hubs import Hub

CROWD = 500
PATIENCE = 480.0


def run(crowd: int = CROWD) -> dict[str, Any]:
    """Ask for everybody's session at the same moment, and follow each until it is ready."""
    users = site.people(crowd)
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("crowd") as cluster,
    ):
        site.simulate(cluster, -(-crowd // site.DEVICES_A_NODE))
        with hubs.ours(cluster, Path(name), "none", users, flavor="simulated", whole=True) as hub:
            cpu, begin = hub.cpu(), time.monotonic()
            outcomes = asyncio.run(_everybody(hub))
            elapsed, spent = time.monotonic() - begin, hub.cpu() - cpu
            pods = cluster.kubectl("get", "pods", f"--namespace={site.OURS}")["items"]
    seconds = sorted(one for one in outcomes if isinstance(one, float))
    return {
        "asked": crowd,
        "ready": len(seconds),
        "failures": sorted({str(one) for one in outcomes if not isinstance(one, float)}),
        "pods": len(pods),
        "median_seconds": seconds[len(seconds) // 2] if seconds else None,
        "last_seconds": elapsed,
        "hub_cpu_seconds_per_start": spent / crowd,
    }


async def _everybody(hub: Hub) -> list[float | BaseException]:
    limits = httpx.Limits(max_connections=None)
    timeout = httpx.Timeout(PATIENCE)
    async with httpx.AsyncClient(
        base_url=f"{hub.url}/hub/api", limits=limits, timeout=timeout, trust_env=False
    ) as client:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(
                *(_one(client, hub, user) for user in hub.tokens), return_exceptions=True
            )


async def _one(client: httpx.AsyncClient, hub: Hub, user: str) -> float:
    headers = {"Authorization": f"token {hub.tokens[user]}"}
    begin = time.monotonic()
    asked = await client.post(f"/users/{user}/server", json=hub.options, headers=headers)
    asked.raise_for_status()
    async with client.stream("GET", f"/users/{user}/server/progress", headers=headers) as answer:
        async for line in answer.aiter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("ready"):
                return time.monotonic() - begin
            if event.get("failed"):
                raise RuntimeError(str(event.get("message")))
    raise RuntimeError("the progress ended without a server")
