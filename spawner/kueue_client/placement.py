"""Where an admitted Workload's pods belong, as Kueue writes it down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from kueue_client.base import Model


class IndividualValues(Model):
    """A value for each domain, without what all begin and end with."""

    roots: list[str]
    prefix: str | None = None
    suffix: str | None = None


class LevelValues(Model):
    """The domains' values of one level: the same for all, or one for each."""

    universal: str | None = None
    individual: IndividualValues | None = None

    def value(self, domain: int) -> str:
        """The value of a domain, counted from 0."""
        if self.individual is None:
            return self.universal or ""
        one = self.individual
        return f"{one.prefix or ''}{one.roots[domain]}{one.suffix or ''}"


class PodCounts(Model):
    """How many pods in each domain: the same in all, or one number for each."""

    universal: int | None = None
    individual: list[int] = Field(default_factory=list)

    def value(self, domain: int) -> int:
        """The number of pods in a domain, counted from 0."""
        return self.individual[domain] if self.universal is None else self.universal


class TopologyAssignmentSlice(Model):
    """Some of the domains."""

    domain_count: int
    values_per_level: list[LevelValues]
    pod_counts: PodCounts


@dataclass(frozen=True, slots=True)
class Domain:
    """A place and how many pods belong there.

    Attributes:
        selector: The labels of its nodes, as a pod's ``nodeSelector`` has them.
        pods: How many.
    """

    selector: dict[str, str]
    pods: int


class TopologyAssignment(Model):
    """Which pods belong where; ``domains`` reads it."""

    levels: list[str]
    slices: list[TopologyAssignmentSlice]

    def domains(self) -> Iterator[Domain]:
        """Each place, in Kueue's order."""
        for piece in self.slices:
            for number in range(piece.domain_count):
                values = (level.value(number) for level in piece.values_per_level)
                selector = dict(zip(self.levels, values, strict=True))
                yield Domain(selector, piece.pod_counts.value(number))
