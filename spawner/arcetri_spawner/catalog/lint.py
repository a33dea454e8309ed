"""Warnings for what is legal in a catalog but surely a mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from arcetri_spawner.catalog.document import Document
from arcetri_spawner.catalog.doubt import GRANTS, QUOTAS
from arcetri_spawner.catalog.findings import Finding, Path
from arcetri_spawner.catalog.models import Catalog, Maintenance
from arcetri_spawner.catalog.moments import moment
from arcetri_spawner.catalog.problems import nearest
from arcetri_spawner.groups import GroupPath

_SHORTEST_GRACE: Final = timedelta(minutes=1)
"""Twice as long as notebooks wait between two questions for warnings."""


def lint(
    catalog: Catalog,
    document: Document,
    now: datetime,
    *,
    doubted: frozenset[str] = frozenset(),
    exists: Callable[[str], bool] | None = None,
    here: bool = False,
) -> Iterator[Finding]:
    """Yield a warning for each thing that is legal but surely a mistake.

    The catalog may lack what was wrong in the document.

    Args:
        catalog: What is looked at.
        document: What it was read from.
        now: When maintenance is over.
        doubted: What errors leave in doubt, of which nothing is said that they may explain.
        exists: Says whether an interpreter is on this machine; without it nobody asks.
        here: Whether a platform without Kubernetes uses it, whatever its sections.
    """
    yield from _groups(document)
    yield from _flavors(catalog, document, now)
    yield from _mounts(catalog, document)
    yield from _limits(catalog, document)
    yield from _listed_twice(catalog, document)
    yield from _shared_homes(catalog, document)
    yield from _interpreters(catalog, document, exists)
    yield from _patterns(catalog, document)
    yield from _simulated(catalog, document)
    yield from _goes_with_none(catalog, document, doubted)
    if doubted.isdisjoint({"groups", "site"}):
        yield from _nobody(catalog, document)
        yield from _leads(catalog, document)
    if doubted.isdisjoint({"groups", GRANTS, "everyone"}):
        yield from _unused(catalog, document)
        yield from _no_flavor(catalog, document)
    if doubted.isdisjoint({"groups", GRANTS, QUOTAS}):
        yield from _borrowing(catalog, document)
    if "environments" not in doubted and (here or "local" in document.data):
        yield from _not_here(catalog, document)


def _nobody(catalog: Catalog, document: Document) -> Iterator[Finding]:
    if not catalog.allowed_groups():
        yield document.find(
            "warning",
            ("groups",),
            "nobody is allowed in",
            "at least one group here, under site.members or under site.admins",
            at_key=True,
        )


def _groups(document: Document) -> Iterator[Finding]:
    # As written: what is wrong with a group's only flavour is no second finding.
    groups = document.data.get("groups")
    for group, entry in groups.items() if isinstance(groups, dict) else ():
        if isinstance(entry, dict) and not entry.get("flavors") and not entry.get("volumes"):
            yield document.find(
                "warning",
                ("groups", group),
                "grants nothing",
                "flavours or volumes; a group that only lets people in is listed in site.members",
                at_key=True,
            )


def _patterns(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield group paths that were meant to stand for several groups."""
    places: list[tuple[Path, GroupPath]] = [(("groups", group), group) for group in catalog.groups]
    for field in ("admins", "members"):
        for position, group in enumerate(getattr(catalog.site, field)):
            places.append((("site", field, position), group))
    for group, entry in catalog.groups.items():
        for position, lead in enumerate(entry.leads):
            places.append((("groups", group, "leads", position), lead))
    for path, group in places:
        if "*" in group or "?" in group:
            yield document.find(
                "warning",
                path,
                "is compared exactly, so it stands for no other group",
                "one full path, with an entry for each group",
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
                    _lead_meant(lead, group, names[:1000]),
                )


def _lead_meant(lead: GroupPath, group: GroupPath, names: list[GroupPath]) -> str:
    """The lead that was probably meant; never a whole group whose part was named."""
    above, _, own = str(lead).rpartition("/")

    def like(text: str) -> str:
        deep = [name for name in names if name.count("/") == text.count("/")]
        return nearest(text, deep, cutoff=0.8) if text else ""

    if near := like(above):
        return f"{near}/{own}"
    beside = like(str(lead))
    return beside if beside and beside != group else f"{group}/leads"


