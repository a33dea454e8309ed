"""What keeping the queues of a large catalog costs: requests to the API server, counted.

200 groups, each with 6 of 20 flavours, on the real Kueue: made once, looked at again unchanged, and
again after one group's quota is another. Writes are counted where they are sent, and what has
changed is read from the objects themselves.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config

from arcetri_spawner.catalog import parse
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.queues.changes import KINDS
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.sync import Queues
from benchmarks.catalog import large_catalog
from benchmarks.cluster import site
from kueue_client import Kueue
from kueue_client.objects import Objects
from tests.cluster import kueue as real

GROUPS = 200
FLAVORS = 20
GRANTED = 6
NAMES = Names("bench", "bench-sessions")


def run(groups: int = GROUPS) -> dict[str, Any]:
    """Measure, and return the figures."""
    text = large_catalog(groups, FLAVORS, GRANTED)
    first = text.index("quota: ", text.index(f"/lab/team-{groups // 2}:"))
    end = text.index(",", first)
    before, after = _catalog(text), _catalog(f"{text[:first]}quota: 9{text[end:]}")
    with (
        tempfile.TemporaryDirectory(prefix="arcetri-bench-") as name,
        site.started("sync") as cluster,
    ):
        real.install(cluster)
        cluster.run(["kubectl", "create", "namespace", NAMES.namespace])
        with (
            real.reachable(cluster, Path(name)) as path,
            Kueue.from_kubeconfig(path) as kueue,
        ):
            made = asyncio.run(_sync(path, before))
            there = _versions(kueue)
            same = asyncio.run(_sync(path, before))
            if _versions(kueue) != there:
                raise RuntimeError("an unchanged catalog has changed objects")
            changed = asyncio.run(_sync(path, after))
            now = _versions(kueue)
    touched = sorted(one for one in now if now[one] != there.get(one))
    if touched != [f"ClusterQueue {NAMES.cluster_queue(f'/lab/team-{groups // 2}')}"]:
        raise RuntimeError(f"one group's quota has changed {touched}")
    return {
        "groups": groups,
        "flavors": FLAVORS,
        "objects": len(there),
        "made": made,
        "unchanged": same,
        "one_change": {**changed, "objects": len(touched)},
    }


def _catalog(text: str) -> Catalog:
    found = parse(text.encode(), "profiles.yaml").catalog
    if found is None:
        raise RuntimeError("the benchmark's catalog is wrong")
    return found.catalog


async def _sync(kubeconfig: Path, catalog: Catalog) -> dict[str, Any]:
    """Keep the queues once; the requests it took, and the seconds."""
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    api = client.ApiClient(configuration)
    asked: Counter[str] = Counter()
    call = api.call_api

    async def counted(method: str, *more: Any, **options: Any) -> Any:
        asked[method] += 1
        return await call(method, *more, **options)

    api.call_api = counted
    began = time.monotonic()
    try:
        queues = Queues(api, NAMES)
        outlook = await queues.look(catalog)
        await queues.carry_out(outlook)
    finally:
        await api.close()
    reads = asked.pop("GET", 0)
    return {
        "reads": reads,
        "writes": sum(asked.values()),
        "seconds": time.monotonic() - began,
    }


def _versions(kueue: Kueue) -> dict[str, tuple[str, int | None]]:
    """Every object's uid and generation: the status, which is Kueue's, has no part in it."""
    found = {}
    everything: dict[str, Objects[Any]] = {
        one.kind.__name__: one
        for one in vars(kueue).values()
        if isinstance(one, Objects) and one.kind in KINDS
    }
    for kind, objects in everything.items():
        for one in objects.list(labels=NAMES.selector).items:
            found[f"{kind} {one.name}"] = (one.metadata.uid, one.metadata.generation)
    return found
