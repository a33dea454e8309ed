"""What is counted: the catalog's flavours and sizes, and where each flavour may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arcetri_spawner.backends.kubernetes.placement import Placement
from arcetri_spawner.backends.kubernetes.plan import Rules
from arcetri_spawner.backends.kubernetes.quantities import cores_to_millis
from arcetri_spawner.backends.kubernetes.site import Need, Site
from arcetri_spawner.catalog.models import Catalog, Flavor, Size
from arcetri_spawner.policy.model import Grant

NOTHING_ADDED: Final = Site()


@dataclass(frozen=True, slots=True)
class Offering:
    """A catalog, as far as nodes are concerned. Make it with ``Offering.of``."""

    flavors: Mapping[str, Flavor]
    placements: Mapping[str, Placement]
    needs: Mapping[str, Need]
    """By size."""
    sizes: Mapping[str, tuple[str, ...]]
    """By flavour: the sizes that go with it, the smallest first."""
    site: Site
    rules: Rules

    @classmethod
    def of(cls, catalog: Catalog, site: Site = NOTHING_ADDED) -> Offering:
        """Return what a catalog offers.

        Args:
            catalog: The catalog of the moment.
            site: What the site's settings demand of nodes, and take of them, besides.
        """
        rules = Rules.of(catalog, namespace="", instance="")
        needs = {
            name: site.need(cores_to_millis(size.cpu), size.memory, rules)
            for name, size in catalog.sizes.items()
        }
        return cls(
            flavors=dict(catalog.flavors),
            placements={
                name: site.place(flavor, rules) for name, flavor in catalog.flavors.items()
            },
            needs=needs,
            sizes={
                flavor: tuple(
                    sorted(
                        (name for name, size in catalog.sizes.items() if _goes(size, flavor)),
                        key=lambda name: (needs[name].cpu, needs[name].memory, name),
                    )
                )
                for flavor in catalog.flavors
            },
            site=site,
            rules=rules,
        )

    def need_of(self, grant: Grant) -> Need:
        """What a granted session's pod takes of its node, whatever the catalog says by now."""
        return self.site.need(cores_to_millis(grant.cpu), grant.memory, self.rules)


def _goes(size: Size, flavor: str) -> bool:
    return size.flavors is None or flavor in size.flavors
