"""Sets of values with which the chart must be right, from the least to all at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.helm import connections
from tests.support import helm

ROOT = Path(__file__).parents[2]
MONITORING = (
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
)
_SHARED = {"storage": {"claims": {"shared": {"size": "1Ti", "source": connections.NFS}}}}
_PLACED = {
    "nodeSelector": {"role": "platform"},
    "tolerations": [{"key": "platform", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
                ]
            }
        }
    },
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.org/owner": "it"},
    "extraEnv": {"HTTPS_PROXY": "http://proxy.example.org:3128", "LEVEL": 3},
}

MATRIX: Mapping[str, Mapping[str, Any]] = {
    "the least": helm.LEAST,
    "the example": {
        "profiles": {"version": 1},
        **yaml.safe_load((ROOT / "helm" / "example" / "site.yaml").read_text(encoding="utf-8")),
    },
    "a try": {
        "profiles": "version: 1\n",
        "images": {"registry": "registry.example.org/arcetri", "tag": "2026.11"},
        "iam": {"development": True},
        **_SHARED,
    },
    "everything": helm.merged(
        connections.everything(),
        dict.fromkeys(("hub", "proxy", "ledger", "agents", "provisioner"), _PLACED),
        {
            "images": {"pullSecrets": ["registry"], "hub": {"digest": f"sha256:{'0' * 64}"}},
            "prepuller": _PLACED,
            "queues": _PLACED,
            "ingress": {"enabled": True, "host": "ai.example.org", "className": "nginx"},
            "hub": {"extraConfig": {"site": "c.KubeSpawner.node_selector = {}\n"}},
            "storage": {"claims": {"scratch": {"size": "10Gi", "storageClassName": "fast"}}},
        },
    ),
    "beside zero-to-jupyterhub": helm.merged(
        helm.LEAST, {"hub": {"enabled": False, "publicUrl": "https://ai.example.org"}}, _SHARED
    ),
    "an external database": helm.merged(helm.LEAST, {"database": {"existingSecret": "db"}}),
    "an ingress with TLS": helm.merged(
        helm.LEAST,
        {
            "ingress": {
                "enabled": True,
                "host": "ai.example.org",
                "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
                "tls": {"secretName": "ai-tls"},
            }
        },
    ),
    "an existing catalog and secret": helm.merged(
        {**helm.LEAST, "profiles": {"existingConfigMap": "catalog"}},
        {"hub": {"existingSecret": "keys"}},
    ),
    "no network policies": helm.merged(helm.LEAST, {"networkPolicy": {"enabled": False}}),
    "namespaces that are there": helm.merged(
        helm.LEAST,
        _SHARED,
        {
            "sessions": {"create": False, "namespace": "people", "strictGroups": True},
            "agents": {"create": False, "namespace": "watchers", "migMonitoring": False},
            "provisioner": {"create": False, "namespace": "keepers"},
            "prepuller": {"create": False, "namespace": "pulls"},
            "hub": {"serviceAccount": {"create": False, "name": "jupyter"}},
        },
    ),
    "as little as there can be": helm.merged(
        helm.LEAST,
        {name: {"enabled": False} for name in ("ledger", "agents", "provisioner", "prepuller")},
        {"monitoring": {"enabled": False}, "networkPolicy": {"enabled": False}},
    ),
}
