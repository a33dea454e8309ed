"""What the pages need of the platform; the factory's ``Platform`` has all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from arcetri_hub.metrics import Metrics
    from arcetri_hub.reaper import Notice
    from arcetri_spawner.backends.base import Backend
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.identity import IdentitySource
    from arcetri_spawner.service import SessionService
    from arcetri_spawner.store import Store


class PagesPlatform(Protocol):
    """The parts the pages read from, and ask to start and end sessions."""

    @property
    def catalogs(self) -> CatalogHolder:
        """The catalog in force."""
        ...

    @property
    def backend(self) -> Backend:
        """What there is, and where a session finds its folders."""
        ...

    @property
    def service(self) -> SessionService:
        """Offers, early refusals, live sessions."""
        ...

    @property
    def identities(self) -> IdentitySource:
        """Who a person is, without asking anew."""
        ...

    @property
    def store(self) -> Store:
        """Remembered choices and how sessions ended."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Where the pages count."""
        ...

    def notices(self, username: str) -> list[Notice]:
        """What a user must know of their sessions: nodes that do not answer, announced ends."""
        ...
