"""Read YAML into plain data, with the position of every key and value, in bounded time and memory.

The parser is PyYAML's over libyaml where that is built in. Its events are turned into data here
rather than by PyYAML's constructors, which lose positions, take the last of two equal keys, guess
at scalars, and have no bound on depth (the scanner's time grows with its square) or on aliases.
"""

from __future__ import annotations

import re
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

from arcetri_spawner.catalog.fields import FieldError
from arcetri_spawner.catalog.findings import (
    MAX_FINDINGS,
    Finding,
    Path,
    Severity,
    in_order,
    show_path,
)
from arcetri_spawner.catalog.scalars import plain, plain_key
from arcetri_spawner.groups import normalize_group

MAX_BYTES = 4 * 1024 * 1024
"""The largest file that is read."""
MAX_DEPTH = 24
"""Lists and mappings in one another; the models need 7."""
MAX_NODES = 400_000
"""Keys and values, each alias counted as all it stands for; 1,000 groups that list 60 flavours
with quota and borrow have 370,000."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_TAB_INDENT = re.compile(r"^ *\t[ \t]*(?=[^\s#])", re.MULTILINE)

Mark = tuple[int, int]
"""Line and column, both from 1."""


class MapPlaces:
    """Where a mapping, its keys and its values are."""

    __slots__ = ("items", "mark")

    def __init__(self, mark: Any) -> None:
        self.mark = mark
        self.items: dict[str, tuple[Any, Places]] = {}


class ListPlaces:
    """Where a list and its values are."""

    __slots__ = ("items", "mark")

    def __init__(self, mark: Any) -> None:
        self.mark = mark
        self.items: list[Places] = []


Places = MapPlaces | ListPlaces | ScalarEvent
"""Where a value is; a scalar's own event also keeps how it was written."""


class Document:
    """What was read: the data, where each part is, and what was wrong with the YAML itself."""

    def __init__(self, file: str, data: Any, places: Places | None, found: list[Finding]) -> None:
        self.file = file
        self.data = data
        self._places = places
        self.findings = found

    def find(
        self,
        severity: Severity,
        path: Path,
        message: str,
        allowed: str = "",
        suggestion: str = "",
        *,
        at_key: bool = False,
    ) -> Finding:
        """Make a finding at the value (or the key) that ``path`` leads to, or the nearest above."""
        line, column = self.locate(path, at_key=at_key)
        return Finding(
            self.file, line, column, severity, show_path(path), message, allowed, suggestion
        )

    def locate(self, path: Path, *, at_key: bool = False) -> Mark:
        """Return the position of a value or its key; where there is none, of the nearest above."""
        place = self._places
        mark: Any = None
        for step in path:
            if isinstance(place, MapPlaces) and isinstance(step, str):
                item = place.items.get(step) or _same_group(place, step)
                if item is None:
                    return _position(mark if mark is not None else place.mark)
                mark, place = item
            elif (
                isinstance(place, ListPlaces) and isinstance(step, int) and step < len(place.items)
            ):
                mark, place = None, place.items[step]
            else:
                break
        if place is None:
            return (1, 1)
        if at_key and mark is not None:
            return _position(mark)
        if isinstance(place, ScalarEvent):
            if place.value == "" and not place.style and mark is not None:
                return _position(mark)
            return _position(place.start_mark)
        return _position(place.mark)

    def written(self, path: Path) -> str:
        """Return how a scalar was written, without quotes; "" for anything else."""
        place = self._places
        for step in path:
            if isinstance(place, MapPlaces) and isinstance(step, str):
                item = place.items.get(step) or _same_group(place, step)
                place = item[1] if item else None
            elif (
                isinstance(place, ListPlaces) and isinstance(step, int) and step < len(place.items)
            ):
                place = place.items[step]
            else:
                return ""
        return str(place.value) if isinstance(place, ScalarEvent) else ""


def _position(mark: Any) -> Mark:
    return (mark.line + 1, mark.column + 1)


def _same_group(place: MapPlaces, step: str) -> tuple[Any, Places] | None:
    """Find the key that is this group path once normalised."""
    if not step.startswith("/"):
        return None
    for key, item in place.items.items():
        try:
            if normalize_group(key) == step:
                return item
        except ValueError:
            continue
    return None


class _StopReadingError(Exception):
    """Nothing after this point would make sense."""


