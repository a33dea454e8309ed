"""Turn what Pydantic says of a catalog into findings: a position, a sentence, what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from arcetri_spawner.catalog.findings import Finding, Path
from arcetri_spawner.catalog.models import Catalog, keys_of
from arcetri_spawner.catalog.patterns import PATTERNS
from arcetri_spawner.catalog.problems import FieldError, kind_of, nearest, quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from arcetri_spawner.catalog.document import Document

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def translate(problems: Iterable[ErrorDetails], document: Document) -> Iterator[Finding]:
    """Yield a finding for each thing that the models refuse, in the models' order."""
    for problem in problems:
        yield _finding(problem, document)


def _finding(one: ErrorDetails, document: Document) -> Finding:
    path: Path = tuple(one["loc"])
    kind: str = one["type"]
    value: object = one["input"]
    context: dict[str, Any] = one.get("ctx", {})
    at_key = False
    if path and path[-1] == "[key]":
        path, at_key = path[:-1], True
    message, allowed, suggestion = _words(kind, value, context, path, document)
    if kind == "missing":
        return _missing(path, document)
    if kind == "extra_forbidden":
        at_key = True
    return document.find("error", path, message, allowed, suggestion, at_key=at_key)


def _missing(path: Path, document: Document) -> Finding:
    found = document.find("error", path[:-1], f"the key {path[-1]} is missing", at_key=True)
    key = str(path[-1])
    return Finding(
        found.file,
        found.line,
        found.column,
        "error",
        f"{found.field}.{key}" if found.field else key,
        "is missing",
        _describe(path),
    )


def _words(
    kind: str, value: object, context: dict[str, Any], path: Path, document: Document
) -> tuple[str, str, str]:
    if kind == "value_error":
        cause = context["error"]
        if isinstance(cause, FieldError):
            return cause.message, cause.allowed, cause.suggestion
        return str(cause), "", ""
    if kind == "extra_forbidden":
        known = sorted(_keys_at(path[:-1]))
        return "there is no such key", "the keys " + ", ".join(known), nearest(str(path[-1]), known)
    if kind == "string_pattern_mismatch":
        text = PATTERNS[context["pattern"]]
        return text.message, text.allowed, text.suggest(str(value))
    if kind in ("string_too_short", "string_too_long"):
        if kind == "string_too_short":
            return "is empty", "some text", ""
        return "is too long", f"at most {context['max_length']} characters", ""
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{value} is out of range", f"{words} {context[bound]}", ""
    if kind == "literal_error":
        choices = [part.strip() for part in context["expected"].replace(" or ", ", ").split(",")]
        plain = [choice.strip("'") for choice in choices]
        said = document.written(path) or kind_of(value)
        return f"{said} is none of the choices", " or ".join(plain), nearest(said, plain)
    if kind in _KINDS:
        return _wrong_kind(_KINDS[kind], value, path, document)
    return "is not valid", _describe(path), ""


def _wrong_kind(wanted: str, value: object, path: Path, document: Document) -> tuple[str, str, str]:
    allowed, suggestion = wanted, ""
    if wanted == "a mapping":
        keys = sorted(_keys_at(path))
        if keys:
            allowed = "a mapping with the keys " + ", ".join(keys)
        if value is None:
            suggestion = "{}"
        elif isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            suggestion = "{" + ", ".join(f"{one}: {{}}" for one in value[:3]) + "}"
    elif wanted == "a list":
        suggestion = "[]" if value is None else ""
        written = document.written(path)
        if isinstance(value, str) and written:
            suggestion = f"[{written}]"
        elif isinstance(value, dict):
            suggestion = "[" + ", ".join(list(value)[:5]) + "]"
    elif wanted == "text" and value is not None and not isinstance(value, dict | tuple):
        suggestion = f'"{document.written(path)}"'
    said = kind_of(value)
    if isinstance(value, str) and wanted not in ("a list", "a mapping"):
        said = f"the text {quoted(value)}"
    message = "has no value" if value is None else f"must be {wanted}, not {said}"
    if wanted == "a whole number" and isinstance(value, float):
        message = f"must be a whole number, not {document.written(path)}"
        suggestion = str(int(value)) if value.is_integer() else ""
    if wanted in ("a whole number", "a number"):
        return message, wanted + _bounds_at(path), suggestion[:200]
    return message, allowed if value is None or allowed != wanted else "", suggestion[:200]


def _bounds_at(path: Path) -> str:
    """Return the bounds of a number's field in words, or an empty text."""
    model = _model_at(path[:-1])
    field = keys_of(model).get(str(path[-1])) if model and path else None
    bounds = {
        name: getattr(one, name)
        for one in (field.metadata if field else ())
        for name in ("ge", "le")
        if hasattr(one, name)
    }
    return "".join(
        f" {words} {bounds[name]}"
        for name, words in (("ge", "from"), ("le", "to"))
        if name in bounds
    )


def _keys_at(path: Path) -> frozenset[str]:
    """Return the keys that the models know at ``path``; empty where names are free."""
    model = _model_at(path)
    return frozenset(keys_of(model)) if model else frozenset()


def _model_at(path: Path) -> type[BaseModel] | None:
    here: Any = Catalog
    for step in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = keys_of(here).get(str(step))
            here = field.annotation if field else None
        else:
            here = _inside(here)
        if here is None:
            return None
    for one in (here, *get_args(here)):
        if isinstance(one, type) and issubclass(one, BaseModel) and here.__class__ is not dict:
            if getattr(here, "__origin__", None) in (dict, tuple):
                return None
            return one
    return None


def _inside(annotation: Any) -> Any:
    """Return the type of the values of ``dict[K, V]`` or ``tuple[V, ...]``."""
    arguments = get_args(annotation)
    origin = getattr(annotation, "__origin__", None)
    if origin is dict:
        return arguments[1]
    if origin is tuple:
        return arguments[0]
    for one in arguments:
        inner = _inside(one)
        if inner is not None:
            return inner
    if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
        return arguments[0]
    return None


def _describe(path: Path) -> str:
    """Return the first sentence of a field's documentation."""
    model = _model_at(path[:-1])
    field = keys_of(model).get(str(path[-1])) if model and path else None
    text = (field.description or "") if field else ""
    first = text.split("\n")[0].split(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:] if first[:2] != first[:2].upper() else first
