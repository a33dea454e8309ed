"""Which parts of a catalog an error leaves in doubt: nothing is said to be missing from those."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from arcetri_spawner.catalog.findings import Finding, Path, show_path
from arcetri_spawner.catalog.models import Catalog

GRANTS: Final = "grants"
"""What groups are granted; which groups there are is ``groups``."""
QUOTAS: Final = "quotas"
"""How much groups are entitled to of what they are granted."""
_NO_GRANTS: Final = frozenset({"title", "leads", "subgroups"})


def in_doubt(
    wrong: Iterable[Path],
    dangling: Iterable[Finding],
    malformed: Iterable[Finding],
    data: Mapping[str, Any],
) -> frozenset[str]:
    """Return the sections, `GRANTS` and `QUOTAS` of which it is not known what they were to say.

    Args:
        wrong: Where the models found something wrong.
        dangling: Names that nothing has.
        malformed: What is wrong with the YAML; warnings among it count for nothing.
        data: The document's own data.
    """
    doubted: set[str] = set()
    shown: set[str] = set()
    for path in wrong:
        shown.add(show_path(path))
        doubted.update(_of(path, data))
    for finding in dangling:
        section = _section(finding)
        doubted.add(GRANTS if section == "groups" else section)
    for finding in malformed:
        if finding.severity == "error" and finding.field not in shown:
            doubted.update(_of((_section(finding),), data))
    return frozenset(doubted)


def _section(finding: Finding) -> str:
    return finding.field.split(".")[0].split("[")[0]


def _of(path: Path, data: Mapping[str, Any]) -> Iterator[str]:
    section = path[0] if path else ""
    if section not in Catalog.model_fields:
        # Meant for any section that is not there.
        yield from (name for name in Catalog.model_fields if name not in data)
    elif section != "groups" or len(path) < 3 or path[2] == "[key]":
        yield str(section)
    elif path[2] == "flavors" and len(path) > 4 and path[4] != "[key]":
        yield QUOTAS
    elif path[2] not in _NO_GRANTS:
        yield GRANTS
