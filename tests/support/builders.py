"""Builders of the objects most tests need; each takes what the test is about, fills in the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

from arcetri_spawner.backends.base import Device
from arcetri_spawner.catalog.models import Catalog, LoadedCatalog
from arcetri_spawner.groups import EVERYONE, GroupPath, normalize_groups
from arcetri_spawner.policy.model import (
    FlavorInventory,
    Grant,
    Identity,
    Inventory,
    LiveSession,
    Standing,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
"""The moment at which tests happen."""

GIB = 1 << 30

CMS = GroupPath("/lab/cms")
ASTRO = GroupPath("/lab/astro")

_BASE: dict[str, Any] = {
    "version": 1,
    "site": {"name": "AI platform", "timezone": "Europe/Rome", "admins": ("/lab/admins",)},
    "defaults": {
        "idle": "1h",
        "lifetime": "3d",
        "hold": "10m",
        "grace": "5m",
        "stop": "30s",
    },
    "ids": {"users": "200000-299999", "groups": "300000-309999"},
    "everyone": {"flavors": ("cpu",), "volumes": ("home",)},
    "flavors": {
        "t4": {
            "title": "NVIDIA T4",
            "type": "gpu",
            "memory": 16 * GIB,
            "resource": "nvidia.com/gpu",
        },
        "rtx": {
            "title": "NVIDIA RTX 5000",
            "type": "gpu",
            "memory": 24 * GIB,
            "resource": "nvidia.com/gpu",
        },
        "a100-1g": {
            "title": "A100 slice",
            "type": "gpu",
            "memory": 5 * GIB,
            "resource": "nvidia.com/mig-1g.5gb",
            "share": "1/7",
        },
        "cpu": {"title": "No accelerator", "type": "cpu"},
    },
    "sizes": {
        "small": {"cpu": 2.0, "memory": 8 * GIB, "shm": GIB},
        "large": {"cpu": 8.0, "memory": 32 * GIB, "flavors": ("t4", "rtx")},
    },
    "environments": {
        "python": {"title": "Python", "image": "registry.example/python:1", "local": "default"},
        "torch": {
            "title": "PyTorch",
            "image": "registry.example/torch:1",
            "local": "default",
            "flavors": ("t4", "rtx", "a100-1g"),
        },
    },
    "volumes": {
        "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"},
        "cms-data": {
            "mount": "/data/cms",
            "claim": "shared",
            "path": "groups/cms",
            "mode": "ro",
        },
        "astro-data": {"mount": "/data/astro", "claim": "shared", "path": "groups/astro"},
    },
    "groups": {
        "/lab/cms": {
            "title": "CMS",
            "flavors": {"t4": {"quota": 2}, "rtx": {"limit": 1}},
            "volumes": ("cms-data",),
        },
        "/lab/astro": {"flavors": {"t4": {}, "a100-1g": {"quota": 4}}, "volumes": ("astro-data",)},
    },
}


def catalog(**changes: Any) -> Catalog:
    """A small valid catalog; keyword arguments replace whole sections."""
    return Catalog.model_validate({**_BASE, **changes})


def section(name: str, **changes: Any) -> dict[str, Any]:
    """A section of the small catalog with some of its entries changed; None removes one."""
    merged = {**_BASE.get(name, {}), **changes}
    return {key: value for key, value in merged.items() if value is not None}


def loaded(of: Catalog | None = None, digest: str = "0" * 64) -> LoadedCatalog:
    """A catalog as if read from a file."""
    return LoadedCatalog(
        catalog=of or catalog(), digest=digest, path="profiles.yaml", loaded_at=NOW
    )


def identity(
    *groups: str,
    name: str = "alice",
    account_id: str | None = None,
    standing: Standing = Standing.ADMITTED,
) -> Identity:
    """A person in some groups."""
    return Identity(
        account_id=account_id or f"id-of-{name}",
        name=name,
        groups=normalize_groups(groups),
        standing=standing,
        checked_at=NOW,
        display_name=name.title(),
    )


def inventory(
    flavors: Mapping[str, int | tuple[int, int]] | None = None,
    *,
    stale: bool = False,
    environments: Iterable[str] | None = None,
) -> Inventory:
    """An inventory of ``{flavor: total}`` or ``{flavor: (free, total)}``; absent, four of each."""
    have = dict.fromkeys(_BASE["flavors"], 4) if flavors is None else flavors
    return Inventory(
        flavors={
            name: FlavorInventory(free=entry[0], total=entry[1])
            if isinstance(entry, tuple)
            else FlavorInventory(free=entry, total=entry)
            for name, entry in have.items()
        },
        as_of=NOW,
        stale=stale,
        environments=None if environments is None else frozenset(environments),
    )


def live_session(
    flavor: str = "t4",
    group: str = CMS,
    *,
    name: str = "alice",
    account_id: str | None = None,
    server_name: str = "other",
    running: bool = True,
    waiting: bool = False,
    session_id: UUID | None = None,
) -> LiveSession:
    """A session that counts against limits and quota."""
    return LiveSession(
        id=session_id or uuid4(),
        account_id=account_id or f"id-of-{name}",
        account_name=name,
        server_name=server_name,
        group=GroupPath(group),
        flavor=flavor,
        running=running,
        started=NOW if running else None,
        waiting=waiting,
    )


def grant(
    *,
    request_id: UUID | None = None,
    account_id: str = "id-of-alice",
    username: str = "alice",
    server_name: str = "",
    group: str = CMS,
    flavor: str = "t4",
    quota: int | None = None,
    user_limit: int | None = None,
    sessions_limit: int = 2,
    requests_limit: int = 3,
    **others: Any,
) -> Grant:
    """A grant of a T4 to alice, charged to CMS."""
    groups = () if group == EVERYONE else (GroupPath(group),)
    values: dict[str, Any] = {
        "flavor_type": "gpu",
        "share": Fraction(1),
        "environment": "python",
        "size": "small",
        "cpu": 2.0,
        "memory": 8 * GIB,
        "shm": GIB,
        "image": None,
        "interpreter": "default",
        "volumes": (),
        "groups": groups,
        "catalog_digest": "0" * 64,
        "decided_at": NOW,
        "idle": timedelta(hours=1),
        "lifetime": timedelta(days=3),
        "grace": timedelta(minutes=5),
        "stop": timedelta(seconds=30),
        **others,
    }
    return Grant(
        request_id=request_id or uuid4(),
        account_id=account_id,
        username=username,
        server_name=server_name,
        group=GroupPath(group),
        flavor=flavor,
        quota=quota,
        user_limit=user_limit,
        sessions_limit=sessions_limit,
        requests_limit=requests_limit,
        **values,
    )


def device(number: int = 0, flavor: str = "t4", *, simulated: bool = True) -> Device:
    """A device with a made-up uuid."""
    kind = "SIM" if simulated else "GPU"
    return Device(uuid=f"{kind}-{number:08d}", flavor=flavor, model="Tesla T4", simulated=simulated)
