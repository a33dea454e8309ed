"""Whether all that a session needs answers, for who looks after the platform."""

from __future__ import annotations

from arcetri_hub.pages.base import PlatformHandler
from arcetri_spawner.errors import ArcetriError

REFUSED = (
    "profiles.yaml was changed and refused: the last good one serves. The hub's log and the admins'"
    " pages say what is wrong."
)


class PartsNow(PlatformHandler):
    """``/hub/arcetri/health``: 200 where a session could start, 503 with what does not answer.

    Needs no login: it names parts of the platform, and nobody's sessions. JupyterHub's own
    ``/hub/api/health`` says only that the hub's process lives. What should be looked at, though
    sessions start, stands under ``doubts``.
    """

    async def get(self) -> None:
        """Ask each part, for a few seconds at most."""
        unwell = list(await self.platform.backend.unwell())
        try:
            await self.platform.store.ping()
        except ArcetriError:
            unwell.append("The database does not answer.")
        self.set_status(503 if unwell else 200)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        doubts = [REFUSED] if self.platform.catalogs.findings else []
        self.finish({"unwell": unwell, "doubts": doubts})
