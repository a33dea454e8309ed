"""Waiting in Kueue's queues as the chart installs it; rendered, without a cluster."""

from __future__ import annotations

import json
from typing import Any

from tests.support import helm


def rendered(release: str = helm.RELEASE, namespace: str = helm.RELEASE, **queues: Any) -> Any:
    """The chart's objects, by kind and name."""
    values = helm.merged(helm.LEAST, {"queues": queues})
    made = helm.render(values, release=release, namespace=namespace)
    return {(one["kind"], one["metadata"]["name"]): one for one in made}


def settings(objects: Any, release: str = helm.RELEASE) -> Any:
    """What the hub is told of the cluster."""
    text = objects["ConfigMap", f"{release}-hub"]["data"]["settings.json"]
    return json.loads(text)["kubernetes"]


def test_by_default_nobody_waits_and_nothing_is_made_for_it() -> None:
    objects = rendered()
    assert "queue" not in settings(objects)
    assert not [name for _, name in objects if "queues" in name]


def test_switched_on_the_hub_and_the_sync_speak_of_the_same_queues() -> None:
    objects = rendered(enabled=True, interval=60)
    assert settings(objects)["queue"] == "kueue"
    assert settings(objects)["queues_name"] == "arcetri"
    pod = objects["Deployment", "arcetri-queues"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == [
        "arcetri",
        "queues",
        "sync",
        "--profiles=/etc/arcetri/profiles/profiles.yaml",
        "--instance=arcetri",
        "--namespace=arcetri-sessions",
        "--every=60",
    ]
    assert pod["serviceAccountName"] == "arcetri-queues"
    more = rendered(enabled=True, overcommit=True)["Deployment", "arcetri-queues"]
    (container,) = more["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--overcommit"


def test_two_releases_have_queues_of_their_own() -> None:
    names = set()
    for release, namespace in (("a", "a"), ("a", "b"), ("b", "a")):
        objects = rendered(release, namespace, enabled=True)
        name = settings(objects, release)["queues_name"]
        (container,) = objects["Deployment", f"{release}-queues"]["spec"]["template"]["spec"][
            "containers"
        ]
        assert f"--instance={name}" in container["args"]
        names.add(name)
    assert names == {"a", "b-a", "a-b"}
