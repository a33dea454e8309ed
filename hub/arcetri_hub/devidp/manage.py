"""The management page."""

from __future__ import annotations

from starlette.routing import Route

from arcetri_hub.devidp.site import Site


def routes(site: Site) -> list[Route]:
    """The routes of this module."""
    del site
    return []
