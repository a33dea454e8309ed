"""Group paths, normalised in this one place.

A group is its full IAM path with a leading slash and none at its end, compared exactly and
case-sensitively: ``/a`` neither matches nor grants ``/ab`` or ``/a/b``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NewType

GroupPath = NewType("GroupPath", str)

EVERYONE = GroupPath("everyone")
"""Who is charged for a flavour that the catalog gives to everyone. No real path lacks a slash."""

_SEGMENT = re.compile(r"[^/\x00-\x1f\x7f]+")
_MAX_LENGTH = 512


def normalize_group(path: str) -> GroupPath:
    """Return the one spelling of a group path, given with or without a leading slash.

    Raises:
        ValueError: The path is empty, too long, or has an empty segment or a control character.
    """
    stripped = path.strip(" ")
    body = stripped[1:] if stripped.startswith("/") else stripped
    body = body[:-1] if body.endswith("/") else body
    if not body:
        raise ValueError("a group path cannot be empty; write it like /experiment/team")
    if len(body) >= _MAX_LENGTH:
        raise ValueError(f"a group path has at most {_MAX_LENGTH} characters")
    for segment in body.split("/"):
        if not _SEGMENT.fullmatch(segment) or segment in (".", "..") or segment != segment.strip():
            raise ValueError(
                "a group path is names joined by single slashes, such as /experiment/team"
            )
    return GroupPath("/" + body)


def with_parents(paths: Iterable[GroupPath]) -> frozenset[GroupPath]:
    """Add the groups that these lie in: IAM makes a member of one a member of the others."""
    found: set[GroupPath] = set()
    for path in paths:
        names = path[1:].split("/")
        found.update(GroupPath("/" + "/".join(names[:n])) for n in range(1, len(names) + 1))
    return frozenset(found)


def normalize_groups(paths: Iterable[object]) -> frozenset[GroupPath]:
    """Normalise what an identity provider sent; what is no group path is left out."""
    normal: set[GroupPath] = set()
    for path in paths:
        if isinstance(path, str):
            try:
                normal.add(normalize_group(path))
            except ValueError:
                continue
    return frozenset(normal)
