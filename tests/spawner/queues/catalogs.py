"""Catalogs and nodes for tests of queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.catalog import check
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.queues.farm import Farm, Pool
from arcetri_spawner.queues.names import Names
from arcetri_spawner.queues.plan import Plan, plan

GPU = "nvidia.com/gpu"
T4 = {"nvidia.com/gpu.product": "Tesla-T4"}
NAMES = Names("farm", "sessions")
EXAMPLE = Path(__file__).parents[3] / "hub" / "arcetri_hub" / "catalogs" / "example.yaml"
TEXT: dict[str, Any] = {
    "version": 1,
    "defaults": {"idle": "1h", "lifetime": "3d", "hold": "10m", "grace": "5m", "stop": "30s"},
    "ids": {"users": "200000-299999", "groups": "300000-309999"},
    "flavors": {
        "t4": {"title": "T4", "resource": GPU, "nodes": T4},
        "cpu": {"title": "No accelerator"},
    },
    "sizes": {"small": {"cpu": 2, "memory": "4Gi"}},
    "environments": {"python": {"title": "Python", "image": "registry.example/python:1"}},
    "groups": {"/cms": {"flavors": {"t4": {"quota": 2}}}},
}


def catalog(path: Path, **sections: Any) -> Catalog:
    """A small catalog, with other sections; None leaves one out."""
    path = path / "profiles.yaml"
    kept = {name: one for name, one in {**TEXT, **sections}.items() if one is not None}
    path.write_text(yaml.safe_dump(kept), encoding="utf-8")
    result = check(path)
    assert result.catalog is not None, [one.render() for one in result.findings]
    return result.catalog.catalog


def node(name: str, gpus: int = 0, labels: dict[str, str] | None = None, **more: Any) -> Any:
    """A node of 8 cores and 32 GiB."""
    amounts = {"cpu": "8", "memory": "32Gi", "pods": "110", GPU: str(gpus)}
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": more,
        "status": {"allocatable": amounts},
    }


def planned(made: Catalog, capacity: dict[str, int]) -> Plan:
    """The plan for a farm of this capacity, whose flavours share nothing."""
    pools = tuple(Pool({name: amount}, amount) for name, amount in capacity.items())
    return plan(made, Offering.of(made), Farm(capacity, pools), NAMES)