def _is_let_in(group: GroupPath, allowed: frozenset[GroupPath]) -> bool:
    """Say whether members of ``group`` are in an allowed group: IAM adds them to its parents."""
    path = str(group)
    while path:
        if path in allowed:
            return True
        path = path.rpartition("/")[0]
    return False


def _flavors(catalog: Catalog, document: Document, now: datetime) -> Iterator[Finding]:
    selectors: dict[str | None, dict[str, frozenset[tuple[str, str]]]] = {}
    titles: dict[str, str] = {}
    for name, flavor in catalog.flavors.items():
        path = ("flavors", name)
        labels = frozenset(flavor.nodes.items())
        others = selectors.setdefault(flavor.resource, {})
        if message := _overlap(labels, others, any_node=flavor.resource is None):
            yield document.find(
                "warning", path, message, "a resource or node labels of its own", at_key=True
            )
        others[name] = labels
        same = titles.setdefault(flavor.title, name)
        if same != name:
            yield document.find(
                "warning", (*path, "title"), f"is the title of {same} too", "a title of its own"
            )
        if flavor.maintenance and _is_over(flavor.maintenance, catalog.site.timezone, now):
            yield document.find(
                "warning",
                (*path, "maintenance", "until"),
                "is in the past, so there is no maintenance",
                "a later date, or no maintenance",
            )
        if flavor.maintenance and _never_is(flavor.maintenance, catalog.site.timezone):
            yield document.find(
                "warning",
                (*path, "maintenance", "until"),
                "is not after from, so there is no maintenance",
                "a later time than that of from",
            )


def _overlap(
    labels: frozenset[tuple[str, str]],
    others: Mapping[str, frozenset[tuple[str, str]]],
    *,
    any_node: bool,
) -> str:
    """Say whose devices a flavour selects too; empty when it selects nobody else's.

    Args:
        labels: The node labels that it asks for.
        others: Those of the flavours before it with the same resource.
        any_node: It has no devices: that one of its nodes is another's too is what nodes are for.
    """
    for other, theirs in others.items():
        if labels == theirs:
            return f"selects the same devices as {other}: one resource and one set of node labels"
    for other, theirs in {} if any_node else others.items():
        if labels < theirs:
            return f"selects all that {other} selects too: one resource, and fewer node labels"
        if theirs < labels:
            return f"selects what {other} selects too: one resource, and more node labels"
    return ""


