"""The chart's values as reference tables, from its JSON Schema and its defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "arcetri"
Json = dict[str, Any]


def chart_markdown(undocumented: list[str]) -> str:
    """A section for each top-level key, with a row for each value below it."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = []
    for name, section in schema["properties"].items():
        if name == "global" or section.get("deprecated"):
            continue
        rows = list(_rows(name, section, defaults.get(name), undocumented))
        _described(name, section, undocumented)
        lines = [f"## `{name}`", "", section.get("description", ""), ""]
        if rows:
            lines += ["| Key | Value | Default | Meaning |", "|---|---|---|---|", *rows, ""]
        parts.append("\n".join(lines))
    undocumented += [f"values.yaml: {key} (not in the schema)" for key in _strangers(schema)]
    return "\n".join(parts)


def _rows(path: str, section: Json, default: Any, undocumented: list[str]) -> Iterator[str]:
    for name, value in section.get("properties", {}).items():
        if value.get("deprecated"):
            continue
        key = f"{path}.{name}"
        _described(key, value, undocumented)
        there = default.get(name) if isinstance(default, dict) else None
        if "properties" in value:
            yield from _rows(key, value, there, undocumented)
            continue
        cells = (f"`{key}`", _value(value), _default(there), value.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        inner = value.get("additionalProperties")
        if isinstance(inner, dict) and "properties" in inner:
            yield from _rows(f"{key}.NAME", inner, None, undocumented)


def _described(key: str, value: Json, undocumented: list[str]) -> None:
    if not value.get("description"):
        undocumented.append(f"values.schema.json: {key}")


def _value(value: Json) -> str:
    """What the key holds, in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        words = {"anything": "a mapping", "list": "a list", "labels": "a mapping of texts"}
        words |= {"peers": "a list", "ports": "a list", "rules": "a list"}
        words |= {"quantity": "a quantity", "env": "a mapping", "resources": "a mapping"}
        return words[name]
    if "enum" in value:
        return " or ".join(f"`{one}`" for one in value["enum"])
    kinds = value["type"] if isinstance(value["type"], list) else [value["type"]]
    words = {
        "string": "text",
        "boolean": "`true` or `false`",
        "integer": "a whole number",
        "number": "a number",
        "object": "a mapping",
        "array": "a list",
        "null": "nothing",
    }
    return " or ".join(words[kind] for kind in kinds)


def _default(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "none"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _strangers(schema: Json) -> Iterator[str]:
    """Defaults that the schema does not know, which Helm would refuse."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    yield from _unknown(schema, defaults, "")


def _unknown(section: Json, values: Any, path: str) -> Iterator[str]:
    if not isinstance(values, dict) or "properties" not in section:
        return
    for name, value in values.items():
        known = section["properties"].get(name)
        if known is None:
            yield f"{path}{name}"
        else:
            yield from _unknown(known, value, f"{path}{name}.")
