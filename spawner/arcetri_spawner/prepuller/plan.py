"""What is to be done so that a namespace has the DaemonSets that are wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arcetri_spawner.prepuller.wanted import MANAGER, labels_of

_JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Applied:
    """What the API server answered when an object was applied."""

    uid: str
    generation: int
    wanted: _JsonObject
    """What it was applied from."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done; the rest is as it should be."""

    apply: tuple[_JsonObject, ...] = ()
    delete: tuple[_JsonObject, ...] = ()
    taken: tuple[str, ...] = ()
    """Names that somebody else's objects have: those are not touched."""


def plan(
    wanted: Mapping[str, _JsonObject],
    found: Iterable[_JsonObject],
    applied: Mapping[str, Applied],
    release: str,
) -> Steps:
    """Return what to do.

    Args:
        wanted: The DaemonSets that there should be, by name.
        found: All DaemonSets of the namespace, whosever.
        applied: What this process has applied so far, by name.
        release: Whose objects are ours.
    """
    there = {each["metadata"]["name"]: each for each in found}
    taken = tuple(name for name in wanted if name in there and not is_ours(there[name], release))
    return Steps(
        apply=tuple(
            manifest
            for name, manifest in wanted.items()
            if name not in taken and not _stands(manifest, there.get(name), applied.get(name))
        ),
        delete=tuple(
            each
            for name, each in there.items()
            if name not in wanted
            and is_ours(each, release)
            and not each["metadata"].get("deletionTimestamp")
        ),
        taken=taken,
    )


def is_ours(found: _JsonObject, release: str) -> bool:
    """Whether an object was made by the prepuller of this release."""
    labels = found["metadata"].get("labels") or {}
    return labels_of(release).items() <= labels.items()


def altered_by_others(answer: _JsonObject) -> bool:
    """Whether others have put something of their own into the specification.

    What they own, applying does not take away.

    Args:
        answer: The object as the API server has it, with its ``managedFields``.
    """
    return any(
        entry.get("manager") != MANAGER
        and not entry.get("subresource")
        and "f:spec" in (entry.get("fieldsV1") or {})
        for entry in answer["metadata"].get("managedFields") or ()
    )


def _stands(manifest: _JsonObject, found: _JsonObject | None, last: Applied | None) -> bool:
    """Whether what was applied last is wanted still, and nobody has changed it since."""
    if found is None or last is None or last.wanted != manifest:
        return False
    metadata, meant = found["metadata"], manifest["metadata"]
    return (
        (metadata["uid"], metadata.get("generation")) == (last.uid, last.generation)
        and all(
            meant[key].items() <= (metadata.get(key) or {}).items()
            for key in ("labels", "annotations")
        )
        and all(
            owner in (metadata.get("ownerReferences") or [])
            for owner in meant.get("ownerReferences") or []
        )
    )
