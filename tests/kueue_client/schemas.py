"""The schemas of Kueue's own CRDs, from the pinned Go module, and objects that fit them."""

from __future__ import annotations

import functools
import random
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from kueue_client import (
    ClusterQueue,
    Cohort,
    LocalQueue,
    Object,
    ResourceFlavor,
    Topology,
    Workload,
    WorkloadPriorityClass,
)
from tests.cluster import builds

Schema = dict[str, Any]
KINDS: tuple[type[Object], ...] = (
    ClusterQueue,
    Cohort,
    LocalQueue,
    ResourceFlavor,
    Topology,
    Workload,
    WorkloadPriorityClass,
)
OPAQUE = {
    "spec.podSets[].template",
    "spec.namespaceSelector",
    "spec.nodeTaints[]",
    "spec.tolerations[]",
    "status.admissionChecks[].podSetUpdates[].tolerations[]",
}
"""What is Kubernetes' own, and handed on as it is."""


@functools.cache
def definitions() -> dict[str, Schema]:
    """The CRDs by kind; needs Go, which fetches them once."""
    if builds.find_go() is None:
        pytest.skip("needs Go")
    found = [yaml.safe_load(path.read_text()) for path in builds.tree("kueue-crds").glob("*.yaml")]
    return {one["spec"]["names"]["kind"]: one for one in found}


def schema(kind: type[Object]) -> Schema:
    """The schema of one kind."""
    versions = definitions()[kind.__name__]["spec"]["versions"]
    (found,) = [one for one in versions if one["name"] == "v1beta2"]
    return dict(found["schema"]["openAPIV3Schema"])


class _Maker:
    """Makes values that fit schemas; each object may have fields that nobody has heard of."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def object(self, kind: type[Object]) -> dict[str, Any]:
        """An object of a kind, as an API server would send it."""
        head = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind.__name__}
        return {**head, "metadata": self._metadata(), **self._value(schema(kind), "")}

    def _metadata(self) -> dict[str, Any]:
        optional = {
            "namespace": self._word(),
            "labels": {self._word(): self._word()},
            "annotations": {},
            "resourceVersion": str(self._random.randrange(100)),
            "creationTimestamp": self._time(),
            "ownerReferences": [{self._word(): self._json(2)}],
            "unknown": self._json(2),
        }
        chosen = {name: one for name, one in optional.items() if self._coin()}
        return {"name": self._word(), **chosen}

    def _coin(self) -> bool:
        return self._random.random() < 0.5

    def _word(self) -> str:
        return "".join(self._random.choices("abcxyz-", k=self._random.randint(1, 6)))

    def _time(self) -> str:
        moment = datetime.fromtimestamp(self._random.randrange(2**32), UTC)
        return moment.isoformat().replace("+00:00", "Z")

    def _json(self, depth: int) -> Any:
        plain = (None, True, False, 0, -3, "", self._word())
        if not depth or self._coin():
            return self._random.choice(plain)
        if self._coin():
            return [self._json(depth - 1) for _ in range(self._random.randrange(3))]
        return {self._word(): self._json(depth - 1) for _ in range(self._random.randrange(3))}

    def _value(self, form: Schema, path: str) -> Any:
        if path in OPAQUE:
            return {self._word(): self._json(3)}
        if form.get("x-kubernetes-int-or-string"):
            return self._random.choice((0, 7, "0", "500m", "8Gi", "1.5", "2e3", "100M"))
        if "enum" in form:
            return self._random.choice((*form["enum"], "SaidByNoneYet"))
        times = form.get("format") == "date-time"
        match form["type"]:
            case "object" if "properties" in form:
                return self._fields(form, path)
            case "object":
                each = form["additionalProperties"]
                amount = range(self._random.randrange(3))
                return {self._word(): self._value(each, f"{path}{{}}") for _ in amount}
            case "array":
                amount = range(self._random.randrange(3))
                return [self._value(form["items"], f"{path}[]") for _ in amount]
            case "integer":
                return self._random.randrange(1000)
            case "boolean":
                return self._coin()
            case "string":
                return self._time() if times else self._random.choice((self._word(), ""))
        raise AssertionError(f"{path}: no such type: {form}")

    def _fields(self, form: Schema, path: str) -> dict[str, Any]:
        required = set(form.get("required", []))
        names = [
            name
            for name in form["properties"]
            if path or name not in ("apiVersion", "kind", "metadata")
        ]
        found = {
            name: self._value(form["properties"][name], f"{path}.{name}".lstrip("."))
            for name in names
            if name in required or self._coin()
        }
        return found | ({f"unknown-{self._word()}": self._json(2)} if self._coin() else {})


def objects(kind: type[Object]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a kind, as an API server would send them."""
    return st.integers(0, 2**32).map(lambda seed: _Maker(seed).object(kind))
