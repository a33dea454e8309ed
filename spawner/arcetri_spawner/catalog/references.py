"""Checks of a catalog that need two of its fields at once. Each finding is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from typing import Any

from arcetri_spawner.catalog.document import Document
from arcetri_spawner.catalog.findings import Finding, Path
from arcetri_spawner.catalog.models import Catalog, Flavor, GroupFlavor, Volume
from arcetri_spawner.catalog.patterns import NAME, PATTERNS
from arcetri_spawner.catalog.problems import nearest
from arcetri_spawner.groups import normalize_group

_SUGGESTIONS = 200
"""Looking for a near spelling costs milliseconds; a file full of nonsense gets so many."""
_NAME = re.compile(NAME)
_MIG_SLICE = re.compile(r"nvidia\.com/mig-([1-7])g\.(\d+)gb.*")
_KINDS = {
    "flavors": "flavour",
    "sizes": "size",
    "environments": "environment",
    "volumes": "volume",
}


def check_references(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield an error for each thing that cannot be, looking across fields; names apart."""
    yield from _same_group_twice(document)
    yield from _empty_sections(document)
    yield from _impossible_times(catalog, document)
    yield from _impossible_ids(catalog, document)
    for name, volume in catalog.volumes.items():
        yield from _impossible_volume(name, volume, document)
    for name, flavor in catalog.flavors.items():
        yield from _impossible_flavor(name, flavor, document)
    for group, entry in catalog.groups.items():
        for name, share in entry.flavors.items():
            yield from _impossible_quota(("groups", group, "flavors", name), share, document)
    for name, size in catalog.sizes.items():
        if size.shm is not None and size.shm > size.memory:
            path = ("sizes", name, "shm")
            yield document.find(
                "error", path, "is more than the memory it is part of", "at most the size's memory"
            )
    for name, environment in catalog.environments.items():
        if environment.image is None and environment.local is None:
            yield document.find(
                "error",
                ("environments", name),
                "has neither image nor local, so nothing can run it",
                "an image for Kubernetes, a local interpreter such as default, or both",
                at_key=True,
            )
    for name in catalog.local.simulate:
        simulated = catalog.flavors.get(name)
        if simulated is not None and simulated.type == "cpu":
            yield document.find(
                "error",
                ("local", "simulate", name),
                "is a flavour without a device to simulate",
                "flavours with a resource; local.cpu_sessions bounds the others",
                at_key=True,
            )


def _section(document: Document, name: str) -> Mapping[str, Any]:
    section = document.data.get(name)
    return section if isinstance(section, dict) else {}


def _same_group_twice(document: Document) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for key in _section(document, "groups"):
        try:
            group = normalize_group(key)
        except ValueError:
            continue
        if group in seen:
            line, _ = document.locate(("groups", seen[group]), at_key=True)
            yield document.find(
                "error",
                ("groups", key),
                f"is the group {group}, which is there already in line {line}",
                "each group once, with or without its leading slash",
                at_key=True,
            )
        seen.setdefault(group, key)


def _empty_sections(document: Document) -> Iterator[Finding]:
    for section in ("flavors", "sizes", "environments"):
        if document.data.get(section) == {}:
            yield document.find(
                "error",
                (section,),
                f"has no {_KINDS[section]}, so no session could ever start",
                f"at least one {_KINDS[section]}",
            )


