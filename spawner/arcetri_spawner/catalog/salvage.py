"""What is left of a catalog without its wrong entries, so that the rest can be checked as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from arcetri_spawner.catalog.findings import Path
from arcetri_spawner.catalog.models import Catalog

_ENTRIES = frozenset({"flavors", "sizes", "environments", "volumes", "groups"})
_STAND_INS: dict[str, Any] = {
    "version": 1,
    "defaults": {"idle": "1h", "lifetime": "3d", "hold": "10m", "grace": "5m", "stop": "30s"},
    "ids": {"users": "200000-299999", "groups": "300000-309999"},
    "flavors": {},
    "sizes": {},
    "environments": {},
}
"""For required sections that are wrong or missing; nothing is ever reported of these."""


def salvage(data: dict[str, Any], wrong: Iterable[Path]) -> Catalog | None:
    """Return the catalog without what ``wrong`` leads to, or None when that is no catalog either.

    As little as possible is left out: a group's flavour, a group's field, an entry, or a section.
    """
    left = _copy(data, 4)
    for path in wrong:
        _remove(left, path)
    for section, stand_in in _STAND_INS.items():
        left.setdefault(section, stand_in)
    try:
        return Catalog.model_validate(left)
    except ValidationError:
        return None


def _copy(data: dict[str, Any], levels: int) -> dict[str, Any]:
    return {
        key: _copy(value, levels - 1) if levels > 1 and isinstance(value, dict) else value
        for key, value in data.items()
    }


def _remove(left: dict[str, Any], path: Path) -> None:
    steps = [step for step in path if isinstance(step, str) and step != "[key]"]
    if not steps:
        return
    depth = 1
    if steps[0] in _ENTRIES:
        depth = 2
        if steps[0] == "groups":
            depth = 4 if steps[2:3] == ["flavors"] else 3
    here: Any = left
    steps = steps[:depth]
    for step in steps[:-1]:
        here = here.get(step) if isinstance(here, dict) else None
    if isinstance(here, dict):
        here.pop(steps[-1], None)
