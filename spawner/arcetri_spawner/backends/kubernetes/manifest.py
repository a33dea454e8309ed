"""A pod's manifest while policy works on it, and the record of what policy overruled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from arcetri_accounting.contract.podmarks import NOTEBOOK_CONTAINER

JsonObject = dict[str, Any]
"""An object as the API server sends and takes it."""


class BadManifest(ValueError):
    """A manifest has something else where the API has an object or a list; says where."""


@dataclass(frozen=True, slots=True)
class Overruled:
    """Something that the site's configuration asks for and policy does not allow."""

    path: str
    """Where it stood, such as ``spec.containers[notebook].securityContext.privileged``."""
    reason: str
    """Why not, in a sentence for the log. Values are never part of it: they may be secret."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a draft."""

    path: str
    body: JsonObject
    init: bool
    notebook: bool

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that goes on while the session runs."""
        return self.init and self.body.get("restartPolicy") == "Always"


class Draft:
    """A copy of a manifest that policy changes in place.

    Args:
        manifest: What KubeSpawner would create. Nulls count as absent; nothing of it is changed.

    Raises:
        BadManifest: It is not shaped as a pod, or has no container.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self.pod = cast(JsonObject, _copy_without_nulls(dict(manifest)))
        self.overruled: list[Overruled] = []
        self.metadata = child(self.pod, "metadata", "metadata")
        self.spec = child(self.pod, "spec", "spec")
        if not children(self.spec, "containers", "spec.containers"):
            raise BadManifest("spec.containers is empty: there is no notebook to start")
        self.notebook = next(c for c in self.containers() if c.notebook)

    def containers(self) -> Iterator[Container]:
        """Every container there is, init containers first."""
        for key in ("initContainers", "containers"):
            for index, body in enumerate(children(self.spec, key, f"spec.{key}")):
                init = key == "initContainers"
                # KubeSpawner puts the notebook first, whatever a site calls it.
                notebook = not init and index == 0
                name = NOTEBOOK_CONTAINER if notebook else body.get("name", index)
                yield Container(f"spec.{key}[{name}]", body, init, notebook)

    def overrule(self, path: str, reason: str) -> None:
        """Note that what stands at ``path`` was not done."""
        self.overruled.append(Overruled(path, reason))

    def remove(self, parent: JsonObject, key: str, path: str, reason: str) -> None:
        """Take away a field, and note it; an absent one is no news."""
        if key in parent:
            del parent[key]
            self.overrule(f"{path}.{key}", reason)

    def force(self, parent: JsonObject, key: str, value: object, path: str, reason: str) -> None:
        """Set a field, and note it where another value stood there."""
        if key in parent and parent[key] != value:
            self.overrule(f"{path}.{key}", reason)
        parent[key] = value


def child(parent: JsonObject, key: str, path: str) -> JsonObject:
    """Return the object at ``key``, made where it is missing.

    Raises:
        BadManifest: Something else is there.
    """
    found = parent.setdefault(key, {})
    if not isinstance(found, dict):
        raise BadManifest(f"{path} is not an object")
    return found


def children(parent: JsonObject, key: str, path: str) -> list[JsonObject]:
    """Return the list of objects at ``key``; an empty one, not kept, where it is missing.

    Raises:
        BadManifest: Something else is there.
    """
    found = parent.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise BadManifest(f"{path} is not a list of objects")
    return found


def keep(parent: JsonObject, key: str, entries: list[JsonObject]) -> None:
    """Set a list; an empty one is taken away."""
    if entries:
        parent[key] = entries
    else:
        parent.pop(key, None)


def _copy_without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy_without_nulls(own) for key, own in value.items() if own is not None}
    if isinstance(value, list | tuple):
        return [_copy_without_nulls(own) for own in value if own is not None]
    return value
