"""``python -m arcetri_hub.up.endsessions``: end all sessions of a platform whose hub is gone.

Does it as the hub would, so that leases are free, and the journal and the next page say why; but
without JupyterHub and the login, whose import alone takes longer than the rest.
"""

from __future__ import annotations

import asyncio
import sys

from arcetri_hub.settings import Settings, SettingsError, settings_from_environment
from arcetri_hub.up.prepare import DEMO_CATALOG
from arcetri_spawner.backends.local import LocalBackend, LocalConfig, LocalQueue
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.errors import ArcetriError, CatalogError
from arcetri_spawner.policy.model import Identity, Standing
from arcetri_spawner.service import SessionService
from arcetri_spawner.store import Store


class _Nobody:
    """Identities of a service that starts nothing."""

    async def fresh(self, username: str, *, reuse: float = 0.0) -> Identity:  # noqa: ARG002
        """Nobody is known."""
        return Identity("", username, frozenset(), Standing.UNKNOWN)

    async def known(self, username: str) -> Identity:
        """Nobody is known."""
        return await self.fresh(username)


async def _end(settings: Settings) -> None:
    catalogs = _catalogs(settings)
    store = Store.open(settings.database_url)
    try:
        config = LocalConfig(settings.state_dir, settings.instance_id, accounts=settings.accounts)
        backend = LocalBackend(config, store, catalogs)
        service = SessionService(
            catalogs=catalogs,
            store=store,
            queue=LocalQueue(backend, store, catalogs),
            backend=backend,
            identities=_Nobody(),
        )
        await backend.recover()
        await service.recover()
        await service.close(end_sessions=True)
        await backend.close()
    finally:
        store.close()


def _catalogs(settings: Settings) -> CatalogHolder:
    """A catalog; any will do, because all that an end depends on was frozen at the start."""
    try:
        return CatalogHolder(settings.profiles)
    except CatalogError:
        return CatalogHolder(DEMO_CATALOG)


if __name__ == "__main__":
    try:
        asyncio.run(_end(settings_from_environment()))
    except (ArcetriError, SettingsError) as error:
        sys.exit(f"arcetri: {error}")
