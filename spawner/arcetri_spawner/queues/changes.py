"""What has to change so that there is what there should be. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from arcetri_spawner.queues.names import DIGEST, Names
from kueue_client.base import Object
from kueue_client.enums import OpenEnum, StopPolicy
from kueue_client.flavors import ResourceFlavor, Topology, WorkloadPriorityClass
from kueue_client.quantity import Quantity
from kueue_client.queues import ClusterQueue, Cohort, LocalQueue

KINDS: tuple[type[Object], ...] = (
    Topology,
    ResourceFlavor,
    WorkloadPriorityClass,
    Cohort,
    ClusterQueue,
    LocalQueue,
)
"""What there is of one, in the order it is made; it is removed in the other order."""


class Act(OpenEnum):
    """What is done to an object."""

    CREATE = "create"
    CHANGE = "change"
    DRAIN = "drain"
    REMOVE = "remove"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Change:
    """Something to do.

    Attributes:
        act: What.
        object: The object as it should be; of one that goes, as it is.
        lines: What differs, a line each.
    """

    act: Act
    object: Object
    lines: tuple[str, ...] = ()

    def render(self) -> str:
        """It as plain text."""
        what = f"{self.act.value} {type(self.object).__name__} {self.object.name}"
        return "\n".join((what, *(f"    {line}" for line in self.lines))) + "\n"


def stamped(made: Object) -> Object:
    """The object with a digest of what it was made from, by which a change is noticed."""
    text = json.dumps(made.to_wire(), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    found = type(made).from_wire(made.to_wire())
    found.metadata.annotations[DIGEST] = digest
    return found


def changes(wanted: Iterable[Object], found: Iterable[Object]) -> list[Change]:
    """What to do.

    A queue that is wanted no more is drained first: it admits nothing more, and goes when nobody
    holds anything of it. What is still in use of what it needs stays as long.

    Args:
        wanted: What there should be, in the order it is made.
        found: What there is that is ours.
    """
    there = {_key(one): one for one in found}
    result = []
    for one in map(stamped, wanted):
        before = there.pop(_key(one), None)
        if isinstance(one, ClusterQueue) and before is not None and drained(before):
            one.spec.stop_policy = StopPolicy.NONE  # it was on its way out, and is wanted again
        if before is None:
            result.append(Change(Act.CREATE, one, tuple(_shown(one))))
        elif lines := differences(one, before):
            result.append(Change(Act.CHANGE, one, tuple(lines)))
    order = {kind: number for number, kind in enumerate(KINDS)}
    gone = sorted(there.values(), key=lambda one: -order[type(one)])
    busy = {one.name for one in gone if isinstance(one, ClusterQueue) and _held(one)}
    result += [_removal(one, busy) for one in gone]
    return result


def strangers(wanted: Iterable[Object], found: Iterable[Object], names: Names) -> list[str]:
    """Objects of others that have the names of ours: they are never touched."""
    there = {_key(one): one for one in found}
    return [
        f"{type(one).__name__} {one.name}"
        for one in wanted
        if (before := there.get(_key(one))) is not None and not owned(before, names)
    ]


def owned(one: Object, names: Names) -> bool:
    """Whether an object is ours: it carries all our labels."""
    return names.labels.items() <= one.metadata.labels.items()


def _key(one: Object) -> tuple[str, str, str]:
    return type(one).__name__, one.namespace, one.name


def drained(one: Object) -> bool:
    """Whether this has stopped the queue, and not an admin: it takes the digest away with it."""
    return (
        isinstance(one, ClusterQueue)
        and one.spec.stop_policy not in (None, StopPolicy.NONE)
        and DIGEST not in one.metadata.annotations
    )


def _held(one: ClusterQueue) -> bool:
    return bool(one.status.reserving_workloads or one.status.admitted_workloads)


def _removal(one: Object, busy: set[str]) -> Change:
    if isinstance(one, ClusterQueue):
        if not drained(one):
            return Change(Act.DRAIN, one, ("nothing more is admitted; what runs goes on",))
        if one.name in busy:
            still = one.status.reserving_workloads or one.status.admitted_workloads
            return Change(Act.WAIT, one, (f"{still} still hold something of it",))
    if isinstance(one, LocalQueue) and one.spec.cluster_queue in busy:
        return Change(Act.WAIT, one, ("its ClusterQueue is drained first",))
    if busy and not isinstance(one, LocalQueue):
        return Change(Act.WAIT, one, ("queues are drained first",))
    return Change(Act.REMOVE, one)


def differences(wanted: Object, found: Object) -> list[str]:
    """Where what there is, is not as it should be, as far as we say; a line each."""
    lines = list(_compare(wanted.to_wire(), found.to_wire(), "", whole=False))
    stamp = wanted.metadata.annotations.get(DIGEST)
    same = stamp == found.metadata.annotations.get(DIGEST)
    return lines if same or lines else ["fields that are wanted no more"]


WHOLE = frozenset({"resourceGroups", "nodeLabels", "tolerations", "levels"})
"""Fields in which nobody else says anything."""


def _compare(wanted: Any, found: Any, path: str, *, whole: bool) -> Iterator[str]:
    if isinstance(wanted, Mapping):
        there = found if isinstance(found, Mapping) else {}
        keys = [*wanted, *(key for key in there if whole and key not in wanted)]
        for key in keys:
            if key != DIGEST:
                ours = whole or key in WHOLE
                yield from _compare(wanted.get(key), there.get(key), f"{path}.{key}", whole=ours)
        return
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            name = one.get("name", number) if isinstance(one, Mapping) else number
            yield from _compare(one, other, f"{path}[{name}]", whole=whole)
        return
    if not _equal(wanted, found):
        yield f"{path.lstrip('.')}: {_text(found)} -> {_text(wanted)}"


def _equal(wanted: Any, found: Any) -> bool:
    if wanted == found:
        return True
    try:
        return Quantity(wanted) == Quantity(found)
    except (TypeError, ValueError):
        return False


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def _shown(made: Object) -> Iterator[str]:
    """What a new object says, in a few lines."""
    if isinstance(made, ClusterQueue):
        for group in made.spec.resource_groups:
            for flavor in group.flavors:
                counted = [one for one in flavor.resources if one.borrowing_limit is not None]
                for one in counted:
                    yield (
                        f"{flavor.name}: {one.nominal_quota} {one.name},"
                        f" borrows up to {one.borrowing_limit}"
                    )
    elif isinstance(made, ResourceFlavor):
        yield from (f"nodes with {key}={value}" for key, value in made.spec.node_labels.items())
    elif isinstance(made, LocalQueue):
        yield f"leads to {made.spec.cluster_queue}"
    elif isinstance(made, WorkloadPriorityClass):
        yield f"priority {made.value}"
