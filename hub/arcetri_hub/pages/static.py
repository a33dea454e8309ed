"""Our stylesheet, scripts and icons; the hub serves them itself, from this package."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from jupyterhub.handlers.static import CacheControlStaticFilesHandler

STATIC = Path(__file__).parent.parent / "static"


class Static(CacheControlStaticFilesHandler):
    """``/hub/arcetri/static/...``; a link that names a file's digest may be kept for a year."""

    def get_cache_time(self, path: str, modified: object, mime_type: str) -> int:  # noqa: ARG002
        """How long a browser may keep a file it was given with its digest."""
        return 365 * 24 * 3600 if "v" in self.request.arguments else 0


@cache
def digest(name: str) -> str:
    """A short digest of one of our files, so that an upgrade is never served from a cache."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def asset(base_url: str, name: str) -> str:
    """The URL of one of our files."""
    return f"{base_url}arcetri/static/{name}?v={digest(name)}"
