"""What is counted: the catalog's flavours and sizes, and where each flavour may go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arcetri_spawner.backends.kubernetes.placement import Placement
from arcetri_spawner.backends.kubernetes.quantities import cores_to_millis
from arcetri_spawner.catalog.models import Catalog, Flavor, Size


@dataclass(frozen=True, slots=True)
class Need:
    """What a session takes of a node, besides its device and its place among the node's pods."""

    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Offering:
    """A catalog, as far as nodes are concerned. Make it with ``Offering.of``."""

    flavors: Mapping[str, Flavor]
    placements: Mapping[str, Placement]
    needs: Mapping[str, Need]
    """By size."""
    sizes: Mapping[str, tuple[str, ...]]
    """By flavour: the sizes that go with it, the smallest first."""

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        *,
        place: Callable[[Flavor], Placement] = Placement.of,
        beside: Need = Need(0, 0),
    ) -> Offering:
        """Return what a catalog offers.

        Args:
            catalog: The catalog of the moment.
            place: Where a flavour's sessions may go; give one that knows the site's node selector
                and tolerations, where it has any.
            beside: What the site's extra containers take in every session.
        """
        needs = {
            name: Need(cores_to_millis(size.cpu) + beside.cpu, size.memory + beside.memory)
            for name, size in catalog.sizes.items()
        }
        return cls(
            flavors=dict(catalog.flavors),
            placements={name: place(flavor) for name, flavor in catalog.flavors.items()},
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
        )


def _goes(size: Size, flavor: str) -> bool:
    return size.flavors is None or flavor in size.flavors
