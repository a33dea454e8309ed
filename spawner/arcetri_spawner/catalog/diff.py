"""Who gains and who loses what from one catalog to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from arcetri_spawner.catalog.models import Catalog, Flavor, Group, GroupFlavor
from arcetri_spawner.catalog.quantities import show_bytes, show_duration
from arcetri_spawner.groups import EVERYONE

PLATFORM = "platform"
"""Whose changes are no group's own: what a flavour, size, environment or volume is."""


@dataclass(frozen=True, slots=True)
class Change:
    """What changes for one group, for everyone who is allowed in, or for the platform."""

    who: str
    """A group's path, ``everyone`` or ``platform``."""
    gains: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    """What is neither more nor less."""

    def to_json(self) -> dict[str, Any]:
        """Return the change as plain data."""
        return asdict(self)


def diff(old: Catalog, new: Catalog) -> tuple[Change, ...]:
    """Return what changes, everyone first, then by group, the platform last; only what does."""
    changes = [_everyone(old, new)]
    changes += [_group(who, old, new) for who in sorted(_named_groups(old) | _named_groups(new))]
    changes.append(Change(PLATFORM, changes=tuple(_platform(old, new))))
    return tuple(one for one in changes if one.gains or one.loses or one.changes)


def render(changes: Iterable[Change]) -> str:
    """Write changes as plain text, one group a paragraph."""
    paragraphs = []
    for one in changes:
        lines = [f"{one.who}:"]
        lines += [f"  gains {what}" for what in one.gains]
        lines += [f"  loses {what}" for what in one.loses]
        lines += [f"  {what}" for what in one.changes]
        paragraphs.append("\n".join(lines) + "\n")
    return "\n".join(paragraphs) or "Nobody gains or loses anything.\n"


def _named_groups(catalog: Catalog) -> set[str]:
    leads = {lead for entry in catalog.groups.values() for lead in entry.leads}
    return {str(group) for group in catalog.allowed_groups() | leads}


def _everyone(old: Catalog, new: Catalog) -> Change:
    gains, loses = _sets(_everyone_has(old), _everyone_has(new))
    for what, before, after in (
        ("sessions at the same time", old.limits.sessions, new.limits.sessions),
        ("requests at the same time", old.limits.requests, new.limits.requests),
    ):
        _amount(what, before, after, gains, loses)
    for field, words in (
        ("idle", "time without activity"),
        ("lifetime", "time a session may run"),
        ("hold", "time a start is kept"),
        ("grace", "warning before an end"),
        ("stop", "time to exit"),
    ):
        _amount(words, getattr(old.defaults, field), getattr(new.defaults, field), gains, loses)
    kept = set(old.everyone.flavors) & set(new.everyone.flavors)
    changes = _of_flavors(kept, old, new, gains, loses)
    return Change(EVERYONE, tuple(gains), tuple(loses), tuple(changes))


def _everyone_has(catalog: Catalog) -> set[str]:
    return {f"flavour {name}" for name in catalog.everyone.flavors} | {
        f"volume {name}" for name in catalog.everyone.volumes
    }


def _group(who: str, old: Catalog, new: Catalog) -> Change:
    gains, loses = _sets(_group_has(who, old), _group_has(who, new))
    before, after = _entry(old, who).flavors, _entry(new, who).flavors
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            gains.append(f"flavour {name}{_terms(after[name])}")
        elif name not in after:
            loses.append(f"flavour {name}{_terms(before[name])}")
        else:
            _entitlement(name, before[name], after[name], gains, loses)
    changes = _of_flavors(before.keys() & after.keys(), old, new, gains, loses)
    return Change(who, tuple(gains), tuple(loses), tuple(changes))


def _of_flavors(
    names: Iterable[str], old: Catalog, new: Catalog, gains: list[str], loses: list[str]
) -> list[str]:
    """Add what changes with flavours that stay granted; return what is neither more nor less."""
    kept = sorted(names)
    for kind, was, now in (
        ("environment", _goes_with(old.environments, kept), _goes_with(new.environments, kept)),
        ("size", _goes_with(old.sizes, kept), _goes_with(new.sizes, kept)),
    ):
        gains += [f"{kind} {pair}" for pair in sorted(now - was)]
        loses += [f"{kind} {pair}" for pair in sorted(was - now)]
    changes: list[str] = []
    for name in kept:
        before, after = old.flavors[name], new.flavors[name]
        if before.share != after.share:
            changes.append(f"an hour of {name} costs {after.share} of a device, not {before.share}")
        if before.maintenance == after.maintenance:
            continue
        until = _until(after)
        if before.maintenance is None:
            loses.append(f"starting {name}: maintenance {until}")
        elif after.maintenance is None:
            gains.append(f"starting {name}: its maintenance is over")
        else:
            changes.append(f"maintenance of {name} is now {until}")
    return changes


