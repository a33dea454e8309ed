"""On what terms groups have a flavour: how the catalog shares it out.

Each group with a quota has that much of its own and may borrow. Groups without one have what is
left beside all quotas; where nobody has a quota, devices are the only bound. ``queues.shares``
makes Kueue's quotas of the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.groups import EVERYONE, GroupPath


@dataclass(frozen=True, slots=True)
class Terms:
    """One flavour's."""

    quotas: int
    """All of them together."""
    counted: bool
    """Whether any group has one."""
    unbounded: tuple[GroupPath, ...]
    """Groups without a quota; ``everyone`` is one."""
    borrowed: bool
    """Whether any group may borrow, so that all lend."""

    @classmethod
    def of(cls, catalog: Catalog, flavor: str) -> Terms:
        """A flavour's in a catalog."""
        held = {
            path: group.flavors[flavor]
            for path, group in catalog.groups.items()
            if flavor in group.flavors
        }
        bounded = [one for one in held.values() if one.quota is not None]
        unbounded = [path for path, one in held.items() if one.quota is None]
        if flavor in catalog.everyone.flavors:
            unbounded.append(EVERYONE)
        return cls(
            quotas=sum(one.quota or 0 for one in bounded),
            counted=bool(bounded),
            unbounded=tuple(unbounded),
            borrowed=any(one.borrow for one in bounded),
        )

    @property
    def granted(self) -> bool:
        """Whether anybody has it at all."""
        return self.counted or bool(self.unbounded)

    def sharers(self, group: GroupPath) -> tuple[GroupPath, ...]:
        """Whose sessions count against what a group without a quota may have."""
        return (group,) if self.borrowed else self.unbounded
