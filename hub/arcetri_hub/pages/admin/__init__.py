"""The admins' own page: who holds what, since when; and stopping it with a message."""

from __future__ import annotations

from typing import Any

from arcetri_hub.pages.admin.api import SessionApi, SessionsApi
from arcetri_hub.pages.admin.page import EndSession, SessionsPage
from arcetri_hub.pages.admin.platform import AdminPlatform

__all__ = ["handlers"]


def handlers(platform: AdminPlatform) -> list[tuple[str, type, dict[str, Any]]]:
    """The routes, below ``/hub``."""
    known = {"platform": platform}
    return [
        (r"/arcetri/sessions", SessionsPage, known),
        (r"/arcetri/sessions/([^/]+)/end", EndSession, known),
        (r"/api/arcetri/sessions", SessionsApi, known),
        (r"/api/arcetri/sessions/([^/]+)", SessionApi, known),
    ]
