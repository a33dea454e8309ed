"""The schema of values is closed, and an operator reads where and why it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tests.cluster.builds import SOURCES
from tests.support import helm

SCHEMA = json.loads((helm.CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((helm.CHART / "values.yaml").read_text(encoding="utf-8"))
EARLIER = SOURCES.parent / "charts"
"""Charts of earlier versions, kept."""

Path_ = tuple[str, ...]


def _sections(schema: Mapping[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every object of the schema whose keys are named, and what it says of them."""
    if schema.get("properties") is None or schema.get("deprecated"):
        return
    yield path, schema
    for name, section in schema["properties"].items():
        yield from _sections(section, (*path, name))


def _keys(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ".".join((*path, name)): value
        for path, section in _sections(schema)
        for name, value in section["properties"].items()
    }


def _at(path: Path_, value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return dict(value)


SECTIONS = dict(_sections(SCHEMA))
KEYS = _keys(SCHEMA)
_CHECK = jsonschema_rs.Draft7Validator(SCHEMA)


def test_every_object_with_keys_of_its_own_is_closed() -> None:
    open_ones = {path for path, one in SECTIONS.items() if one["additionalProperties"] is not False}
    assert not open_ones
    assert len(SECTIONS) > 30
    for name, definition in SCHEMA["definitions"].items():
        if "properties" in definition:
            assert definition["additionalProperties"] is False, name


@pytest.mark.parametrize("path", SECTIONS, ids=".".join)
def test_a_misspelt_key_is_against_the_schema(path: Path_) -> None:
    (error,) = _CHECK.iter_errors(_at((*path, "enabeld"), True))
    assert tuple(error.instance_path) == path
    assert "'enabeld' was unexpected" in error.message


def test_helm_says_which_key_is_misspelt_and_where() -> None:
    wrong = {"hub": {"replicas": 2}, "networkPolicy": {"sessions": {"internt": {}}}, "hubb": {}}
    said = helm.refused(helm.merged(helm.LEAST, wrong))
    assert "at '/hub': additional properties 'replicas' not allowed" in said
    assert "at '/networkPolicy/sessions': additional properties 'internt' not allowed" in said
    assert "at '': additional properties 'hubb' not allowed" in said


def test_the_defaults_are_by_the_schema_and_have_every_key() -> None:
    assert [str(one) for one in _CHECK.iter_errors(DEFAULTS)] == []
    missing = []
    for path, section in SECTIONS.items():
        there: Any = DEFAULTS
        for name in path:
            there = (there or {}).get(name)
        if there is None or path[:1] == ("images",):
            continue
        known = {name for name, one in section["properties"].items() if not one.get("deprecated")}
        missing += [".".join((*path, name)) for name in known - {*there, "global"}]
    assert not missing


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hub": {"enabled": "no"}}, "at '/hub/enabled': got string, want boolean"),
        ({"hub": {"startTimeout": 0}}, "at '/hub/startTimeout': minimum"),
        ({"hub": {"publicUrl": "ai.example.org"}}, "at '/hub/publicUrl': 'ai.example.org' does"),
        ({"hub": {"extraConfig": "c.A = 1"}}, "at '/hub/extraConfig': got string, want object"),
        ({"hub": {"resources": {"limit": {}}}}, "additional properties 'limit' not allowed"),
        ({"images": {"pullPolicy": "Sometimes"}}, "at '/images/pullPolicy': value must be one of"),
        ({"images": {"hub": {"digest": "latest"}}}, "at '/images/hub/digest': 'latest' does not"),
        ({"storage": {"claims": {"a": {"size": "much"}}}}, "at '/storage/claims/a/size'"),
        (
            {"networkPolicy": {"sessions": {"internet": {"protectedCidrs": ["10.0.0.0"]}}}},
            "at '/networkPolicy/sessions/internet/protectedCidrs/0': '10.0.0.0' does not match",
        ),
        (
            {"networkPolicy": {"proxy": {"from": [{"podSelectr": {}}]}}},
            "additional properties 'podSelectr' not allowed",
        ),
        ({"networkPolicy": {"proxy": {"from": [{}]}}}, "at '/networkPolicy/proxy/from/0': minProp"),
        (
            {"networkPolicy": {"iam": {"ports": [443]}}},
            "at '/networkPolicy/iam/ports/0': got number, want object",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused(values: Mapping[str, Any], said: str) -> None:
    assert said in helm.refused(helm.merged(helm.LEAST, values))


REMOVED = sorted(key for key, value in KEYS.items() if value.get("deprecated"))


@pytest.mark.parametrize("key", REMOVED)
def test_a_removed_key_is_refused_with_what_to_do(key: str) -> None:
    kind = KEYS[key].get("type", "string")
    value = {"string": "x", "boolean": True, "integer": 1, "number": 1, "array": [1]}
    given = value.get(kind if isinstance(kind, str) else kind[0], {"a": "b"})
    said = helm.refused(helm.merged(helm.LEAST, _at(tuple(key.split(".")), given)))
    found = re.search(rf"{re.escape(key)} is no value of this chart: (.+)", said)
    assert found, said
    assert len(found[1].split()) > 4, said


def test_no_key_of_an_earlier_chart_goes_without_a_word() -> None:
    for chart in sorted(EARLIER.iterdir()):
        earlier = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
        unknown = {*_keys(earlier)} - {*KEYS}
        # What lies below a removed section goes with it.
        gone = {key for key in unknown if not any(key.startswith(f"{one}.") for one in REMOVED)}
        assert not gone, chart.name


def test_every_key_is_described() -> None:
    bare = [key for key, value in KEYS.items() if not value.get("description")]
    assert not bare
