"""Homes, group folders, datasets and scratch on a real cluster, over a real shared file system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import arcetri_hub

pytestmark = pytest.mark.cluster

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"
NAMESPACE = "storage-sessions"
SCRATCH_CLASS = "arcetri-test-nvme"


def catalog(image: str) -> dict[str, Any]:
    """The demonstration's people and groups, without accelerators."""
    entry = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    entry["flavors"] = {"cpu": {"title": "No accelerator"}}
    entry["environments"] = {"python": {"title": "Python", "image": image}}
    entry["sizes"] = {"small": {"cpu": 0.1, "memory": "512Mi", "shm": "64Mi"}}
    entry["volumes"] = {
        "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"},
        "datasets": {"mount": "/data/open", "claim": "shared", "path": "data/open", "mode": "ro"},
        "cms": {"mount": "/data/cms", "claim": "shared", "path": "groups/cms"},
        "virgo": {"mount": "/data/virgo", "claim": "shared", "path": "groups/virgo"},
        "scratch": {"mount": "/scratch", "scratch": {"size": "64Mi"}},
        "nvme": {
            "mount": "/nvme",
            "scratch": {"size": "100Mi", "storage_class": SCRATCH_CLASS},
        },
        "small": {"mount": "/small/{username}", "claim": "small", "path": "{username}"},
    }
    entry["everyone"] = {"flavors": ["cpu"], "volumes": ["home", "datasets", "scratch"]}
    for group, volumes in (("cms", ["cms"]), ("virgo", ["virgo", "nvme"])):
        entry["groups"][f"/arcetri/{group}"] = {"volumes": volumes}
    del entry["groups"]["/arcetri/students"]
    entry["site"]["members"] = ["/arcetri"]
    del entry["local"]
    return dict(entry)