def check_names(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield an error for each name that nothing in the document has.

    ``catalog`` may lack entries of the document that are wrong in themselves: what is defined is
    taken from the document, so that such an entry is not reported as dangling too.
    """
    defined = {section: _section(document, section).keys() for section in _KINDS}
    # What is meant by a name that cannot be one is known too: one mistake, one finding.
    known = {section: {*names, *map(_meant_name, names)} for section, names in defined.items()}
    hints: dict[tuple[str, str], str] = {}

    def missing(section: str, name: str, path: Path, *, at_key: bool = False) -> Finding:
        if (section, name) not in hints and len(hints) < _SUGGESTIONS:
            hints[section, name] = nearest(name, [*islice(_names(known[section]), 1000)])
        some = sorted(_names(known[section]))
        listed = ", ".join(some[:20]) + (", ..." if len(some) > 20 else "")
        return document.find(
            "error",
            path,
            f"there is no {_KINDS[section]} {name}",
            f"the names under {section}: {listed}" if some else f"names under {section}",
            hints.get((section, name), ""),
            at_key=at_key,
        )

    for path, section, names in _lists_of_names(catalog):
        for position, name in enumerate(names):
            if name not in known[section]:
                yield missing(section, name, (*path, position))
    flavors = known["flavors"]
    for group, entry in catalog.groups.items():
        for name in entry.flavors:
            if name not in flavors:
                yield missing("flavors", name, ("groups", group, "flavors", name), at_key=True)
    for name in catalog.local.simulate:
        if name not in flavors:
            yield missing("flavors", name, ("local", "simulate", name), at_key=True)


def _meant_name(key: str) -> str:
    return key if _NAME.fullmatch(key) else PATTERNS[NAME].suggest(key)


def _names(keys: Iterable[str]) -> Iterator[str]:
    return (key for key in keys if _NAME.fullmatch(key))


def _lists_of_names(catalog: Catalog) -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    """Yield each list of names, with where it is and which section defines them."""
    yield ("everyone", "flavors"), "flavors", catalog.everyone.flavors
    yield ("everyone", "volumes"), "volumes", catalog.everyone.volumes
    for name, size in catalog.sizes.items():
        yield ("sizes", name, "flavors"), "flavors", size.flavors or ()
    for name, environment in catalog.environments.items():
        yield ("environments", name, "flavors"), "flavors", environment.flavors or ()
    for group, entry in catalog.groups.items():
        if entry.volumes:
            yield ("groups", group, "volumes"), "volumes", entry.volumes


def _impossible_times(catalog: Catalog, document: Document) -> Iterator[Finding]:
    times = catalog.defaults
    for field, value in (("grace", times.grace), ("stop", times.stop)):
        if value >= times.lifetime:
            yield document.find(
                "error",
                ("defaults", field),
                "is not shorter than the lifetime of a session",
                "less than defaults.lifetime",
            )


def _impossible_ids(catalog: Catalog, document: Document) -> Iterator[Finding]:
    users, groups = catalog.ids.users, catalog.ids.groups
    if users.start < groups.stop and groups.start < users.stop:
        yield document.find(
            "error",
            ("ids", "groups"),
            "overlaps ids.users",
            "two ranges without a number in common",
        )


def _impossible_volume(name: str, volume: Volume, document: Document) -> Iterator[Finding]:
    path = ("volumes", name)
    if volume.scratch is None:
        if volume.claim is None:
            yield document.find(
                "error",
                path,
                "has neither claim nor scratch, so it lies nowhere",
                "a claim for what is kept, or scratch for space that goes with its session",
                at_key=True,
            )
        return
    reason = "says what is kept, and of scratch nothing is"
    for field, given in (
        ("claim", volume.claim is not None),
        ("path", bool(volume.path)),
        ("quota", volume.quota is not None),
    ):
        if given:
            yield document.find("error", (*path, field), reason, f"no {field}, or no scratch")
    if volume.mode == "ro":
        yield document.find(
            "error", (*path, "mode"), "is ro, so the scratch would stay empty", "rw", "rw"
        )
    if volume.scratch.fsgroup and volume.scratch.storage_class is None:
        yield document.find(
            "error",
            (*path, "scratch", "fsgroup"),
            "is for volumes of a storage class, and none is named",
            "no fsgroup: a folder on the node's disk is the session's to write anyway",
        )


def _impossible_flavor(name: str, flavor: Flavor, document: Document) -> Iterator[Finding]:
    path = ("flavors", name)
    if flavor.type == "cpu" and flavor.resource is not None:
        yield document.find(
            "error", (*path, "type"), "is cpu, but a resource is named", "gpu or fpga", "gpu"
        )
    if flavor.type != "cpu" and flavor.resource is None:
        yield document.find(
            "error",
            (*path, "type"),
            f"is {flavor.type}, but no resource is named",
            "a resource such as nvidia.com/gpu, or type cpu",
        )
    if flavor.resource is None and flavor.share != 1:
        yield document.find(
            "error",
            (*path, "share"),
            "is a share of a device, but there is no resource",
            "no share",
        )
    slice_of = _MIG_SLICE.fullmatch(flavor.resource or "")
    if slice_of is not None:
        parts, memory = int(slice_of[1]), int(slice_of[2])
        # A device of this kind has four parts (A30, 6 GB each) or seven.
        largest = min(Fraction(parts, 4), Fraction(1))
        if flavor.share > largest:
            whole = 4 if memory == 6 * parts else 7
            yield document.find(
                "error",
                (*path, "share"),
                f"{flavor.resource} is a slice, and never {_share(flavor.share)} of a device",
                f"at most {_share(largest)}",
                _share(Fraction(parts, whole)),
            )


def _impossible_quota(path: Path, entry: GroupFlavor, document: Document) -> Iterator[Finding]:
    if entry.quota is None and entry.borrow:
        yield document.find(
            "error",
            (*path, "borrow"),
            "is there without a quota, and without one nothing bounds the group",
            "a quota as well",
        )
    if entry.quota == 0 and not entry.borrow:
        yield document.find(
            "error",
            (*path, "quota"),
            "is 0 with nothing to borrow, so no session could ever start",
            "at least 1, or the flavour left out",
        )


def _share(value: Fraction) -> str:
    return "the whole" if value == 1 else str(value)
