"""The models are those of Kueue's CRDs: every field is modelled, or handed on as it is."""

from __future__ import annotations

import re
import types
import typing
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import AwareDatetime, BaseModel

import kueue_client.enums
from kueue_client import Object
from kueue_client.enums import OpenEnum
from kueue_client.quantity import Quantity
from tests.cluster import builds
from tests.kueue_client.schemas import KINDS, OPAQUE, Schema, definitions, objects, schema


def _kind(annotation: Any) -> Any:
    """A field's type, without the None that says it may be missing."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (found,) = [one for one in typing.get_args(annotation) if one is not type(None)]
        return _kind(found)
    if typing.get_origin(annotation) is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    return annotation


def differences(form: Schema, annotation: Any, path: str) -> list[str]:
    """Where a type is not what the schema says."""
    kind = _kind(annotation)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if path in OPAQUE:
        return [] if origin is dict else [f"{path} is not handed on as it is"]
    if form.get("x-kubernetes-int-or-string"):
        return [] if kind is Quantity else [f"{path} is no quantity"]
    if "enum" in form:
        if not (isinstance(kind, type) and issubclass(kind, OpenEnum)):
            return [f"{path} is no enumeration"]
        return [f"{path}: {word} is not known" for word in form["enum"] if not kind(word).known]
    match form["type"]:
        case "array":
            if origin is not list:
                return [f"{path} is no list"]
            return differences(form["items"], arguments[0], f"{path}[]")
        case "object" if "properties" in form:
            if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
                return [f"{path} is not modelled"]
            return _fields(form, kind, path)
        case "object":
            if origin is not dict:
                return [f"{path} is no mapping"]
            return differences(form["additionalProperties"], arguments[1], f"{path}{{}}")
        case "string" if form.get("format") == "date-time":
            return [] if kind in (AwareDatetime, datetime) else [f"{path} is no time"]
        case "string":
            right = isinstance(kind, type) and issubclass(kind, str)
            return [] if right else [f"{path} is no text"]
        case "integer":
            return [] if kind is int else [f"{path} is no whole number"]
        case "boolean":
            return [] if kind is bool else [f"{path} is no flag"]
    return [f"{path}: {form}"]


def _fields(form: Schema, model: type[BaseModel], path: str) -> list[str]:
    own = {field.alias: (name, field) for name, field in model.model_fields.items()}
    required = set(form.get("required", []))
    found = [f"{path}.{name} is not in the schema" for name in own.keys() - form["properties"]]
    for name, inner in form["properties"].items():
        where = f"{path}.{name}".lstrip(".")
        if name not in own:
            found.append(f"{where} is not modelled")
            continue
        if name == "metadata":
            continue  # Kubernetes' own, which the schema leaves open
        if own[name][1].is_required() and name not in required:
            found.append(f"{where} may be missing")
        found += differences(inner, own[name][1].annotation, where)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_a_crd_is_modelled(kind: type[Object]) -> None:
    assert differences(schema(kind), kind, "") == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_kind_is_where_its_crd_says(kind: type[Object]) -> None:
    spec = definitions()[kind.__name__]["spec"]
    assert spec["names"]["plural"] == kind.plural
    assert (spec["scope"] == "Namespaced") == kind.namespaced


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_read_is_written_back_as_it_was(kind: type[Object]) -> None:
    @settings(max_examples=100, suppress_health_check=list(HealthCheck), deadline=None)
    @given(objects(kind))
    def holds(wire: dict[str, Any]) -> None:
        assert kind.from_wire(wire).to_wire() == wire

    holds()


_CONSTANT = re.compile(r'^\s+(\w+)\s*[\w.]*\s*=\s*"([A-Z]\w+)"', re.MULTILINE)


def test_every_word_that_kueue_says_is_known() -> None:
    """All constants of the types' sources, whatever condition or field they are of."""
    enums = [
        one
        for one in vars(kueue_client.enums).values()
        if isinstance(one, type) and issubclass(one, OpenEnum)
    ]
    known = {member.value for one in enums for member in one}
    definitions()  # says so where there is no Go
    said: dict[str, str] = {}
    for path in builds.tree("kueue-types").glob("*_types.go"):
        if path.name.startswith(("multikueue", "provisioningrequest", "admissioncheck")):
            continue  # kinds that are not modelled
        said |= dict(_CONSTANT.findall(path.read_text()))
    assert len(said) > 60
    assert {name: word for name, word in said.items() if word not in known} == {}
