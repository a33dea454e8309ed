"""Warnings for what is legal in a catalog but surely a mistake."""

from __future__ import annotations

from arcetri_spawner.catalog.findings import Finding
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.catalog.reader import Document


def lint(catalog: Catalog, document: Document) -> list[Finding]:
    """Return a warning for each thing that is legal but surely a mistake."""
    return []
