"""profiles.yaml: its models, its checks, its schema and its reload."""

from arcetri_spawner.catalog.findings import Finding
from arcetri_spawner.catalog.holder import CatalogHolder, ReloadResult
from arcetri_spawner.catalog.loading import CheckResult, check, load, parse
from arcetri_spawner.catalog.models import Catalog, LoadedCatalog
from arcetri_spawner.catalog.schema import json_schema

__all__ = [
    "Catalog",
    "CatalogHolder",
    "CheckResult",
    "Finding",
    "LoadedCatalog",
    "ReloadResult",
    "check",
    "json_schema",
    "load",
    "parse",
]
