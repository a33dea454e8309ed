"""Account names, made from whatever an identity provider sends.

Guarantees: a name is a safe slug (see ``policy.names``); a preferred user name that is one already
stays as it is; two different preferred user names never make the same slug, whatever they hold,
because what had to be changed carries a digest of what it was.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from arcetri_spawner.policy.names import ACCOUNT_NAME_LENGTH, is_account_name

RESERVED: Final = frozenset(
    {"root", "daemon", "bin", "sys", "nobody", "nogroup", "admin", "everyone", "jupyterhub"}
)
"""Names that mean something else where sessions run; asked for, they count as taken."""

_DIGEST = 10
_LOOKS_DIGESTED = re.compile(rf"-[0-9a-f]{{{_DIGEST}}}$")
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


def account_slug(preferred: str) -> str:
    """Return the safe name for a preferred user name; injective."""
    if is_account_name(preferred) and not _LOOKS_DIGESTED.search(preferred):
        return preferred
    ascii_only = unicodedata.normalize("NFKD", preferred[:256]).encode("ascii", "ignore").decode()
    body = _UNSAFE.sub("-", ascii_only.lower()).strip("-._") or "user"
    digest = hashlib.sha256(preferred.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{body[: ACCOUNT_NAME_LENGTH - _DIGEST - 1].rstrip('-._')}-{digest}"


def free_name(slug: str, taken: Callable[[str], bool]) -> str:
    """Return the slug, or the first of slug-2, slug-3, ... that nobody has or ever had."""
    name, count = slug, 1
    while name in RESERVED or taken(name):
        count += 1
        suffix = f"-{count}"
        name = slug[: ACCOUNT_NAME_LENGTH - len(suffix)] + suffix
    return name
