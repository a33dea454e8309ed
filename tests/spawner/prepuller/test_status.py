"""Which node has which image, read from pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from arcetri_hub.cli.prepull import render
from arcetri_spawner.prepuller.figures import Figures
from arcetri_spawner.prepuller.plan import Steps
from arcetri_spawner.prepuller.status import OnNode, on_nodes
from arcetri_spawner.prepuller.wanted import IMAGE

TORCH = "registry.example/torch:1"


def pod(node: str, state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    statuses = [] if state is None else [{"name": "image", "state": state, **more}]
    return {
        "metadata": {"annotations": {IMAGE: TORCH}},
        "spec": {"nodeName": node},
        "status": {"containerStatuses": statuses},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, "pulling"),
        (waiting("ContainerCreating"), "pulling"),
        ({"running": {}}, "present"),
        ({"terminated": {"exitCode": 127}}, "present"),
        (waiting("CrashLoopBackOff"), "present"),
        (waiting("RunContainerError", "sleep: not found"), "present"),
        (waiting("ImagePullBackOff", "x: not found"), "failed"),
    ],
)
def test_a_node_has_an_image_once_its_container_could_be_made(state: Any, expected: str) -> None:
    (one,) = on_nodes([pod("n1", state)])
    assert (one.image, one.node, one.state) == (TORCH, "n1", expected)


def test_why_an_image_cannot_be_pulled_is_said_as_to_users() -> None:
    refused = waiting("ErrImagePull", f"failed to pull {TORCH}: 401 Unauthorized")
    (one,) = on_nodes([pod("n1", refused)])
    assert one.code == "image_denied"
    assert TORCH in one.sentence
    assert "401" in one.said
    assert render((one,)) == f"{TORCH}: on 0 of 1 nodes\n  n1: [image_denied] {one.sentence}\n"


def test_a_pod_that_has_no_node_yet_is_known_by_the_one_it_is_meant_for() -> None:
    made = pod("")
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    made["spec"] = {"affinity": {"nodeAffinity": required}}
    (one,) = on_nodes([made])
    assert (one.node, one.state) == ("n7", "pulling")


def test_one_pod_that_has_it_is_enough() -> None:
    failed = pod("n1", waiting("ErrImagePull", "no such host"))
    there = pod("n1", {"running": {}})
    for pods in ([failed, there], [there, failed]):
        assert [one.state for one in on_nodes(pods)] == ["present"]


def test_others_and_those_that_end_say_nothing() -> None:
    ending = pod("n1", {"running": {}})
    ending["metadata"]["deletionTimestamp"] = "2026-11-27T18:00:00Z"
    other = {"metadata": {}, "spec": {"nodeName": "n1"}, "status": {}}
    assert on_nodes([ending, other]) == ()
    assert render(()) == "No image is pulled beforehand.\n"


def test_every_figure_is_documented() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
    rows = set(re.findall(r"^\| `(arcetri_prepull_\w+)` \|", page.read_text(), re.MULTILINE))
    registry = CollectorRegistry()
    Figures(registry, lambda: False)
    assert {metric.name for metric in registry.collect()} == rows


def test_the_figures_follow() -> None:
    registry = CollectorRegistry()
    figures = Figures(registry, lambda: False)
    nodes = (
        OnNode(TORCH, "n1", "present"),
        OnNode(TORCH, "n2", "failed", "registry_away"),
    )
    figures.told(Steps(taken=("x",)), nodes)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("arcetri_prepull_nodes", image=TORCH, state="present") == 1
    assert value("arcetri_prepull_nodes", image=TORCH, state="pulling") == 0
    assert value("arcetri_prepull_nodes", image=TORCH, state="failed") == 1
    assert value("arcetri_prepull_failed", image=TORCH, node="n2", code="registry_away") == 1
    assert value("arcetri_prepull_names_taken") == 1
    figures.told(Steps(), nodes[:1])
    assert value("arcetri_prepull_failed", image=TORCH, node="n2", code="registry_away") is None
    assert value("arcetri_prepull_catalog_refused") == 0