def _until(flavor: Flavor) -> str:
    maintenance = flavor.maintenance
    begin = f"from {maintenance.from_} " if maintenance and maintenance.from_ else ""
    if maintenance is None or maintenance.until is None:
        return f"{begin}until it is taken out of the catalog"
    return f"{begin}until {maintenance.until}"


def _entry(catalog: Catalog, who: str) -> Group:
    for group, entry in catalog.groups.items():
        if group == who:
            return entry
    return Group()


def _group_has(who: str, catalog: Catalog) -> set[str]:
    has = {f"volume {name}" for name in _entry(catalog, who).volumes}
    if who in catalog.allowed_groups():
        has.add("log-in")
    if who in catalog.site.admins:
        has.add("administration of the platform")
    for group, entry in catalog.groups.items():
        if who in entry.leads:
            below = " and its sub-groups" if entry.subgroups else ""
            has.add(f"reading the usage of {group}{below}")
    return has


def _goes_with(entries: Mapping[str, Any], flavors: Iterable[str]) -> set[str]:
    return {
        f"{name} on {flavor}"
        for flavor in flavors
        for name, entry in entries.items()
        if entry.flavors is None or flavor in entry.flavors
    }


def _sets(old: set[str], new: set[str]) -> tuple[list[str], list[str]]:
    return sorted(new - old), sorted(old - new)


def _terms(entry: GroupFlavor) -> str:
    terms = [] if entry.quota is None else [f"quota {entry.quota}"]
    terms += [f"borrow {entry.borrow}"] if entry.borrow else []
    terms += [] if entry.limit is None else [f"limit {entry.limit} a user"]
    return f" ({', '.join(terms)})" if terms else ""


def _entitlement(
    name: str, old: GroupFlavor, new: GroupFlavor, gains: list[str], loses: list[str]
) -> None:
    _amount(f"quota of {name}", old.quota, new.quota, gains, loses)
    _amount(f"borrowing of {name}", old.borrow, new.borrow, gains, loses)
    _amount(f"limit a user of {name}", old.limit, new.limit, gains, loses)


def _amount(
    what: str,
    old: int | timedelta | None,
    new: int | timedelta | None,
    gains: list[str],
    loses: list[str],
) -> None:
    """Add ``what`` to the side it belongs to; None bounds nothing, and so is the most."""
    if old == new:
        return
    more = new is None or (old is not None and new > old)  # type: ignore[operator] # same kinds
    (gains if more else loses).append(f"{what}: {_show(old)} -> {_show(new)}")


def _platform(old: Catalog, new: Catalog) -> Iterator[str]:
    for field in ("name", "timezone"):
        yield from _field(f"site {field}", getattr(old.site, field), getattr(new.site, field))
    for field in ("users", "groups"):
        yield from _field(f"ids of {field}", getattr(old.ids, field), getattr(new.ids, field))
    for kind, section in (
        ("flavour", "flavors"),
        ("size", "sizes"),
        ("environment", "environments"),
        ("volume", "volumes"),
    ):
        before, after = getattr(old, section), getattr(new, section)
        for name in sorted(before.keys() | after.keys()):
            if name not in before:
                yield f"{kind} {name} is new"
            elif name not in after:
                yield f"{kind} {name} is gone"
            else:
                yield from _model(f"{kind} {name}", before[name], after[name])
    for name in sorted(old.local.simulate.keys() | new.local.simulate.keys()):
        counts = old.local.simulate.get(name, 0), new.local.simulate.get(name, 0)
        yield from _field(f"simulated devices of {name}", *counts)
    yield from _field(
        "sessions without accelerator on one machine",
        old.local.cpu_sessions,
        new.local.cpu_sessions,
    )


def _model(what: str, old: BaseModel, new: BaseModel) -> Iterator[str]:
    for field in type(old).model_fields:
        # What goes with what is told to the groups that have it.
        if field != "flavors":
            yield from _field(f"{what}: {field}", getattr(old, field), getattr(new, field))


def _field(what: str, old: object, new: object) -> Iterator[str]:
    if old != new:
        memory = what.endswith((": memory", ": shm", ": quota"))
        show = _show_bytes if memory else _show
        yield f"{what}: {show(old)} -> {show(new)}"


def _show_bytes(value: object) -> str:
    return show_bytes(value) if isinstance(value, int) else _show(value)


def _show(value: object) -> str:
    match value:
        case None | "" | ():
            return "none"
        case timedelta():
            return show_duration(value)
        case range():
            return f"{value[0]}-{value[-1]}"
        case dict():
            return ", ".join(f"{key}={one}" for key, one in value.items()) or "none"
        case tuple():
            return ", ".join(map(str, value))
        case BaseModel():
            return ", ".join(f"{key} {_show(one)}" for key, one in value) or "none"
        case _:
            return str(value)
