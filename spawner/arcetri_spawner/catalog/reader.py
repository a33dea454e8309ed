"""Read YAML into plain data, with the position of every key and value, in bounded time and memory.

The parser is PyYAML's over libyaml where that is built in. Its events are turned into data here
rather than by PyYAML's constructors, which lose positions, take the last of two equal keys, guess
at scalars, and have no bound on depth (the scanner's time grows with its square) or on aliases.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from arcetri_spawner.catalog.document import Document, ListPlaces, MapPlaces, Places, position
from arcetri_spawner.catalog.findings import MAX_FINDINGS, Finding, in_order, show_path
from arcetri_spawner.catalog.problems import FieldError
from arcetri_spawner.catalog.scalars import plain, plain_key
from arcetri_spawner.catalog.source import decode
from arcetri_spawner.catalog.syntax import explain_syntax

MAX_DEPTH = 24
"""Lists and mappings in one another; the models need 7."""
MAX_NODES = 400_000
"""Keys and values, each alias counted as all it stands for; 1,000 groups that list 60 flavours
with quota and borrow have 370,000."""


class _StopReadingError(Exception):
    """Nothing after this point would make sense."""


def read(data: bytes, file: str) -> Document:
    """Read one YAML document.

    Never raises for what the bytes hold: the document's findings say it, and with an error among
    them that ends the reading its data is None.
    """
    text, found = decode(data, file)
    if text is None:
        return Document(file, None, None, found)
    reader = _Reader(text, file, found)
    try:
        value, places = reader.document()
    except _StopReadingError:
        return Document(file, None, None, list(in_order(found)))
    except yaml.YAMLError as error:
        found.extend(explain_syntax(error, text, file))
        return Document(file, None, None, list(in_order(found)))
    return Document(file, value, places, found)


class _Reader:
    def __init__(self, text: str, file: str, found: list[Finding]) -> None:
        # A fresh parser a document: libyaml's keeps its buffers as long as it lives.
        self._parser: Any = _parser(text)
        self._next = self._parser.get_event
        self._file = file
        self._found = found
        self._nodes = 0
        self._anchors: dict[str, tuple[Any, Places, int, int] | None] = {}
        self._path: list[str | int] = []

    def document(self) -> tuple[Any, Places]:
        self._next()
        event = self._next()
        if isinstance(event, StreamEndEvent):
            self._stop(
                event.start_mark, "the file is empty", "a catalog that begins with version: 1"
            )
        value, places, _ = self._value(self._next(), 0)
        self._next()
        event = self._next()
        if isinstance(event, DocumentStartEvent):
            self._stop(event.start_mark, "a second document begins", "one document a file")
        if not isinstance(value, dict):
            mark = places.start_mark if isinstance(places, ScalarEvent) else places.mark
            self._stop(
                mark, "the file is not a mapping", "keys and values, beginning with version: 1"
            )
        return value, places

    def _value(self, event: Any, depth: int) -> tuple[Any, Places, int]:
        """Return a value, its places, and how many levels it has."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._too_many(event)
        kind = type(event)
        if kind is AliasEvent:
            return self._alias(event, depth)
        if event.tag is not None and event.tag != "!":
            self._find(
                event, f"the tag {_shown(event.tag)} is not understood", "values without tags"
            )
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None
        count = self._nodes
        value: Any
        places: Places
        levels = 0
        if kind is ScalarEvent:
            value, places = event.value, event
            if event.implicit[0]:
                try:
                    value = plain(value)
                except FieldError as error:
                    self._find(event, error.message, error.allowed, error.suggestion)
        else:
            if depth >= MAX_DEPTH:
                self._stop(
                    event.start_mark,
                    f"lists and mappings are nested more than {MAX_DEPTH} deep",
                    f"at most {MAX_DEPTH} levels",
                )
            if kind is MappingStartEvent:
                value, places, levels = self._mapping(event, depth + 1)
            else:
                value, places, levels = self._sequence(event, depth + 1)
            levels += 1
        if anchor is not None:
            self._anchors[anchor] = (value, places, self._nodes - count + 1, levels)
        return value, places, levels

    def _mapping(self, start: Any, depth: int) -> tuple[dict[str, Any], MapPlaces, int]:
        values: dict[str, Any] = {}
        places = MapPlaces(start.start_mark)
        items = places.items
        levels = 0
        path = self._path
        while type(event := self._next()) is not MappingEndEvent:
            key = self._key(event, items)
            path.append(key if key is not None else "?")
            value, place, below = self._value(self._next(), depth)
            path.pop()
            levels = max(levels, below)
            if key is not None:
                values[key] = value
                items[key] = (event.start_mark, place)
        return values, places, levels

    def _key(self, event: Any, seen: dict[str, tuple[Any, Places]]) -> str | None:
        """Return a key, or None when it is refused; its value is read all the same."""
        self._nodes += 1
        if type(event) is not ScalarEvent:
            self._stop(event.start_mark, "a key is a list, a mapping or an alias", "text as keys")
        key: str = event.value
        if event.anchor is not None or event.tag is not None:
            self._find(event, "a key has an anchor or a tag", "text as keys")
        if event.implicit[0]:
            if key == "<<":
                self._find(
                    event, "merge keys are not supported", "each entry written out, or an alias"
                )
                return None
            try:
                key = plain_key(key)
            except FieldError as error:
                self._find(event, error.message, error.allowed, error.suggestion)
                return None
        if key in seen:
            line, _ = position(seen[key][0])
            self._path.append(key)
            self._find(event, f"the key is there twice, first in line {line}", "each key once")
            self._path.pop()
            return None
        return key

    def _sequence(self, start: Any, depth: int) -> tuple[tuple[Any, ...], ListPlaces, int]:
        values: list[Any] = []
        places = ListPlaces(start.start_mark)
        levels = 0
        while type(event := self._next()) is not SequenceEndEvent:
            self._path.append(len(values))
            value, place, below = self._value(event, depth)
            self._path.pop()
            levels = max(levels, below)
            values.append(value)
            places.items.append(place)
        return tuple(values), places, levels

    def _alias(self, event: Any, depth: int) -> tuple[Any, Places, int]:
        known = self._anchors.get(event.anchor)
        if known is None:
            inside = event.anchor in self._anchors
            what = "stands inside its own anchor" if inside else "has no anchor before it"
            self._stop(event.start_mark, f"the alias *{_shown(event.anchor)} {what}", "")
        value, places, size, levels = known
        self._nodes += size
        if self._nodes > MAX_NODES or depth + levels > MAX_DEPTH:
            self._too_many(event)
        return value, places, levels

    def _too_many(self, event: Any) -> NoReturn:
        self._stop(
            event.start_mark,
            "the file has too many keys and values, or aliases that stand for too many",
            f"at most {MAX_NODES:,}",
        )

    def _find(self, event: Any, message: str, allowed: str = "", suggestion: str = "") -> None:
        line, column = position(event.start_mark)
        field = show_path(tuple(self._path))
        self._found.append(
            Finding(self._file, line, column, "error", field, message, allowed, suggestion)
        )
        if len(self._found) >= MAX_FINDINGS:
            self._stop(event.start_mark, "there are more errors than are listed here", "")

    def _stop(self, mark: Any, message: str, allowed: str) -> NoReturn:
        line, column = position(mark)
        self._found.append(Finding(self._file, line, column, "error", "", message, allowed))
        raise _StopReadingError


def _parser(text: str) -> Any:
    if yaml.__with_libyaml__:
        # types-PyYAML does not export it: it is there only where libyaml was built in.
        from yaml.cyaml import CParser  # type: ignore[attr-defined]

        return CParser(text)
    return yaml.SafeLoader(text)


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
