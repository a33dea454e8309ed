"""How the spawner learns who a person is, without knowing how they log in."""

from __future__ import annotations

from typing import Protocol

from arcetri_spawner.policy.model import Identity


class IdentitySource(Protocol):
    """Answers with a person's standing and groups."""

    async def fresh(self, username: str) -> Identity:
        """Ask the identity provider again, and return what is true now.

        Never raises for a provider that refuses or is silent: the identity's standing says so.
        Calls for one person are serialised, and one answer serves calls a few seconds apart.
        """
        ...

    async def known(self, username: str) -> Identity:
        """What is known without asking; for pages."""
        ...