def _granted(section: str, document: Document) -> set[str]:
    """Return what is granted, as written: a quota that is wrong grants its flavour all the same."""
    granted: set[str] = set()
    entries = [document.data.get("everyone"), *_mapping(document.data.get("groups")).values()]
    for entry in entries:
        granted.update(_mapping(entry).get(section) or ())
    return granted


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _unused(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield what somebody defined and nobody gets."""
    for section, defined in (("flavors", catalog.flavors), ("volumes", catalog.volumes)):
        granted = _granted(section, document)
        for name in defined:
            if name not in granted:
                yield document.find(
                    "warning",
                    (section, name),
                    "is granted to nobody",
                    f"a group that lists it, or everyone.{section}",
                    at_key=True,
                )


def _goes_with_none(
    catalog: Catalog, document: Document, doubted: frozenset[str]
) -> Iterator[Finding]:
    for section, what in (("sizes", "size"), ("environments", "environment")):
        if section in doubted:
            continue
        lists = [one.flavors for one in getattr(catalog, section).values()]
        for name in catalog.flavors:
            if not any(listed is None or name in listed for listed in lists):
                yield document.find(
                    "warning",
                    ("flavors", name),
                    f"goes with no {what}, so nobody can start it",
                    f"an entry under {section} for it",
                    at_key=True,
                )


def _not_here(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield flavours that one machine may have, and that no environment there can use."""
    local = catalog.local_environments()
    for name, flavor in catalog.flavors.items():
        if flavor.type == "fpga" and not catalog.local.simulate.get(name):
            continue
        fitting = {
            one
            for one, entry in catalog.environments.items()
            if entry.flavors is None or name in entry.flavors
        }
        if fitting and fitting.isdisjoint(local):
            yield document.find(
                "warning",
                ("flavors", name),
                "goes with no environment that has local, so nobody can start it on one machine",
                f"local, such as default, on one of {', '.join(sorted(fitting)[:8])}",
                at_key=True,
            )


def _is_over(maintenance: Maintenance, zone: str, now: datetime) -> bool:
    until = maintenance.until
    return until is not None and moment(until, zone) <= now


def _never_is(maintenance: Maintenance, zone: str) -> bool:
    begin, until = maintenance.from_, maintenance.until
    if begin is None or until is None:
        return False
    return moment(until, zone) <= moment(begin, zone)


def _no_flavor(catalog: Catalog, document: Document) -> Iterator[Finding]:
    granted = _granted("flavors", document)
    defined = _mapping(document.data.get("flavors")).keys()
    for section, verb in (("environments", "run"), ("sizes", "have")):
        for name, entry in getattr(catalog, section).items():
            # A name that nothing defines is an error already.
            if (
                entry.flavors is not None
                and granted.isdisjoint(entry.flavors)
                and defined >= set(entry.flavors)
            ):
                why = "lists no flavour" if not entry.flavors else "lists only flavours nobody has"
                yield document.find(
                    "warning",
                    (section, name),
                    f"no flavour can {verb} it: it {why}",
                    "flavours that a group or everyone is granted, or no list at all",
                    at_key=True,
                )


def _mounts(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield mounts over one another: any two groups may have a member in common."""
    places: dict[str, str] = {}
    for name, volume in catalog.volumes.items():
        places.setdefault(volume.mount, name)
    for name, volume in catalog.volumes.items():
        path = ("volumes", name, "mount")
        if places[volume.mount] != name:
            yield document.find(
                "warning",
                path,
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
                path,
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
    if catalog.defaults.grace < _SHORTEST_GRACE:
        yield document.find(
            "warning",
            ("defaults", "grace"),
            "is so short that a notebook may show the warning only seconds before its end: it asks"
            " for warnings twice a minute",
            "at least 1m",
        )
    for group, entry in catalog.groups.items():
        for name, terms in entry.flavors.items():
            if terms.quota is None or terms.limit is None:
                continue
            if terms.limit > terms.quota + terms.borrow > 0:
                yield document.find(
                    "warning",
                    ("groups", group, "flavors", name, "limit"),
                    "is more than the whole group may have, so no user reaches it",
                    f"at most {terms.quota + terms.borrow}",
                )


def _borrowing(catalog: Catalog, document: Document) -> Iterator[Finding]:
    quotas: Counter[str] = Counter()
    for entry in catalog.groups.values():
        for name, terms in entry.flavors.items():
            quotas[name] += terms.quota or 0
    for group, entry in catalog.groups.items():
        for name, terms in entry.flavors.items():
            others = quotas[name] - (terms.quota or 0)
            if terms.borrow > others:
                yield document.find(
                    "warning",
                    ("groups", group, "flavors", name, "borrow"),
                    f"is more than the other groups' quotas of {name} together",
                    f"at most {others}",
                )


def _simulated(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield quotas that local mode can never fill with what it simulates."""
    for group, entry in catalog.groups.items():
        for name, terms in entry.flavors.items():
            count = catalog.local.simulate.get(name, 0)
            if terms.quota is not None and 0 < count < terms.quota:
                yield document.find(
                    "warning",
                    ("groups", group, "flavors", name, "quota"),
                    f"is more than the {count} that local.simulate has of it",
                    f"at most {count}, or more to simulate",
                )


def _shared_homes(catalog: Catalog, document: Document) -> Iterator[Finding]:
    """Yield volumes that look like each user's own and are one folder for all."""
    for name, volume in catalog.volumes.items():
        if volume.scratch is not None:
            continue
        if "{username}" in volume.mount and "{username}" not in volume.path and volume.mode == "rw":
            yield document.find(
                "warning",
                ("volumes", name, "path"),
                "is one folder, in which everybody writes, for a mount that names the user",
                "a path with {username} in it",
                f"{volume.path}/{{username}}".lstrip("/"),
            )


def _interpreters(
    catalog: Catalog, document: Document, exists: Callable[[str], bool] | None
) -> Iterator[Finding]:
    for name, environment in catalog.environments.items():
        local = environment.local
        if exists is not None and local is not None and local != "default" and not exists(local):
            yield document.find(
                "warning",
                ("environments", name, "local"),
                "is no interpreter of this machine, so it cannot be started here",
                "default, or where a Python interpreter is",
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
