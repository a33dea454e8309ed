"""Images from a real registry: pulled, and in plain words why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arcetri_spawner.backends.kubernetes.steps import steps_of
from arcetri_spawner.backends.kubernetes.trouble import pod_trouble
from arcetri_spawner.backends.kubernetes.words import Trouble
from tests.cluster import addresses, images, registry
from tests.cluster.cluster import Cluster
from tests.cluster.images import Image
from tests.cluster.pods import pod, running
from tests.cluster.registry import SECRET, Registry

pytestmark = pytest.mark.cluster

PATIENCE = 90
ALLOWED = {"imagePullSecrets": [{"name": SECRET}]}


@pytest.fixture
def site(cluster: Cluster, namespace: str) -> Registry:
    """A registry, and a namespace that has its password."""
    found = registry.started(cluster)
    cluster.apply(found.secret(namespace))
    return found


def notebook(namespace: str, image: str, *, allowed: bool = True) -> dict[str, Any]:
    made = pod("notebook", namespace, image=image, spec=ALLOWED if allowed else {})
    made["spec"]["containers"][0]["name"] = "notebook"
    return made


def trouble(site: Registry, namespace: str) -> Trouble:
    """What the page says of the pod, once something is wrong; and that its steps say the same."""
    seen: list[Trouble] = []

    def is_in_trouble(found: Any) -> bool:
        listed = site.cluster.kubectl("get", "events", f"--namespace={namespace}")["items"]
        if said := pod_trouble(found, listed):
            seen[:] = [said]
            assert steps_of(found, listed)[-1].message == said.sentence
        return bool(seen)

    site.cluster.until("pod", "notebook", is_in_trouble, namespace=namespace, patience=PATIENCE)
    return seen[0]


def plain(said: Trouble, image: str) -> bool:
    """Whether a sentence names the image, and is free of what the cluster itself said."""
    raw = ("rpc error", "ErrImagePull", "failed to", "http")
    return f'"{image}"' in said.sentence and not any(word in said.sentence for word in raw)


def test_an_image_is_pulled_by_tag_and_by_digest(site: Registry, namespace: str) -> None:
    repository = registry.repository()
    digest = site.push(repository, "2026.11")
    name = f"{addresses.REGISTRY}/{repository}"
    for number, image in enumerate(
        (f"{name}:2026.11", f"{name}@{digest}", f"{name}:2026.11@{digest}")
    ):
        made = notebook(namespace, image)
        made["metadata"]["name"] = f"notebook-{number}"
        site.cluster.apply(made)
        found = site.cluster.until(
            "pod", f"notebook-{number}", running, namespace=namespace, patience=PATIENCE
        )
        # The runtime names what it has by the first name it was pulled by.
        image_id = found["status"]["containerStatuses"][0]["imageID"]
        assert image_id.rpartition("@")[2] == digest


def test_a_pull_that_is_denied_is_said_so(site: Registry, namespace: str) -> None:
    repository = registry.repository()
    site.push(repository)
    image = f"{addresses.REGISTRY}/{repository}:1"
    site.cluster.apply(notebook(namespace, image, allowed=False))
    said = trouble(site, namespace)
    assert said.code == "image_denied"
    assert plain(said, image)
    assert "imagePullSecrets" in said.remedy
    assert said.final


@pytest.mark.parametrize("version", [":1999.01", "@sha256:" + "5" * 64])
def test_an_image_that_is_not_there_is_said_so(
    site: Registry, namespace: str, version: str
) -> None:
    repository = registry.repository()
    site.push(repository)
    image = f"{addresses.REGISTRY}/{repository}{version}"
    site.cluster.apply(notebook(namespace, image))
    said = trouble(site, namespace)
    assert said.code == "image_missing", said
    assert plain(said, image)
    assert said.final


def test_a_registry_that_is_away_is_said_so_and_waited_for(site: Registry, namespace: str) -> None:
    repository = registry.repository()
    site.push(repository)
    image = f"{addresses.REGISTRY}/{repository}:1"
    site.cluster.stop("registry")
    try:
        site.cluster.apply(notebook(namespace, image))
        said = trouble(site, namespace)
    finally:
        registry.started(site.cluster)
    assert said.code == "registry_away", said
    assert plain(said, image)
    assert not said.final
    site.cluster.until("pod", "notebook", running, namespace=namespace, patience=PATIENCE)


def test_an_image_is_published_once_and_its_tag_keeps_its_meaning(
    site: Registry, namespace: str, tmp_path: Path
) -> None:
    repository = registry.repository()
    host = f"{addresses.NODE}:{addresses.REGISTRY_PORT}"
    (tmp_path / "auth.json").write_text(site.login(host), encoding="ascii")

    def push(image: Image, tag: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from pathlib import Path; from tools.images import push;"
        program += "push(Path(sys.argv[1]), sys.argv[2], plain_http=True)"
        target = f"{host}/{repository}:{tag}"
        entering = [word for word in site.cluster.entering() if word != "--pid"]
        return subprocess.run(
            [*entering, sys.executable, "-c", program, str(images.build(image)), target],
            env={**site.cluster.environment(), "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")},
            capture_output=True,
            text=True,
            check=False,
        )

    for _ in range(2):
        assert push(images.PAUSE, "2026.11").returncode == 0
    refused = push(images.COREDNS, "2026.11")
    assert "is another image already" in refused.stderr
    image = f"{addresses.REGISTRY}/{repository}:2026.11"
    site.cluster.apply(notebook(namespace, image))
    site.cluster.until("pod", "notebook", running, namespace=namespace, patience=PATIENCE)
    (tmp_path / "auth.json").write_text("{}", encoding="ascii")
    assert "does not say whether it has" in push(images.PAUSE, "2026.12").stderr
