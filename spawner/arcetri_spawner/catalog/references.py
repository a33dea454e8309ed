"""Checks of a catalog that need two of its fields at once."""

from __future__ import annotations

from arcetri_spawner.catalog.findings import Finding
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.catalog.reader import Document


def check_references(catalog: Catalog, document: Document) -> list[Finding]:
    """Return an error for each thing that cannot be, looking across fields."""
    return []
