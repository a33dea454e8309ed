"""The devices that the real kubelet hands out, by the ids of the fake NVML library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import addresses, images
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT, Layout, ids, nvml
from tests.cluster.pods import pending, pod, running
from tests.support.nvml import FakeMachine

GPU, SLICE, FPGA = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "amd.com/v70"


@pytest.fixture
def layout(cluster: Cluster) -> Iterator[None]:
    """The node's devices as they were, whatever the test did to them."""
    yield
    cluster.offer(DEFAULT_LAYOUT)


@pytest.mark.cluster
def test_a_pod_holds_exactly_the_device_that_podresources_says(
    cluster: Cluster, namespace: str
) -> None:
    base = cluster.load(images.BASE)
    wait = {"command": ["sh", "-c", "env; sleep inf"]}
    for number, resource in enumerate((GPU, SLICE, FPGA)):
        name = f"holder-{number}"
        cluster.apply(pod(name, namespace, image=base, devices={resource: 1}, container=wait))
        cluster.until("pod", name, running, namespace=namespace)
        (held,) = cluster.devices()[namespace, name, resource]
        assert held in ids(DEFAULT_LAYOUT, resource)
        variable = "AMD_COM_V70_DEVICES" if resource == FPGA else "NVIDIA_VISIBLE_DEVICES"
        told = cluster.run(["kubectl", "logs", f"--namespace={namespace}", name])
        assert f"{variable}={held}" in told.splitlines()


@pytest.mark.cluster
def test_one_more_than_there_are_waits_until_one_is_free(cluster: Cluster, namespace: str) -> None:
    cluster.free(GPU)
    names = ["first", "second", "third"]
    for name in names[:2]:
        cluster.apply(pod(name, namespace, devices={GPU: 1}))
        cluster.until("pod", name, running, namespace=namespace)
    held = [cluster.devices()[namespace, name, GPU][0] for name in names[:2]]
    assert sorted(held) == ids(DEFAULT_LAYOUT, GPU)
    cluster.apply(pod("third", namespace, devices={GPU: 1}))
    waiting = cluster.until("pod", "third", pending, namespace=namespace)
    (said,) = [c["message"] for c in waiting["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert f"Insufficient {GPU}" in said
    cluster.run(["kubectl", "delete", "pod", "first", f"--namespace={namespace}"])
    cluster.until("pod", "third", running, namespace=namespace)
    assert cluster.devices()[namespace, "third", GPU] == [held[0]]


@pytest.mark.cluster
@pytest.mark.usefixtures("layout")
def test_the_node_follows_a_card_that_is_cut_anew_and_a_kubelet_that_comes_back(
    cluster: Cluster,
) -> None:
    cut: Layout = {
        **DEFAULT_LAYOUT,
        SLICE: [],
        "nvidia.com/mig-3g.20gb": [
            {"id": "MIG-7", "gpu": "GPU-2", "model": "NVIDIA A100-PCIE-40GB", "profile": "3g.20gb"}
        ],
    }
    expected = {GPU: "2", FPGA: "1", SLICE: "0", "nvidia.com/mig-3g.20gb": "1"}
    cluster.offer(cut)
    cluster.stop("kubelet")
    cluster.start("kubelet")
    cluster.until(
        "node",
        addresses.NODE_NAME,
        lambda node: {key: node["status"]["allocatable"].get(key) for key in expected} == expected,
    )


@pytest.mark.component
def test_the_fake_nvml_library_shows_the_same_devices(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path / "script")
    machine.has(nvml(DEFAULT_LAYOUT))
    look = (
        "import json, pynvml as n\n"
        "n.nvmlInit()\n"
        "cards = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]\n"
        "found = [n.nvmlDeviceGetUUID(card) for card in cards]\n"
        "for number in range(2):\n"
        "    slice = n.nvmlDeviceGetMigDeviceHandleByIndex(cards[-1], number)\n"
        "    found.append(n.nvmlDeviceGetUUID(slice))\n"
        "print(json.dumps(found))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", look],
        env={**os.environ, **machine.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(answer.stdout)
    offered = ids(DEFAULT_LAYOUT, GPU) + ids(DEFAULT_LAYOUT, SLICE)
    assert sorted(seen) == sorted([*offered, "GPU-2"])
