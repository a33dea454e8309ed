"""The JSON Schema of profiles.yaml, generated from the models: editors complete and check by it.

It says all of a field that a schema can say. What needs two fields at once, arithmetic or a
database (dangling names, shares, time zones) only `parse` knows.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from arcetri_spawner.catalog.models import Catalog


class _Generator(GenerateJsonSchema):
    """Closes mappings whose keys have a pattern, and leaves out titles that repeat a key."""

    def dict_schema(self, schema: core_schema.DictSchema) -> dict[str, Any]:
        """Refuse keys that are no names, which Pydantic's own schema lets through."""
        made = super().dict_schema(schema)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never: the key is title enough."""
        del schema
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a catalog, as plain data."""
    made = Catalog.model_json_schema(schema_generator=_Generator)
    for definition in made.get("$defs", {}).values():
        definition.pop("title", None)
    _tidy(made)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Catalog of Arcetri (profiles.yaml)",
    }


def _tidy(node: Any) -> None:
    """Write descriptions in one line, without the markup of docstrings."""
    if isinstance(node, dict):
        text = node.get("description")
        if isinstance(text, str):
            node["description"] = " ".join(text.replace("``", "`").split())
        for value in node.values():
            _tidy(value)
    elif isinstance(node, list):
        for value in node:
            _tidy(value)
