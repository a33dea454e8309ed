"""The prepuller as the chart installs it; rendered, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.spawner.kubernetes.restricted import violations
from tests.support import helm

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
RIGHTS = ROOT / "docs" / "reference" / "prepuller-rights.yaml"
OPERATOR = "monitoring.coreos.com/v1/PodMonitor"


def rendered(**prepuller: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The chart's objects that are the prepuller's, by kind and name."""
    values = {
        "profiles": {"version": 1},
        "images": {"registry": "registry.example/arcetri", "pullSecrets": ["platform"]},
        "iam": {"development": True},
        "prepuller": prepuller,
    }
    found = helm.render(values, api_versions=[OPERATOR])
    return {
        (one["kind"], one["metadata"]["name"]): one
        for one in found
        if (one["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "prepuller"
    }


def deployment(**prepuller: Any) -> dict[str, Any]:
    return rendered(**prepuller)["Deployment", "arcetri-prepuller"]


def test_its_rights_are_those_of_the_documentation() -> None:
    objects = rendered()
    for one in yaml.safe_load_all(RIGHTS.read_text(encoding="utf-8")):
        made = objects[one["kind"], one["metadata"]["name"]]
        assert made["metadata"]["namespace"] == one["metadata"]["namespace"]
        for key in ("rules", "roleRef", "subjects"):
            assert made.get(key) == one.get(key)
    assert not any(kind.startswith("Cluster") for kind, _ in objects)


def test_what_the_operator_says_reaches_the_command() -> None:
    taint = "hub.jupyter.org/dedicated"
    made = deployment(pullSecrets=["catalog", "platform"], nodes={"pool": "gpu"}, taints=[taint])
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/arcetri/hub:0.2.0"
    assert container["args"][:3] == ["arcetri", "prepull", "run"]
    assert container["args"][4:] == [
        "--namespace=arcetri-images",
        "--release=arcetri",
        "--owner=arcetri-prepuller",
        "--port=8012",
        "--pull-secret=platform",
        "--pull-secret=catalog",
        "--node=pool=gpu",
        f"--toleration={taint}",
    ]


def test_it_may_do_nothing_where_the_platforms_secrets_are() -> None:
    objects = rendered(namespace="pulls", create=False)
    rights = [one for (kind, _), one in objects.items() if kind in ("Role", "RoleBinding")]
    assert [one["metadata"]["namespace"] for one in rights] == ["pulls", "pulls"]
    # Owners are of one's own namespace: what the DaemonSets go with must be beside them.
    assert objects["ConfigMap", "arcetri-prepuller"]["metadata"]["namespace"] == "pulls"
    assert "--namespace=pulls" in _container(objects)["args"]


def _container(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    made = objects["Deployment", "arcetri-prepuller"]
    return dict(made["spec"]["template"]["spec"]["containers"][0])


def test_its_pod_is_restricted() -> None:
    template = deployment()["spec"]["template"]
    assert violations({**template, "kind": "Pod"}) == []


def test_it_can_be_left_out_and_is_watched_where_somebody_watches() -> None:
    assert ("PodMonitor", "arcetri-prepuller") in rendered()
    assert rendered(enabled=False) == {}
