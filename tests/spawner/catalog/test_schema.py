"""The JSON Schema and the models say the same of a catalog, where a schema can say it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_spawner.catalog import json_schema
from tests.support.catalogs import DEMO, SHIPPED, checked

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
Path = tuple[str | int, ...]


def test_it_is_a_schema_and_every_object_is_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def open_objects(node: Any) -> list[Any]:
        if isinstance(node, list):
            return [one for item in node for one in open_objects(item)]
        if not isinstance(node, dict):
            return []
        here = [node] if node.get("type") == "object" and "additionalProperties" not in node else []
        return here + [one for item in node.values() for one in open_objects(item)]

    # Simulated devices have a number for each name; all else has keys of its own.
    assert open_objects(SCHEMA) == []


def test_every_field_is_described() -> None:
    silent = [
        f"{name}.{field}"
        for name, definition in {"Catalog": SCHEMA, **SCHEMA["$defs"]}.items()
        for field, said in definition["properties"].items()
        if "description" not in said and "$ref" not in said  # a section says it itself
    ]

    assert silent == []


class _Json(yaml.SafeLoader):
    """Reads a date as the text that it is for an editor, which knows of JSON alone."""


_Json.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@pytest.mark.parametrize("name", ["demo", "example"])
def test_shipped_catalogs_fit(name: str) -> None:
    VALIDATOR.validate(yaml.load((SHIPPED / f"{name}.yaml").read_text(), _Json))  # noqa: S506


REFUSED_BY_BOTH: list[tuple[Path, Any]] = [
    (("version",), 2),
    (("version",), True),
    (("nonsense",), 1),
    (("site", "admins"), "/a"),
    (("site", "name"), 3),
    (("defaults", "idle"), 30),
    (("defaults", "idle"), "1 hour"),
    (("ids", "users"), 5),
    (("limits", "sessions"), 0),
    (("everyone", "flavors"), ["No Name"]),
    (("flavors", "No Name"), {"title": "x"}),
    (("flavors", "t4"), {}),
    (("flavors", "t4", "type"), "tpu"),
    (("flavors", "t4", "share"), 0),
    (("flavors", "t4", "share"), 2),
    (("flavors", "t4", "share"), "half"),
    (("flavors", "t4", "resource"), "gpu"),
    (("flavors", "t4", "nodes"), {"a b": "c"}),
    (("flavors", "t4", "maintenance"), {"until": "soon"}),
    (("sizes", "small", "cpu"), 0),
    (("sizes", "small", "memory"), "8GB"),
    (("environments", "python", "local"), "python3"),
    (("environments", "python", "image"), "Bad Image"),
    (("environments", "python", "contents"), "Python 3.13"),
    (("environments", "python", "contents"), [""]),
    (("environments", "python", "contents"), ["Python"] * 11),
    (("environments", "python", "news"), {"message": "no day"}),
    (("environments", "python", "news"), {"since": "lately"}),
    (("volumes", "home", "mount"), "home"),
    (("volumes", "home", "mount"), "/home/{user}"),
    (("volumes", "home", "path"), "/abs"),
    (("volumes", "home", "mode"), "rx"),
    (("volumes", "home", "claim"), "No Claim"),
    (("groups", "//"), {}),
    (("groups", "/arcetri/cms"), None),
    (("groups", "/arcetri/cms", "flavors"), ["t4"]),
    (("groups", "/arcetri/cms", "flavors", "t4", "quota"), -1),
    (("groups", "/arcetri/cms", "flavors", "t4", "quota"), "two"),
    (("local", "simulate", "t4"), "two"),
    (("local", "simulate", "t4"), 5000),
]


def with_value(path: Path, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(DEMO)
    here: Any = data
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return data


def models_accept(data: Any) -> bool:
    return checked(yaml.safe_dump(data, sort_keys=False)).catalog is not None


@pytest.mark.parametrize(("path", "value"), REFUSED_BY_BOTH)
def test_both_refuse(path: Path, value: Any) -> None:
    data = with_value(path, value)

    assert not VALIDATOR.is_valid(data)
    assert not models_accept(data)


def every_path(node: Any, path: Path = ()) -> list[Path]:
    here = [path] if path else []
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            here += every_path(value, (*path, key))
    return here


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**6),
    st.floats(-2, 2).map(lambda number: round(number, 3)),
    st.sampled_from(
        [
            "1h",
            "3d",
            "8Gi",
            "500m",
            "1/7",
            "0.5",
            "cpu",
            "t4",
            "home",
            "/arcetri/cms",
            "/data/x",
            "default",
            "ro",
            "1000-1999",
            "a/b",
            "UTC",
            "Europe/Rome",
            "nvidia.com/gpu",
            "gpu",
        ]
    ),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(["cpu", "t4", "home", "/arcetri/cms"]), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(every_path(yaml.safe_load(DEMO))), value=_VALUES)
def test_what_the_models_take_the_schema_takes(path: Path, value: Any) -> None:
    data = with_value(path, value)

    if models_accept(data):
        VALIDATOR.validate(data)
