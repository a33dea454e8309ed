"""A catalog as it was read: its data, and where in the file each part of it is."""

from __future__ import annotations

from typing import Any

from yaml.events import ScalarEvent

from arcetri_spawner.catalog.findings import Finding, Path, Severity, show_path
from arcetri_spawner.groups import normalize_group

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
                    return position(mark if mark is not None else place.mark)
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
            return position(mark)
        if isinstance(place, ScalarEvent):
            if place.value == "" and not place.style and mark is not None:
                return position(mark)
            return position(place.start_mark)
        return position(place.mark)

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


def position(mark: Any) -> Mark:
    """Return a mark of the parser, which counts from 0, as a position."""
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
