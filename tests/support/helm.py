"""What Helm makes of the chart, on this machine and without a cluster."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import builds
from tests.cluster.cache import ClusterError
from tests.support import tiers

CHART = Path(__file__).parents[2] / "helm" / "arcetri"
RELEASE = "arcetri"
NAMESPACE = "arcetri"

Json = dict[str, Any]

LEAST: Mapping[str, Any] = {
    "profiles": {"version": 1},
    "images": {"registry": "registry.example.org/arcetri"},
    "iam": {
        "issuer": "https://iam.example.org/",
        "clientId": "arcetri",
        "existingSecret": "iam-client",
    },
}
"""The least that has to be said."""


def program() -> Path:
    """Where Helm is: the test cluster's own; a test is skipped without it."""
    tiers.need("go")
    try:
        return builds.find("helm")
    except ClusterError as error:
        pytest.skip(str(error))


def call(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run Helm; it may end with any status."""
    kept = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return subprocess.run(
        [program(), *arguments],
        env={**kept, "HELM_PLUGINS": "/nonexistent"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def render(
    values: Mapping[str, Any],
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    api_versions: Sequence[str] = (),
) -> list[Json]:
    """The objects that ``helm install`` would make.

    Raises:
        AssertionError: It refuses; the message has its words.
    """
    text = _rendered(yaml.safe_dump(dict(values)), release, namespace, tuple(api_versions))
    # A key that is there twice would be lost in silence.
    return [one for one in yaml.load_all(text, _Strict) if one]


@functools.cache
def _rendered(values: str, release: str, namespace: str, api_versions: tuple[str, ...]) -> str:
    result = _template(values, release, namespace, api_versions)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(values: Mapping[str, Any], *options: str) -> str:
    """What an operator reads who installs with these values, and options of ``helm template``.

    Raises:
        AssertionError: They are accepted.
    """
    result = _template(yaml.safe_dump(dict(values)), RELEASE, NAMESPACE, (), *options)
    assert result.returncode != 0, "accepted"
    return result.stderr


def _template(
    values: str, release: str, namespace: str, api_versions: Sequence[str], *options: str
) -> subprocess.CompletedProcess[str]:
    return call(
        "template",
        release,
        CHART,
        f"--namespace={namespace}",
        "--values=-",
        *(f"--api-versions={one}" for one in api_versions),
        *options,
        stdin=values,
    )


def merged(*values: Mapping[str, Any]) -> Json:
    """Values laid over values, as Helm lays files of them."""
    whole: Json = {}
    for one in values:
        for key, value in one.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


class _Strict(yaml.CSafeLoader):
    """Refuses a key that stands twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice:\n{node.start_mark}"
        return super().construct_mapping(node, deep=deep)
