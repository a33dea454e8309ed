"""What the chart makes is right, for a matrix of values, and as careful as promised."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import connections
from tests.helm.matrix import MATRIX, MONITORING
from tests.support import apischemas, helm

Json = Mapping[str, Any]
EVERYTHING = "everything"

WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet", "Job")
CLUSTER_WIDE = ("Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding")

LOOSE = {
    "agent": {
        "runs as root": "the kubelet's PodResources socket and the node's processes are root's",
        "adds SYS_ADMIN": "NVML tells of MIG slices to nobody else",
        "sees the node's processes": "NVML names processes, not pods",
        "mounts /var/lib/arcetri": "its spool outlives the pod",
        "mounts /var/lib/kubelet/pod-resources": "who holds which device",
    },
    "provisioner": {
        "runs as root": "it gives folders to people",
        "adds CHOWN": "it gives folders to people",
        "adds DAC_OVERRIDE": "it makes folders in folders that are others'",
        "adds FOWNER": "it sets the modes of what is others'",
        "adds FSETID": "group folders are setgid",
    },
}
"""Where a pod is not of the Pod Security level "restricted", and why."""


@pytest.fixture(params=MATRIX)
def objects(request: pytest.FixtureRequest) -> list[Json]:
    return helm.render(MATRIX[request.param], api_versions=MONITORING)


def _everything() -> list[Json]:
    return list(helm.render(MATRIX[EVERYTHING], api_versions=MONITORING))


def _pods(objects: list[Json]) -> Iterator[tuple[str, Json, Json]]:
    """Every pod that comes of the objects: its component, metadata and spec."""
    for one in objects:
        template = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
        if one["kind"] in (*WORKLOADS, "Pod"):
            metadata, spec = template["metadata"], template["spec"]
            metadata = {"namespace": one["metadata"]["namespace"], **metadata}
            yield metadata["labels"]["app.kubernetes.io/component"], metadata, spec


def _containers(spec: Json) -> list[Json]:
    return [*spec.get("initContainers", []), *spec["containers"]]


@pytest.mark.parametrize("name", MATRIX)
def test_helm_finds_nothing_to_complain_of(name: str) -> None:
    values = yaml.safe_dump(dict(MATRIX[name]))
    result = helm.call("lint", "--strict", helm.CHART, "--values=-", stdin=values)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout + result.stderr


def test_the_api_servers_schemas_find_nothing_either(objects: list[Json]) -> None:
    own = [one for one in objects if not one["apiVersion"].startswith("monitoring.coreos.com/")]
    wrong = {
        f"{one['kind']} {one['metadata']['name']}": found
        for one in own
        if (found := apischemas.mistakes(one))
    }
    assert not wrong
    assert len(own) > 8


def test_no_object_is_made_twice_and_each_says_where_it_is(objects: list[Json]) -> None:
    names = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects
    ]
    assert len(names) == len(set(names))
    assert {kind for kind, namespace, _ in names if namespace is None} <= {*CLUSTER_WIDE}
    for one in objects:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == helm.RELEASE, one["metadata"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm", one["metadata"]


def test_every_reference_is_to_something_that_is_there(objects: list[Json]) -> None:
    """Service accounts, and pods behind services and bindings."""
    accounts = {
        (one["metadata"]["namespace"], one["metadata"]["name"])
        for one in objects
        if one["kind"] == "ServiceAccount"
    }
    given = {(helm.NAMESPACE, "jupyter"), (helm.NAMESPACE, "hub")}  # made by the site
    for _, metadata, spec in _pods(objects):
        if account := spec.get("serviceAccountName"):
            assert (metadata["namespace"], account) in accounts | given
    for one in objects:
        for subject in one.get("subjects", ()):
            assert (subject["namespace"], subject["name"]) in accounts | given
        if one["kind"] == "Service":
            behind = [
                spec
                for _, metadata, spec in _pods(objects)
                if metadata["namespace"] == one["metadata"]["namespace"]
                and one["spec"]["selector"].items() <= metadata["labels"].items()
            ]
            (spec,) = behind
            ports = {port["name"] for each in _containers(spec) for port in each.get("ports", ())}
            assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports


def test_pods_are_restricted_but_for_what_is_explained(objects: list[Json]) -> None:
    for component, _, spec in _pods(objects):
        assert {*_loose(spec)} <= {*LOOSE.get(component, ())}, component


def test_each_explanation_is_still_needed() -> None:
    found: dict[str, set[str]] = {}
    for component, _, spec in _pods(_everything()):
        found.setdefault(component, set()).update(_loose(spec))
    assert {name: loose for name, loose in found.items() if loose} == {
        name: {*loose} for name, loose in LOOSE.items()
    }


def _loose(spec: Json) -> Iterator[str]:
    """In what a pod is not of the level "restricted" (or its root file system can be written)."""
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostIPC"):
        if spec.get(key):
            yield f"has {key}"
    if spec.get("hostPID"):
        yield "sees the node's processes"
    for volume in spec.get("volumes", ()):
        if path := volume.get("hostPath", {}).get("path"):
            yield f"mounts {path.removesuffix(f'/{helm.NAMESPACE}-{helm.RELEASE}')}"
    for container in _containers(spec):
        own = {**pod, **container.get("securityContext", {})}
        if not own.get("runAsNonRoot") or own.get("runAsUser") == 0:
            yield "runs as root"
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            yield "may gain privileges"
        if own.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield "makes any system call"
        if not own.get("readOnlyRootFilesystem"):
            yield "writes its root file system"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()):
            yield "keeps capabilities"
        yield from (f"adds {name}" for name in capabilities.get("add", ()))


def test_every_container_says_what_it_needs_and_which_image(objects: list[Json]) -> None:
    for component, _, spec in _pods(objects):
        for container in _containers(spec):
            where = f"{component}, {container['name']}"
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys(), where
            assert "memory" in resources["limits"], where
            name = container["image"].rpartition("/")[2]
            assert "@sha256:" in name or ":" in name, where
            assert not name.endswith(":latest"), where


def test_what_serves_is_looked_after(objects: list[Json]) -> None:
    for component, _, spec in _pods(objects):
        for container in spec["containers"]:
            if container.get("ports") and container["name"] != "iam":
                assert "livenessProbe" in container, component
                # A Service sends nobody to what is not ready; only metrics need none.
                metrics_only = {port["name"] for port in container["ports"]} == {"metrics"}
                assert metrics_only or "readinessProbe" in container, component


def test_who_asks_the_api_server_has_an_account_of_its_own_and_nobody_else_a_token(
    objects: list[Json],
) -> None:
    bound = {
        (subject["namespace"], subject["name"])
        for one in objects
        for subject in one.get("subjects", ())
    }
    for component, metadata, spec in _pods(objects):
        account = spec.get("serviceAccountName")
        if spec.get("automountServiceAccountToken") is False:
            assert (metadata["namespace"], account) not in bound, component
        else:
            assert account, component
            assert (metadata["namespace"], account) in bound, component


def test_pods_are_told_of_no_services(objects: list[Json]) -> None:
    for component, _, spec in _pods(objects):
        assert spec["enableServiceLinks"] is False, component


def test_no_secret_is_in_an_environment_but_by_reference(objects: list[Json]) -> None:
    secret = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Secret"}
    values = [
        str(value)
        for one in secret.values()
        for value in one.get("stringData", {}).values()
        if len(str(value)) >= 32
    ]
    rest = json.dumps([one for one in objects if one["kind"] != "Secret"])
    assert not [value for value in values if value in rest]


def test_the_table_of_connections_is_about_the_charts_own_pods() -> None:
    """The labels, namespaces and ports that policies are tried with are those of the pods."""
    here = connections.pods()
    served = {
        "hub": {8081}, "proxy": {8000, 8001}, "ledger": {8010}, "agent": {8011},
        "provisioner": {8020}, "prepuller": {8012}, "queues": set(), "test": set(),
    }  # fmt: skip
    found = {}
    for component, metadata, spec in _pods(_everything()):
        namespace, labels = here[component]
        assert metadata["namespace"] == namespace
        assert labels.items() <= metadata["labels"].items()
        found[component] = {
            port["containerPort"] for one in spec["containers"] for port in one.get("ports", ())
        }
    assert found == served


@pytest.mark.parametrize("name", MATRIX)
def test_nothing_is_made_that_the_cluster_does_not_know(name: str) -> None:
    plain = helm.render(MATRIX[name])
    assert not [one for one in plain if "monitoring.coreos.com" in one["apiVersion"]]


def test_objects_of_prometheus_operator_are_made_where_it_is() -> None:
    kinds = {one["kind"] for one in _everything()}
    assert {"ServiceMonitor", "PrometheusRule"} <= kinds


def test_a_long_name_of_a_release_still_gives_names_that_may_be() -> None:
    release = "a" * 53
    for one in helm.render(MATRIX[EVERYTHING], release=release, namespace="elsewhere"):
        name = one["metadata"]["name"]
        assert len(name) <= 63, name
        assert not name.endswith("-")
        for value in one["metadata"]["labels"].values():
            assert len(value) <= 63, value


def test_the_chart_holds_no_file_that_is_not_its_own() -> None:
    kinds = {path.suffix for path in Path(helm.CHART).rglob("*") if path.is_file()}
    assert kinds <= {".yaml", ".tpl", ".txt", ".json", ".py", ""}
