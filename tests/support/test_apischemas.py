"""The strict schemas find what the API server would refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.apischemas import mistakes


def _pod(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one"},
        "spec": {"containers": [{"name": "main", "image": "an/image:1", **container}]},
    }


def test_a_right_object_has_no_mistake() -> None:
    resources = {"limits": {"memory": "1Gi", "cpu": 1}}
    probe = {"httpGet": {"path": "/", "port": "http"}}
    assert mistakes(_pod(resources=resources, livenessProbe=probe)) == []


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"imagePulPolicy": "Always"}, "spec.containers.0: Additional properties are not allowed"),
        ({"ports": [{"containerPort": "80"}]}, "spec.containers.0.ports.0.containerPort:"),
        ({"ports": [{"name": "http"}]}, 'spec.containers.0.ports.0: "containerPort" is a req'),
        ({"resources": {"limits": []}}, "spec.containers.0.resources.limits:"),
        ({"env": {"A": "b"}}, "spec.containers.0.env:"),
    ],
)
def test_a_wrong_one_is_found(container: dict[str, Any], message: str) -> None:
    (found,) = mistakes(_pod(**container))
    assert found.startswith(message), found


def test_an_unknown_kind_is_no_right_one() -> None:
    with pytest.raises(LookupError, match="knows no Pod of v2"):
        mistakes({**_pod(), "apiVersion": "v2"})
