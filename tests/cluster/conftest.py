"""The cluster that a run's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from kueue_client import Kueue
from tests.cluster import kueue as real_kueue
from tests.cluster import launch, storage
from tests.cluster.cache import ClusterError
from tests.cluster.cluster import Cluster
from tests.cluster.storage import Site
from tests.support import tiers

RUNNING = "ARCETRI_TEST_CLUSTER"
"""Names a cluster that runs already (make cluster-up), for who tries one test again and again."""


@pytest.fixture(scope="session")
def cluster(worker_id: str, testrun_uid: str) -> Iterator[Cluster]:
    """A real Kubernetes, shared by all workers of this run."""
    tiers.need(*tiers.TIERS["cluster"])
    alone = worker_id == "master"
    # What pytest-xdist started this worker from, which lives as long as the run.
    owner = os.getpid() if alone else os.getppid()
    if name := os.environ.get(RUNNING):
        yield launch.find(launch.place(name))
        return
    try:
        launch.check()
    except ClusterError as error:
        pytest.skip(str(error))
    try:
        with launch.shared(f"test-{testrun_uid[:12]}", owner) as shared:
            yield shared
    except ClusterError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test's own."""
    name = f"test-{uuid4().hex[:12]}"
    cluster.run(["kubectl", "create", "namespace", name])
    yield name
    cluster.run(["kubectl", "delete", "namespace", name, "--wait=false", "--now"])


@pytest.fixture(scope="session")
def stored(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A platform with storage and three people's sessions, for the tests of several files."""
    with storage.site(cluster, tmp_path_factory.mktemp("stored")) as site:
        yield site


@pytest.fixture(scope="session")
def with_kueue(cluster: Cluster) -> Cluster:
    """The cluster, with the real Kueue in it, which this installs once a run."""
    real_kueue.install(cluster)
    return cluster


@pytest.fixture(scope="module")
def kueue(with_kueue: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kueue]:
    """Kueue, as an admin sees it."""
    folder = tmp_path_factory.mktemp("reach")
    with real_kueue.reachable(with_kueue, folder) as path, Kueue.from_kubeconfig(path) as client:
        yield client
