"""Warnings for what is legal in a catalog but surely a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, time
from zoneinfo import ZoneInfo

from arcetri_spawner.catalog.document import Document
from arcetri_spawner.catalog.findings import Finding, Path
from arcetri_spawner.catalog.models import Catalog, Maintenance
from arcetri_spawner.catalog.problems import nearest
from arcetri_spawner.groups import GroupPath


def lint(catalog: Catalog, document: Document, now: datetime) -> Iterator[Finding]:
    """Yield a warning for each thing that is legal but surely a mistake."""
    granted = set(catalog.everyone.flavors)
    for entry in catalog.groups.values():
        granted.update(entry.flavors)
    yield from _groups(catalog, document)
    yield from _leads(catalog, document)
    yield from _flavors(catalog, document, granted, now)
    yield from _environments(catalog, document, granted)
    yield from _mounts(catalog, document)
    yield from _limits(catalog, document)
    yield from _listed_twice(catalog, document)


def _groups(catalog: Catalog, document: Document) -> Iterator[Finding]:
    if not catalog.allowed_groups():
        yield document.find(
            "warning",
            ("groups",),
            "nobody is allowed in",
            "at least one group here, under site.members or under site.admins",
            at_key=True,
        )
    for group, entry in catalog.groups.items():
        if not entry.flavors and not entry.volumes:
            yield document.find(
                "warning",
                ("groups", group),
                "grants nothing",
                "flavours or volumes; a group that only lets people in is listed in site.members",
                at_key=True,
            )


def _leads(catalog: Catalog, document: Document) -> Iterator[Finding]:
    allowed = catalog.allowed_groups()
    names = sorted(allowed)
    for group, entry in catalog.groups.items():
        for position, lead in enumerate(entry.leads):
            if not _is_let_in(lead, allowed):
                yield document.find(
                    "warning",
                    ("groups", group, "leads", position),
                    f"nobody can be this lead: {lead} is below no group that is allowed in",
                    f"a group of this file or one below it, such as {group}/leads",
                    nearest(lead, names[:1000]) or f"{group}/leads",
                )


def _is_let_in(group: GroupPath, allowed: frozenset[GroupPath]) -> bool:
    """Say whether members of ``group`` are in an allowed group: IAM adds them to its parents."""
    path = str(group)
    while path:
        if path in allowed:
            return True
        path = path.rpartition("/")[0]
    return False


def _flavors(
    catalog: Catalog, document: Document, granted: set[str], now: datetime
) -> Iterator[Finding]:
    selectors: dict[tuple[str | None, frozenset[tuple[str, str]]], str] = {}
    titles: dict[str, str] = {}
    for name, flavor in catalog.flavors.items():
        path = ("flavors", name)
        selector = (flavor.resource, frozenset(flavor.nodes.items()))
        twin = selectors.setdefault(selector, name)
        if twin != name:
            yield document.find(
                "warning",
                path,
                f"selects the same devices as {twin}: one resource and one set of node labels",
                "a resource or node labels of its own",
                at_key=True,
            )
        same = titles.setdefault(flavor.title, name)
        if same != name:
            yield document.find(
                "warning", (*path, "title"), f"is the title of {same} too", "a title of its own"
            )
        if name not in granted:
            yield document.find(
                "warning",
                path,
                "is granted to nobody",
                "a group that lists it, or everyone.flavors",
                at_key=True,
            )
        if not any(one.flavors is None or name in one.flavors for one in catalog.sizes.values()):
            yield document.find("warning", path, "goes with no size", "a size for it", at_key=True)
        if not any(
            one.flavors is None or name in one.flavors for one in catalog.environments.values()
        ):
            yield document.find(
                "warning", path, "goes with no environment", "an environment for it", at_key=True
            )
        if flavor.maintenance and _is_over(flavor.maintenance, catalog.site.timezone, now):
            yield document.find(
                "warning",
                (*path, "maintenance", "until"),
                "is in the past, so there is no maintenance",
                "a later date, or no maintenance",
            )


def _is_over(maintenance: Maintenance, zone: str, now: datetime) -> bool:
    until = maintenance.until
    if until is None:
        return False
    if not isinstance(until, datetime):
        until = datetime.combine(until, time(), tzinfo=ZoneInfo(zone))
    return until <= now


def _environments(catalog: Catalog, document: Document, granted: set[str]) -> Iterator[Finding]:
    kinds = (("environments", catalog.environments), ("sizes", catalog.sizes))
    for section, entries in kinds:
        for name, entry in entries.items():
            if entry.flavors is not None and granted.isdisjoint(entry.flavors):
                why = "lists no flavour" if not entry.flavors else "lists only flavours nobody has"
                what = "run it" if section == "environments" else "have it"
                yield document.find(
                    "warning",
                    (section, name),
                    f"no flavour can {what}: it {why}",
                    "flavours that a group or everyone is granted, or no list at all",
                    at_key=True,
                )


def _mounts(catalog: Catalog, document: Document) -> Iterator[Finding]:
    granted = Counter(catalog.everyone.volumes)
    for entry in catalog.groups.values():
        granted.update(entry.volumes)
    places: dict[str, str] = {}
    for name, volume in catalog.volumes.items():
        if name in granted:
            places.setdefault(volume.mount, name)
    for name, volume in catalog.volumes.items():
        path = ("volumes", name)
        if name not in granted:
            yield document.find(
                "warning",
                path,
                "is granted to nobody",
                "a group that lists it, or everyone.volumes",
                at_key=True,
            )
            continue
        if places[volume.mount] != name:
            yield document.find(
                "warning",
                (*path, "mount"),
                f"is mounted over volume {places[volume.mount]}, which is at the same place",
                "a place of its own",
            )
            continue
        above = volume.mount
        while (above := above.rpartition("/")[0]) and above not in places:
            pass
        if above:
            yield document.find(
                "warning",
                (*path, "mount"),
                f"is mounted over a part of volume {places[above]}, which is at {above}",
                "a place outside every other volume",
            )


def _limits(catalog: Catalog, document: Document) -> Iterator[Finding]:
    sessions = catalog.limits.sessions
    if catalog.limits.requests < sessions:
        yield document.find(
            "warning",
            ("limits", "requests"),
            f"is below limits.sessions, so nobody reaches {sessions} sessions",
            f"at least {sessions}",
        )
    if catalog.defaults.idle > catalog.defaults.lifetime:
        yield document.find(
            "warning",
            ("defaults", "idle"),
            "is longer than the lifetime, so no session ever ends for being idle",
            "at most defaults.lifetime",
        )
    quotas: Counter[str] = Counter()
    for entry in catalog.groups.values():
        for name, share in entry.flavors.items():
            if share.quota:
                quotas[name] += share.quota
    for group, entry in catalog.groups.items():
        for name, share in entry.flavors.items():
            if share.quota is None:
                continue
            path: Path = ("groups", group, "flavors", name)
            others = quotas[name] - share.quota
            if share.borrow > others:
                yield document.find(
                    "warning",
                    (*path, "borrow"),
                    f"is more than the other groups' quotas of {name} together",
                    f"at most {others}",
                )
            if share.limit is not None and share.limit > share.quota + share.borrow:
                yield document.find(
                    "warning",
                    (*path, "limit"),
                    "is more than the whole group may have, so no user reaches it",
                    f"at most {share.quota + share.borrow}",
                )


def _listed_twice(catalog: Catalog, document: Document) -> Iterator[Finding]:
    lists: list[tuple[Path, tuple[str, ...]]] = [
        (("site", "admins"), catalog.site.admins),
        (("site", "members"), catalog.site.members),
        (("everyone", "flavors"), catalog.everyone.flavors),
        (("everyone", "volumes"), catalog.everyone.volumes),
    ]
    for name, size in catalog.sizes.items():
        lists.append((("sizes", name, "flavors"), size.flavors or ()))
    for name, environment in catalog.environments.items():
        lists.append((("environments", name, "flavors"), environment.flavors or ()))
    for group, entry in catalog.groups.items():
        lists.append((("groups", group, "leads"), entry.leads))
        lists.append((("groups", group, "volumes"), entry.volumes))
    for path, names in lists:
        if len(names) > 1 and len(set(names)) < len(names):
            for position, name in enumerate(names):
                if name in names[:position]:
                    yield document.find(
                        "warning", (*path, position), f"{name} is listed twice", "each name once"
                    )
