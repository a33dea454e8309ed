"""How the spawner learns who a person is, without knowing how they log in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Identity


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numeric ids a site's IAM may hand out; absent ones are allocated by the platform."""

    uid: int | None = None
    gids: Mapping[GroupPath, int] | None = None


class NumberSource(Protocol):
    """Answers with the numeric ids that a person's login claimed."""

    async def numbers(self, username: str) -> Numbers:
        """What is known without asking; nothing for somebody who has never logged in."""
        ...


class IdentitySource(Protocol):
    """Answers with a person's standing and groups."""

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:
        """Ask the identity provider again, and return what is true now.

        Never raises for a provider that refuses or is silent: the identity's standing says so.
        Calls for one person are serialised; those that come while it is asked share its answer. A
        caller that gives up waiting does not end the question.

        Args:
            username: The account's name.
            reuse: Seconds for which an answer given before will do.
        """
        ...

    async def known(self, username: str) -> Identity:
        """What is known without asking; for pages."""
        ...
