"""What a check of profiles.yaml has to say, one finding at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Severity = Literal["error", "warning"]
MAX_FINDINGS = 1000
"""So many findings of one file are listed."""
Path = tuple[str | int, ...]
"""Keys and list positions that lead from the root to a value."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or surely a mistake, in a catalog."""

    file: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    severity: Severity
    field: str
    """The path of the field, such as ``flavors.t4.share`` or ``everyone.flavors[0]``; may be ""."""
    message: str
    """What is wrong."""
    allowed: str = ""
    """What is allowed instead."""
    suggestion: str = ""
    """What was probably meant."""

    def render(self) -> str:
        """Return ``FILE:LINE:COL: error|warning: FIELD: what is wrong; allowed; did you mean X``.

        Parts that this finding does not have are left out.
        """
        parts = [self.message]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.suggestion:
            parts.append(f"did you mean {self.suggestion}")
        field = f"{self.field}: " if self.field else ""
        place = f"{self.file}:{self.line}:{self.column}"
        line = f"{place}: {self.severity}: {field}{'; '.join(parts)}"
        # What a file holds may be quoted in here; it never begins a line or moves a cursor.
        return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return asdict(self)


def show_path(path: Path) -> str:
    """Write a field's path the way findings show it."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            plain = step if step.isprintable() else repr(step)[1:-1]
            plain = plain if len(plain) <= 80 else plain[:77] + "..."
            shown += f".{plain}" if shown else plain
    return shown


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings by position, errors before warnings at one place, each said once.

    After `MAX_FINDINGS` a last one says how many more there are.
    """
    found = sorted(
        dict.fromkeys(findings),
        key=lambda one: (one.line, one.column, one.severity, one.field, one.message),
    )
    if len(found) <= MAX_FINDINGS:
        return tuple(found)
    rest = found[MAX_FINDINGS:]
    worst: Severity = "error" if any(one.severity == "error" for one in rest) else "warning"
    message = f"{len(rest):,} more findings from here on are not listed"
    return (
        *found[:MAX_FINDINGS],
        replace(rest[0], severity=worst, field="", message=message, allowed="", suggestion=""),
    )
