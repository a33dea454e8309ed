"""The API server's own schemas of objects, strict: what it does not know is an error."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest

from tests.cluster import builds
from tests.cluster.cache import ClusterError
from tests.support import tiers

Json = dict[str, Any]

_ANY_KEYS = {
    # Objects in which the API takes anything.
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
}
_PREFIX = "#/definitions/"


def mistakes(item: Mapping[str, Any]) -> list[str]:
    """What the API server would not take of an object, each with its place.

    Raises:
        LookupError: It knows no such kind; custom resources are not among them.
    """
    validator = _validator(item["apiVersion"], item["kind"])
    return [
        f"{'.'.join(map(str, one.instance_path))}: {one.message}"
        for one in validator.iter_errors(item)
    ]


@functools.cache
def _validator(version: str, kind: str) -> jsonschema_rs.Validator:
    names = {
        (one["group"] + "/" + one["version"] if one["group"] else one["version"], one["kind"]): name
        for name, definition in _definitions().items()
        for one in definition.get("x-kubernetes-group-version-kind", ())
    }
    if (version, kind) not in names:
        raise LookupError(f"the API server knows no {kind} of {version}")
    schema = {"$ref": f"{_PREFIX}{names[version, kind]}", "definitions": _definitions()}
    return jsonschema_rs.Draft4Validator(schema)


@functools.cache
def _definitions() -> Mapping[str, Json]:
    tiers.need("go")
    try:
        text = (builds.find("openapi") / "swagger.json").read_text(encoding="utf-8")
    except ClusterError as error:
        pytest.skip(str(error))
    definitions: dict[str, Json] = copy.deepcopy(json.loads(text)["definitions"])
    for name, definition in definitions.items():
        definition.pop("description", None)
        if definition.get("properties") and name not in _ANY_KEYS:
            definition["additionalProperties"] = False
        if definition.get("format") == "int-or-string":
            definition["type"] = ["integer", "string"]
        if name == "io.k8s.apimachinery.pkg.api.resource.Quantity":
            definition["type"] = ["string", "number"]
    return definitions
