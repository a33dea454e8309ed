"""Who may read what. Pure: a reader and the catalog in, a ``Sight`` out.

A person reads their own usage, a lead that of the groups they lead (and of those below, where the
catalog says so), an administrator everything. A report has one view, so that a number never mixes
"mine" with "the group's": ``own``, ``group`` or ``all``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from arcetri_accounting.contract.witness import GroupTerms
from arcetri_accounting.ledger.errors import Forbidden

View = Literal["own", "group", "all"]
VIEWS: tuple[View, ...] = ("own", "group", "all")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, as JupyterHub says."""

    name: str
    """The account's name, or a service's."""
    groups: frozenset[str] = frozenset()
    own: bool = False
    """May read their own usage, and what their groups' terms give them."""
    everything: bool = False
    names: bool = True
    """Sees the names of persons, not only opaque ids, where they see everything."""
    account: str | None = None
    """The person's opaque id; empty where they have none, None where the hub knows no such ids."""


EVERYONE = "everyone"
"""What usage is charged to that no group's grant gave; it is no path."""
OPERATOR = Reader(name="", everything=True)
"""Who runs a command on the ledger's own machine."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Whose usage is in view; a row is in it when any of the three holds."""

    everything: bool = False
    groups: frozenset[str] = frozenset()
    person: str | None = None
    """A name: that person's own usage, in whatever group."""
    names: bool = False
    account: str | None = None
    """That person's opaque id, which then counts, and not the name: names are given again."""


def normal(group: str) -> str:
    """A group's path in one spelling, with the leading slash."""
    return "/" + group.strip("/")


def spelt(group: str) -> str:
    """A group as usage is charged to it, however somebody wrote it: a path, or ``everyone``."""
    return group if group == EVERYONE else normal(group)


def with_office(reader: Reader, admins: Iterable[str]) -> Reader:
    """A reader who reads everything where they are in one of the catalog's groups of admins.

    Only for people whose login may read usage at all: a token without that scope gains nothing.
    """
    mine = {normal(group) for group in reader.groups}
    if reader.own and mine & {normal(group) for group in admins}:
        return replace(reader, everything=True)
    return reader


def led(
    reader: Reader, terms: Mapping[str, GroupTerms], known: Iterable[str] = ()
) -> frozenset[str]:
    """The groups whose usage a reader may read as their lead.

    Args:
        reader: Who asks.
        terms: The groups of the catalog that holds now.
        known: Further groups with usage, which may lie below one of the catalog's.
    """
    if not reader.own:
        return frozenset()
    mine = {normal(group) for group in reader.groups}
    found: set[str] = set()
    everywhere = {*terms, *known}
    for path, term in terms.items():
        if not mine & {normal(lead) for lead in term.leads}:
            continue
        found.add(path)
        if term.subgroups:
            found.update(group for group in everywhere if is_below(group, path))
    return frozenset(found)


def is_below(group: str, parent: str) -> bool:
    """Whether a group lies below another one; ``/ab`` does not lie below ``/a``."""
    return group.startswith(parent.rstrip("/") + "/")


def default_view(reader: Reader, leads: frozenset[str], group: str | None) -> View:
    """The view that is meant where none is asked for."""
    if reader.everything:
        return "all"
    return "group" if group is not None and group in leads else "own"


def sight(reader: Reader, view: View, leads: frozenset[str]) -> Sight:
    """What a report in a view is made from.

    Raises:
        Forbidden: The reader has no such view.
    """
    if view == "all":
        if not reader.everything:
            raise Forbidden(
                "Only administrators read the usage of everybody.",
                code="not_admin",
                remedy="Your own usage is on your own page.",
            )
        return Sight(everything=True, names=reader.names)
    if view == "group":
        if reader.everything:
            return Sight(everything=True, names=reader.names)
        if not leads:
            raise Forbidden(
                "You lead no group, so there is none whose usage you may read.",
                code="not_lead",
                remedy="Who leads a group is in the catalog; its administrators can change it.",
            )
        return Sight(groups=leads, names=True)
    if not reader.own or not reader.name:
        raise Forbidden(
            "There is no usage of your own to read.",
            code="no_own_usage",
            remedy="Ask for the view of a group or of all.",
        )
    return Sight(person=reader.name, names=True, account=reader.account)


def whole_sight(reader: Reader, leads: frozenset[str]) -> Sight:
    """Everything that a reader may see in any view, for a single session."""
    person = reader.name if reader.own and reader.name else None
    names = reader.names if reader.everything else True
    return Sight(reader.everything, leads, person, names, reader.account)


def refuse_group(group: str) -> NoReturn:
    """Say that a group's usage is not the reader's to read.

    Raises:
        Forbidden: Always.
    """
    raise Forbidden(
        f"You do not lead {group}, so its usage is not yours to read.",
        code="not_lead",
        remedy="Who leads a group is in the catalog; its administrators can change it.",
    )
