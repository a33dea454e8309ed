"""What the spawner tells the ledger: the second witness of each session, and the catalog's extract.

Pure translations; ``arcetri_accounting.client`` keeps and delivers what comes out of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted
from arcetri_accounting.contract.witness import CatalogSnapshot, FlavorTerms, GroupTerms
from arcetri_spawner.groups import EVERYONE

if TYPE_CHECKING:
    from arcetri_spawner.catalog.models import Catalog, LoadedCatalog

Told = Callable[[LeaseStarted | LeaseEnded], None]
"""Told of each start and end once it is in the journal, in the journal's order, and of all that the
journal still has when it is opened again. Must not raise; may block for a write to a disk."""


ToldOf = Callable[[LeaseStarted | LeaseEnded, str], None]
"""Told of each start and end that is seen on a cluster, and on which node; the same one may come
again. Must not raise; may block for a write to a disk."""


def tell_nobody_of(_record: LeaseStarted | LeaseEnded, _node: str) -> None:
    """A ``ToldOf`` without a ledger."""


def tell_nobody(_record: LeaseStarted | LeaseEnded) -> None:
    """A ``Told`` without a ledger."""


def snapshot(loaded: LoadedCatalog, since: datetime) -> CatalogSnapshot:
    """The part of a catalog that reports read usage against.

    Args:
        loaded: The catalog.
        since: When it began to hold.
    """
    catalog = loaded.catalog
    return CatalogSnapshot(
        digest=loaded.digest,
        since=since,
        site=catalog.site.name,
        timezone=catalog.site.timezone,
        admins=tuple(catalog.site.admins),
        flavors={
            name: FlavorTerms(
                title=flavor.title,
                type=flavor.type,
                share=flavor.share,
                memory=flavor.memory or 0,
            )
            for name, flavor in catalog.flavors.items()
        },
        groups={EVERYONE: GroupTerms()} | _groups(catalog),
    )


def _groups(catalog: Catalog) -> dict[str, GroupTerms]:
    return {
        str(path): GroupTerms(
            leads=tuple(str(lead) for lead in group.leads),
            subgroups=group.subgroups,
            quotas={
                flavor: terms.quota
                for flavor, terms in group.flavors.items()
                if terms.quota is not None
            },
            granted=tuple(
                name
                for name, terms in group.flavors.items()
                if terms.quota is None or terms.quota + terms.borrow > 0
            ),
        )
        for path, group in catalog.groups.items()
    }