def read(data: bytes, file: str) -> Document:
    """Read one YAML document.

    Never raises for what the bytes hold: the document's findings say it, and with an error among
    them that ends the reading its data is None.
    """
    text, found = _decode(data, file)
    if text is None:
        return Document(file, None, None, found)
    reader = _Reader(text, file, found)
    try:
        value, places = reader.document()
    except _StopReadingError:
        return Document(file, None, None, list(in_order(found)))
    except yaml.YAMLError as error:
        found.extend(_syntax(error, text, file))
        return Document(file, None, None, list(in_order(found)))
    return Document(file, value, places, found)


def _decode(data: bytes, file: str) -> tuple[str | None, list[Finding]]:
    def refuse(line: int, column: int, message: str, allowed: str) -> tuple[None, list[Finding]]:
        return None, [Finding(file, line, column, "error", "", message, allowed)]

    if len(data) > MAX_BYTES:
        return refuse(1, 1, f"the file has {len(data):,} bytes", f"at most {MAX_BYTES:,} bytes")
    found: list[Finding] = []
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return refuse(1, 1, "the file is written in UTF-16", "UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        found.append(
            Finding(
                file, 1, 1, "warning", "", "the file begins with a byte order mark", "plain UTF-8"
            )
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        return refuse(line, column, f"the byte 0x{data[error.start]:02x} is not UTF-8", "UTF-8")
    control = _CONTROL.search(text)
    if control is not None:
        line, column = _line_column(text, control.start())
        what = f"the control character U+{ord(control[0]):04X} is in the file"
        return refuse(line, column, what, "text")
    return text, found


def _line_column(text: str, index: int) -> Mark:
    return (text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


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
            line, _ = _position(seen[key][0])
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
        line, column = _position(event.start_mark)
        field = show_path(tuple(self._path))
        self._found.append(
            Finding(self._file, line, column, "error", field, message, allowed, suggestion)
        )
        if len(self._found) >= MAX_FINDINGS:
            self._stop(event.start_mark, "there are more errors than are listed here", "")

    def _stop(self, mark: Any, message: str, allowed: str) -> NoReturn:
        line, column = _position(mark)
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


_PROBLEMS = (
    (
        "mapping values are not allowed",
        "a colon is where no key can be",
        "one key a line; text with a colon in quotes",
    ),
    (
        "could not find expected ':'",
        "a line is neither a key with a colon nor an item of a list",
        "KEY: VALUE",
    ),
    (
        "did not find expected key",
        "the indentation does not fit what is above",
        "keys of one mapping in one column",
    ),
    (
        "did not find expected '-'",
        "the indentation does not fit the list above",
        "items of one list in one column",
    ),
    (
        "did not find expected ',' or '}'",
        "a { is not closed, or a comma is missing",
        "{KEY: VALUE, KEY: VALUE}",
    ),
    (
        "did not find expected ',' or ']'",
        "a [ is not closed, or a comma is missing",
        "[VALUE, VALUE]",
    ),
    (
        "found unexpected end of stream",
        "a quoted text is not closed",
        "a quote at both ends",
    ),
    (
        "cannot start any token",
        "a value begins with a character that YAML keeps for itself",
        "such text in quotes",
    ),
    (
        "found undefined tag handle",
        "a tag is not understood",
        "values without tags",
    ),
    (
        "entries are not allowed",
        "an item of a list cannot be here",
        "items below their key, each in a line",
    ),
    (
        "expected <document start>",
        "there is text after the end of the document",
        "one document a file",
    ),
    (
        "expected node content",
        "a value is missing, or a bracket is not closed",
        "a value",
    ),
)
"""What libyaml and PyYAML say, and what to say of it."""


def _syntax(error: yaml.YAMLError, text: str, file: str) -> list[Finding]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = _position(mark) if mark is not None else (1, 1)
    problem = str(getattr(error, "problem", "") or "it cannot be read")
    tabs = []
    for tab in _TAB_INDENT.finditer(text):
        at, start = _line_column(text, tab.start() + tab[0].index("\t"))
        if abs(at - line) <= 1:
            tabs.append(
                Finding(file, at, start, "error", "", "a tab is in the indentation", "spaces")
            )
        if at > line + 1 or len(tabs) > 2:
            break
    if tabs:
        return tabs
    for start_of, message, allowed in _PROBLEMS:
        if start_of in problem:
            return [Finding(file, line, column, "error", "", message, allowed)]
    return [Finding(file, line, column, "error", "", f"this is not YAML: {problem}")]
