"""What the admins' page needs of the platform, besides what every page does."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from arcetri_hub.pages.platform import PagesPlatform


class IdleTimes(Protocol):
    """Tells how long sessions have been idle; the reaper does."""

    def idle_for(self, session_id: UUID) -> timedelta | None:
        """How long nothing is known to have happened; None for one not looked at yet."""
        ...


class AdminPlatform(PagesPlatform, Protocol):
    """The parts the admins' page reads from."""

    @property
    def reaper(self) -> IdleTimes | None:
        """How long sessions have been idle; None until the hub has started."""
        ...
