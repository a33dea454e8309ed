"""Grants as JSON: what policy froze, in a form a later version can read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from arcetri_spawner.errors import StoreError
from arcetri_spawner.policy.model import Grant

_GRANT = TypeAdapter(Grant)


def dump(grant: Grant) -> dict[str, Any]:
    """Return the grant as JSON values."""
    dumped: dict[str, Any] = _GRANT.dump_python(grant, mode="json")
    return dumped


def load(data: Mapping[str, Any]) -> Grant:
    """Read a grant back, exactly as it was.

    Fields that a later version added are taken at their defaults.

    Raises:
        StoreError: The stored data is no grant.
    """
    try:
        return _GRANT.validate_python(dict(data))
    except ValidationError:
        raise StoreError(
            "A stored grant cannot be read.",
            code="grant_unreadable",
            remedy="The database was written by another version of Arcetri: run that version, or"
            " stop the sessions and start with --fresh.",
        ) from None
