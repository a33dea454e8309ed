"""Catalogs as text, and what a check says of an edit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import arcetri_hub
from arcetri_spawner.catalog import CheckResult, parse

SHIPPED = Path(arcetri_hub.__file__).parent / "catalogs"
DEMO = (SHIPPED / "demo.yaml").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def edited(*edits: tuple[str, str]) -> str:
    """Return the demonstration catalog with each text replaced once; the text must be there."""
    text = DEMO
    for old, new in edits:
        assert old in text, f"the demonstration catalog has no {old!r}"
        text = text.replace(old, new, 1)
    return text


def checked(text: str) -> CheckResult:
    """Check a catalog given as text, at a fixed moment."""
    return parse(text.encode(), "p.yaml", now=NOW)


def lines(text: str) -> list[str]:
    """Return all that a check prints of a catalog."""
    return [finding.render() for finding in checked(text).findings]


def line_of(text: str, part: str) -> int:
    """Return the number of the first line that has ``part``, from 1."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)
