"""The real API server takes whatever the chart makes, strictly, and its admission too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.helm.matrix import MATRIX
from tests.support import helm

pytestmark = pytest.mark.cluster

RELEASE = "strictly"
LEVEL = "pod-security.kubernetes.io/enforce"


def _objects() -> list[helm.Json]:
    return [
        one
        for values in MATRIX.values()
        for one in helm.render(values, release=RELEASE, namespace=RELEASE)
    ]


def _pods(objects: list[helm.Json]) -> Iterator[helm.Json]:
    """A pod of each workload, since it is pods whose security is enforced."""
    for number, one in enumerate(objects):
        if template := one["spec"].get("template") if "spec" in one else None:
            place = one["metadata"]["namespace"]
            metadata = {**template["metadata"], "name": f"pod-{number}", "namespace": place}
            yield {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}


@pytest.fixture(scope="module")
def objects(cluster: Cluster) -> Iterator[list[helm.Json]]:
    """All of them, and really there what others cannot do without: namespaces and accounts."""
    objects = _objects()
    made = {one["metadata"]["name"]: one for one in objects if one["kind"] == "Namespace"}
    places = {one["metadata"]["namespace"] for one in objects if "namespace" in one["metadata"]}
    given = [
        # The site's own: as strict as can be, and for agents and provisioner as their pods need.
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {LEVEL: _LEVELS.get(name, "restricted")}},
        }
        for name in sorted(places - {*made})
    ]
    accounts = [one for one in objects if one["kind"] == "ServiceAccount"]
    accounts += [_account(name) for name in ("jupyter", "hub")]
    names = [*made, *(one["metadata"]["name"] for one in given)]
    # Another run's may still be going.
    cluster.run(
        ["kubectl", "delete", "namespace", *names, "--ignore-not-found", "--now", "--timeout=90s"]
    )
    cluster.apply(*made.values(), *given)
    cluster.apply(*accounts)
    yield objects
    cluster.run(["kubectl", "delete", "namespace", *names, "--wait=false", "--now"])


_LEVELS = {"watchers": "privileged", "keepers": "baseline"}


def _account(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": RELEASE}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def _try(cluster: Cluster, objects: list[helm.Json]) -> list[str]:
    command = ["kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict"]
    text = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    said = cluster.run([*command, "--output=name", "--filename=-"], stdin=text, timeout=200)
    return said.splitlines()


def test_every_object_is_taken(cluster: Cluster, objects: list[helm.Json]) -> None:
    assert len(_try(cluster, objects)) == len(objects) > 200


def test_every_pod_is_let_into_its_namespace(cluster: Cluster, objects: list[helm.Json]) -> None:
    pods = list(_pods(objects))
    assert len(_try(cluster, pods)) == len(pods) > 30


@pytest.mark.parametrize("secret", ["ai-tls", ""])
def test_the_ingress_is_for_one_host_with_its_certificate(
    cluster: Cluster, objects: list[helm.Json], secret: str
) -> None:
    assert objects, "the namespaces are there"
    host = "ai.example.org"
    tls = {"secretName": secret} if secret else {}
    values = helm.merged(
        helm.LEAST,
        {"ingress": {"enabled": True, "host": host, "className": "nginx", "tls": tls}},
    )
    made = helm.render(values, release=RELEASE, namespace=RELEASE)
    (ingress,) = [one for one in made if one["kind"] == "Ingress"]
    command = ["kubectl", "apply", "--dry-run=server", "--validate=strict", "--output=json"]
    taken = json.loads(cluster.run([*command, "--filename=-"], stdin=yaml.safe_dump(ingress)))
    (rule,), (certificate,) = taken["spec"]["rules"], taken["spec"]["tls"]
    assert [rule["host"]] == certificate["hosts"] == [host]
    assert certificate["secretName"] == (secret or f"{RELEASE}-tls")
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/", "Prefix")
    service = path["backend"]["service"]
    (found,) = [
        one
        for one in made
        if one["kind"] == "Service" and one["metadata"]["name"] == service["name"]
    ]
    assert service["port"]["name"] in [port["name"] for port in found["spec"]["ports"]]
    # Where browsers are sent back to after a login, and whether their cookies insist on TLS.
    (settings,) = [
        json.loads(one["data"]["settings.json"])
        for one in made
        if "settings.json" in (one.get("data") or {})
    ]
    assert settings["public_url"] == f"https://{host}"


def test_a_mistake_would_be_found(cluster: Cluster, objects: list[helm.Json]) -> None:
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    with pytest.raises(AssertionError, match="replcias"):
        _try(cluster, [{**deployment, "spec": {**deployment["spec"], "replcias": 2}}])
    (loose, *_) = (one for one in _pods(objects) if one["metadata"]["namespace"] == RELEASE)
    loose["spec"] = {**loose["spec"], "hostNetwork": True}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted:latest"'):
        _try(cluster, [loose])
