"""The test's image registry: Debian's docker-registry, on the node, readable by a password only."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from tests.cluster import addresses, images
from tests.cluster.cluster import Cluster
from tests.cluster.configuration import REGISTRY_USER

PASSWORD = "sesame"
SECRET = "registry"
"""What the Secret with the password is called."""
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that runs."""

    cluster: Cluster

    def push(self, repository: str, tag: str = "1") -> str:
        """Give it the smallest image there is; returns the digest.

        Args:
            repository: Such as ``arcetri/tiny``; the image is ``registry.example/arcetri/tiny``.
            tag: The image's tag.
        """
        source = f"{addresses.NODE}:{addresses.REGISTRY_PORT}/{repository}:{tag}"
        ctr = ["ctr", "--namespace=k8s.io", "images"]
        self.cluster.run([*ctr, "tag", "--force", images.PAUSE.reference, source])
        user = f"{REGISTRY_USER}:{PASSWORD}"
        self.cluster.run([*ctr, "push", "--plain-http", f"--user={user}", source])
        self.cluster.run([*ctr, "rm", source])
        with self.cluster.http(addresses.NODE, addresses.REGISTRY_PORT) as client:
            answer = client.head(
                f"/v2/{repository}/manifests/{tag}",
                auth=(REGISTRY_USER, PASSWORD),
                headers={"Accept": _MANIFESTS},
            )
        return str(answer.raise_for_status().headers["Docker-Content-Digest"])

    def secret(self, namespace: str) -> dict[str, Any]:
        """The Secret by which pods of a namespace may pull."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": self.login(addresses.REGISTRY)},
        }

    def login(self, name: str) -> str:
        """The password as a client's file has it that calls the registry ``name``."""
        entry = base64.b64encode(f"{REGISTRY_USER}:{PASSWORD}".encode()).decode()
        return json.dumps({"auths": {name: {"auth": entry}}})

    def has(self, image: str) -> bool:
        """Whether the node has an image of this name now."""
        listed = self.cluster.run(["ctr", "--namespace=k8s.io", "images", "ls", "--quiet"])
        return image in listed.split()


def repository() -> str:
    """A repository that no other test has."""
    return f"test-{uuid4().hex[:8]}/tiny"


def started(cluster: Cluster) -> Registry:
    """The cluster's registry, started when it does not run."""
    if not cluster.runs("registry"):
        cluster.start("registry")
    deadline = time.monotonic() + 30
    while not _answers(cluster):
        assert time.monotonic() < deadline, "the registry does not answer"
        time.sleep(0.1)
    return Registry(cluster)


def _answers(cluster: Cluster) -> bool:
    with cluster.http(addresses.NODE, addresses.REGISTRY_PORT) as client:
        try:
            return client.get("/v2/").status_code == httpx.codes.UNAUTHORIZED
        except httpx.TransportError:
            return False
