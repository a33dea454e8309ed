"""A catalog as it was read: its data, and where in the file each part of it is."""

from __future__ import annotations

from typing import Any

from yaml.events import ScalarEvent

from arcetri_spawner.catalog.findings import Finding, Path, Severity, show_path
from arcetri_spawner.groups import normalize_group

_LONGEST = 400
"""Characters of a sentence; what it quotes from the file may be megabytes."""
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
        self._groups: dict[int, dict[str, tuple[Any, Places]]] = {}
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
        if len(message) > _LONGEST:
            message = message[: _LONGEST - 3] + "..."
        if len(suggestion) > _LONGEST:
            suggestion = ""
        return Finding(
            self.file, line, column, severity, show_path(path), message, allowed, suggestion
        )

    def locate(self, path: Path, *, at_key: bool = False) -> Mark:
        """Return the position of a value or its key; where there is none, of the nearest above."""
        place = self._places
        if place is None:
            return (1, 1)
        key: Any = None
        for step in path:
            item = self._inside(place, step)
            if item is None:
                break
            key, place = item
        else:
            if not at_key and not (isinstance(place, ScalarEvent) and _is_nothing(place)):
                key = None
        if key is not None:
            return position(key)
        return position(place.start_mark if isinstance(place, ScalarEvent) else place.mark)

    def written(self, path: Path) -> str:
        """Return how a scalar was written, without quotes; "" for anything else."""
        place = self._places
        for step in path:
            item = self._inside(place, step) if place is not None else None
            if item is None:
                return ""
            place = item[1]
        return str(place.value) if isinstance(place, ScalarEvent) else ""

    def _inside(self, place: Places, step: str | int) -> tuple[Any, Places] | None:
        """Return the mark of the key (None in a list) and the place of one value inside another."""
        if isinstance(place, MapPlaces) and isinstance(step, str):
            return place.items.get(step) or self._same_group(place, step)
        if isinstance(place, ListPlaces) and isinstance(step, int) and step < len(place.items):
            return None, place.items[step]
        return None

    def _same_group(self, place: MapPlaces, step: str) -> tuple[Any, Places] | None:
        """Find the key that is this group path once normalised."""
        if not step.startswith("/"):
            return None
        known = self._groups.get(id(place))
        if known is None:
            known = self._groups[id(place)] = {}
            for key, item in place.items.items():
                try:
                    known.setdefault(normalize_group(key), item)
                except ValueError:
                    continue
        return known.get(step)


def _is_nothing(scalar: ScalarEvent) -> bool:
    return not scalar.value and not scalar.style


def position(mark: Any) -> Mark:
    """Return a mark of the parser, which counts from 0, as a position."""
    return (mark.line + 1, mark.column + 1)
