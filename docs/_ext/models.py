"""Pydantic models as reference tables: key, value, default, meaning."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from meanings import MEANINGS
from pydantic import BaseModel, StringConstraints, WithJsonSchema
from pydantic.fields import FieldInfo, PydanticUndefined
from sphinx.pycode import ModuleAnalyzer

from arcetri_hub.settings import Settings
from arcetri_spawner.catalog.fields import Name
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.catalog.patterns import PATTERNS
from arcetri_spawner.catalog.quantities import show_duration

Undocumented = list[str]
"""Where names of undocumented things are collected."""


@dataclass(frozen=True)
class Section:
    """A model at its place in the file."""

    path: str
    model: type[BaseModel]


def catalog_markdown(undocumented: Undocumented) -> str:
    """The sections of profiles.yaml."""
    parts = [_table(Section("profiles.yaml", Catalog), undocumented, heading="The file as a whole")]
    parts += [_table(section, undocumented) for section in _sections(Catalog)]
    return "\n".join(parts)


def settings_markdown(undocumented: Undocumented) -> str:
    """The settings file of the hub's process."""
    parts = [
        _table(Section("settings.json", Settings), undocumented, heading="The file as a whole")
    ]
    parts += [_table(section, undocumented) for section in _sections(Settings)]
    return "\n".join(parts)


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[Section]:
    for name, hint in _hints(model).items():
        for inner, suffix in _inner_models(hint):
            path = f"{prefix}{name}{suffix}"
            yield Section(path, inner)
            yield from _sections(inner, f"{path}.")


def _hints(model: type[BaseModel]) -> dict[str, Any]:
    hints = typing.get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def _inner_models(hint: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Models inside a field's type, with what stands between: ``flavors.NAME``."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint, ""
        return
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        key = "PATH" if "group" in _value(arguments[0]) else "NAME"
        for inner, suffix in _inner_models(arguments[1]):
            yield inner, f".{key}{suffix}"
    elif get_origin(hint) is not Literal:
        for argument in arguments:
            yield from _inner_models(argument)


def _table(section: Section, undocumented: Undocumented, heading: str = "") -> str:
    lines = [
        f"## {heading or f'`{section.path}`'}",
        "",
        _first_paragraph(section.model.__doc__ or ""),
        "",
        "| Key | Value | Default | Meaning |",
        "|---|---|---|---|",
    ]
    documented = _attribute_docs(section.model)
    for name, hint in _hints(section.model).items():
        field = section.model.model_fields[name]
        meaning = field.description or documented.get(name, "") or _model_doc(hint)
        meaning = meaning or MEANINGS.get(f"{section.path} {name}", "")
        if not meaning:
            undocumented.append(f"{section.path}: {name}")
        cells = (
            f"`{field.alias or name}`",
            _value(hint, field),
            _default(field),
            _one_line(meaning),
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls.__module__.startswith("arcetri_"):
            analyzer = ModuleAnalyzer.for_module(cls.__module__)
            for (owner, name), lines in analyzer.find_attr_docs().items():
                if owner == cls.__qualname__:
                    found[name] = " ".join(lines)
    return found


def _model_doc(hint: Any) -> str:
    inner = next(_inner_models(hint), None)
    return _first_paragraph(inner[0].__doc__ or "") if inner else ""


def _first_paragraph(text: str) -> str:
    return _one_line(text.strip().split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value in ((), {}, ""):
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f"`{show_duration(value)}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`"


_PLAIN = {
    bool: "`true` or `false`",
    int: "a whole number",
    float: "a number",
    str: "text",
    Fraction: "a fraction",
}


def _value(hint: Any, field: FieldInfo | None = None) -> str:
    """What the field holds, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_value(a) for a in arguments if a is not type(None)) + _bounds(field)
    if origin is tuple:
        return f"a list; each: {_value(arguments[0])}"
    if origin is dict:
        return f"a mapping; key: {_value(arguments[0])}; value: {_value(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "a mapping, see below"
    if isinstance(hint, type) and hint.__name__ == "Path":
        return "a path"
    if isinstance(hint, type) and hint in _PLAIN:
        return _PLAIN[hint] + _bounds(field)
    return str(getattr(hint, "__name__", hint))


def _annotated(inner: Any, metadata: tuple[Any, ...]) -> str:
    for item in metadata:
        if isinstance(item, WithJsonSchema) and item.json_schema:
            text = str(item.json_schema.get("description", "")).rstrip(".")
            if text:
                return text[0].lower() + text[1:]
        if isinstance(item, StringConstraints) and str(item.pattern) in PATTERNS:
            if inner_is_name(item):
                return "a [name](#names)"
            return PATTERNS[str(item.pattern)].allowed
        if isinstance(item, FieldInfo):
            return _value(inner, item)
    return _value(inner)


def inner_is_name(constraints: StringConstraints) -> bool:
    """Whether a pattern is that of the catalog's own names, which the page explains once."""
    return constraints in get_args(Name)


def _bounds(field: FieldInfo | None) -> str:
    bounds = []
    for item in field.metadata if field else ():
        for name, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
            if (limit := getattr(item, name, None)) is not None:
                bounds.append(f"{words} {limit:,}".replace(",", " "))
    return f" ({', '.join(bounds)})" if bounds else ""
