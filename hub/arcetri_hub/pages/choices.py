"""The spawn page's contents as a pure function of what policy offers.

Templates only lay out what is decided here; nothing in this module does I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from arcetri_hub.pages import amounts
from arcetri_spawner.catalog.models import Catalog, FlavorType, News
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy.model import (
    GroupOffer,
    Identity,
    MountedVolume,
    Offer,
    Offers,
    Reason,
)
from arcetri_spawner.policy.sides import charged_to
from arcetri_spawner.policy.sizes import in_size, title_of
from arcetri_spawner.policy.volumes import volumes_of

_KINDS: tuple[tuple[FlavorType, str], ...] = (
    ("gpu", "GPUs"),
    ("fpga", "FPGAs"),
    ("cpu", "Without an accelerator"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is or was chosen; an empty text means nothing."""

    flavor: str = ""
    group: str = ""
    environment: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group's line on a card."""

    group: str
    title: str
    use: str


Lamp = Literal["mine", "others", "used"]
"""A device: free for this person, free but beyond their limit or their group's quota, in use."""

_MOST_LAMPS = 16
NEWS_LASTS = timedelta(days=30)
"""How long news of an environment is news."""
_BOUNDS = frozenset(
    {
        "session_limit",
        "request_limit",
        "flavor_limit",
        "busy_quota",
        "queue_kept",
        "queue_closed",
        "queue_unready",
        "queue_no_flavor",
        "queue_too_large",
    }
)
"""Codes of reasons that bound the person, not the flavour."""


@dataclass(frozen=True, slots=True)
class Card:
    """A flavour on the page."""

    flavor: str
    title: str
    description: str
    memory: str
    price: str
    simulated: bool
    free: str
    """How many would start now, in words."""
    others: str
    """How many more are free, but not for this person, in words."""
    lamps: tuple[Lamp, ...]
    """One a device; none where there are many, or none at all."""
    groups: tuple[GroupLine, ...]
    available: bool
    checked: bool
    reasons: tuple[Reason, ...]
    hint: str
    """What to do where there is no alternative."""
    waits: bool
    """Whether one who asks would wait in line."""
    line: str
    """Who would be ahead in line, and whom to charge to start now, in words; empty where neither
    matters."""
    choosable: bool
    """Whether any of one's groups would let one start it, or wait."""
    borrowed: str
    """Of one that would be borrowed and may be asked back: that, in words; else empty."""
    alternative: str
    alternative_title: str
    environments: tuple[str, ...]
    sizes: tuple[str, ...]
    grantors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The cards of one kind."""

    kind: FlavorType
    title: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """An environment, size or group to choose."""

    name: str
    title: str
    detail: str
    fits: str
    """For readers: which flavours it goes with; empty when with all that are shown."""
    checked: bool
    contents: str = ""
    """What is in an environment, with versions."""
    news: str = ""
    """What is new in it since when, in words; empty when nothing is."""


@dataclass(frozen=True, slots=True)
class SpawnPage:
    """Everything the spawn page shows about choices."""

    sections: tuple[Section, ...]
    environments: tuple[Tile, ...]
    sizes: tuple[Tile, ...]
    groups: tuple[Tile, ...]
    """Empty when no flavour leaves a choice of whom to charge."""
    mounts: tuple[MountedVolume, ...]
    refusals: tuple[Reason, ...]
    simulated: bool
    can_start: bool
    waits: bool
    """Whether what is preselected would wait in line."""


def spawn_page(
    catalog: Catalog,
    identity: Identity,
    offers: Offers,
    wishes: Iterable[Choice],
    now: datetime,
) -> SpawnPage:
    """Lay out the spawn page.

    Args:
        catalog: For the titles of what is offered.
        identity: The person.
        offers: What policy offers this person.
        wishes: Choices in falling order of weight, such as what was posted, what the link says,
            what was chosen last; per field the first that is on offer is preselected.
        now: Decides what is news.
    """
    wishes = tuple(wishes)
    today = now.astimezone(ZoneInfo(catalog.site.timezone)).date()
    chosen, offers, whole = _chosen(catalog, offers, wishes)
    wished = _group(chosen, wishes)
    titles = {offer.flavor: offer.title for offer in offers.offers}
    cards = {
        offer.flavor: _card(
            offer,
            titles,
            catalog.defaults.grace,
            checked=offer is chosen,
            choosable=one.startable > 0 or one.ahead is not None,
        )
        for offer, one in zip(offers.offers, whole.offers, strict=True)
    }
    sections = tuple(
        Section(kind, title, found)
        for kind, title in _KINDS
        if (found := tuple(cards[o.flavor] for o in offers.offers if o.type == kind))
    )
    return SpawnPage(
        sections=sections,
        environments=_environments(catalog, offers, chosen, wishes, titles, today),
        sizes=_sizes(catalog, offers, chosen, wishes, titles),
        groups=_groups(offers, wished, titles),
        mounts=mounts_of(catalog, identity, wished),
        refusals=offers.refusals,
        simulated=any(offer.simulated for offer in offers.offers),
        can_start=not offers.refusals and any(card.choosable for card in cards.values()),
        waits=any(card.checked and card.waits for card in cards.values()),
    )


def unmet(page: SpawnPage, link: Choice) -> tuple[str, ...]:
    """What a link asks for and the page does not preselect, in sentences.

    Of what is not on offer no word is repeated: anybody can write a link.
    """
    cards = [card for section in page.sections for card in section.cards]
    chosen = next((card for card in cards if card.checked), None)
    if chosen is None:
        return ()
    said: list[str] = []
    if link.flavor and link.flavor != chosen.flavor:
        said.append(
            "The link asks for an accelerator that you are not offered. "
            f"{chosen.title} is chosen instead."
        )
    elif link.flavor and not chosen.available:
        said.append(
            f"The link asks for {chosen.title}, for which you would wait in line now."
            if chosen.waits
            else f"The link asks for {chosen.title}, which would not start for you now."
        )
    if link.group and link.group not in chosen.grantors:
        said.append(f"The link names a group that does not grant you {chosen.title}.")
    for noun, wish, tiles in (
        ("an environment", link.environment, page.environments),
        ("a size", link.size, page.sizes),
    ):
        instead = next((tile for tile in tiles if tile.checked), None)
        if not wish or instead is None or instead.name == wish:
            continue
        title = next((tile.title for tile in tiles if tile.name == wish), "")
        said.append(
            f"The link asks for {title}, which does not go with {chosen.title}. "
            f"{instead.title} is chosen instead."
            if title
            else f"The link asks for {noun} that you are not offered. "
            f"{instead.title} is chosen instead."
        )
    return tuple(said)


def _chosen(
    catalog: Catalog, offers: Offers, wishes: tuple[Choice, ...]
) -> tuple[Offer | None, Offers, Offers]:
    """What is preselected.

    Returns:
        The flavour; all of them in the size and charged to the group that is preselected with it;
        and all in that size, whomever one charges.
    """
    known = {size for offer in offers.offers for size in offer.sizes}
    size = next((wish.size for wish in wishes if wish.size in known), "")
    grantors = {group.group for offer in offers.offers for group in offer.groups}
    group = next((wish.group for wish in wishes if wish.group in grantors), "")
    roomy = in_size(offers, catalog, size)
    flavor = (
        _flavor(charged_to(roomy, catalog, group), wishes)
        or _flavor(roomy, wishes)
        or _flavor(offers, wishes)
    )
    if flavor is None:
        return None, offers, offers
    sized = in_size(offers, catalog, _size(flavor, wishes))
    found = charged_to(sized, catalog, _group(flavor, wishes))
    return next(one for one in found.offers if one.flavor == flavor.flavor), found, sized


def _flavor(offers: Offers, wishes: tuple[Choice, ...]) -> Offer | None:
    by_name = {offer.flavor: offer for offer in offers.offers}
    for wish in wishes:
        # A wish for what is busy stands: its card says why, and what would start instead.
        if wish.flavor in by_name:
            return by_name[wish.flavor]
    return next((offer for offer in offers.offers if offer.startable > 0), None)


def _size(chosen: Offer | None, wishes: tuple[Choice, ...]) -> str:
    return _pick(chosen.sizes if chosen else (), (wish.size for wish in wishes))


def _card(
    offer: Offer, titles: Mapping[str, str], grace: timedelta, *, checked: bool, choosable: bool
) -> Card:
    return Card(
        flavor=offer.flavor,
        title=offer.title,
        description=offer.description,
        memory=amounts.size_of(offer.memory) if offer.memory else "",
        price=amounts.price(offer.type, offer.share),
        simulated=offer.simulated,
        free=free_text(offer),
        others=others_text(offer),
        lamps=lamps(offer),
        groups=tuple(group_line(group) for group in offer.groups),
        available=offer.startable > 0,
        checked=checked,
        reasons=offer.reasons,
        hint=hint(offer),
        waits=offer.ahead is not None,
        line=line_text(offer),
        choosable=choosable,
        borrowed=borrowed_text(offer, grace),
        alternative=offer.alternative or "",
        alternative_title=titles.get(offer.alternative or "", ""),
        environments=offer.environments,
        sizes=offer.sizes,
        grantors=tuple(group.group for group in offer.groups),
    )


def line_text(offer: Offer) -> str:
    """What who asks for a busy flavour would find: ``You would wait: 2 of your group ahead.``.

    Where groups differ and none is chosen, it is said of each; where another one than the chosen
    would let it start, that.
    """
    lines = [side for side in offer.sides if side.waitable]
    said: list[str] = []
    if offer.charged is None and len(offer.groups) > 1:
        said += _of_each(lines, starts=bool(offer.startable))
    elif lines:
        said.append(_of_one(lines[0]))
    if not offer.startable:
        able = [one for one in offer.groups if one.startable and one.group != offer.charged]
        said += [f"Charged to {_titles(able, 'or')} one would start now."] if able else []
    return " ".join(said)


def _of_one(line: GroupOffer) -> str:
    if line.waiting:
        said = f"You would wait: {line.waiting} of your group ahead of you."
    else:
        said = "You would wait, first in line of your group."
    if line.others == 1:
        said += " 1 earlier request of another group may come before you."
    elif line.others:
        said += f" {line.others} earlier requests of other groups may come before you."
    return said


def _of_each(lines: list[GroupOffer], *, starts: bool) -> Iterator[str]:
    """The lines of several groups of which none is chosen."""
    if not lines:
        return
    told = [
        (
            f"{line.waiting} ahead of you" if line.waiting else "first in line",
            group_title(line.group, line.title),
        )
        for line in lines
    ]
    if starts:
        yield from (f"Charged to {group} you would wait, {place}." for place, group in told)
    else:
        yield f"You would wait: {', '.join(f'{place} with {group}' for place, group in told)}."
    if any(line.others for line in lines):
        yield "Earlier requests of other groups may come before you."


def borrowed_text(offer: Offer, grace: timedelta) -> str:
    """That what starts now would be borrowed, charged to whichever of one's groups it would be."""
    lent = [one for one in offer.sides if one.would_borrow]
    shared = [one for one in offer.sides if one.shares and one.startable]
    told = []
    if lent:
        told.append(
            f"Beyond the quota of {_titles(lent)} it is borrowed: when the group that it belongs"
            " to, or one that borrows less, needs it"
        )
    if shared:
        told.append(
            f"{_titles(shared)} shares it with other groups without a quota: when one that has"
            " less needs it"
        )
    return " ".join(f"{one}, you have {amounts.span(grace)} to save your work." for one in told)


def _titles(groups: Iterable[GroupOffer], word: str = "and") -> str:
    return f" {word} ".join(group_title(one.group, one.title) for one in groups)


def free_text(offer: Offer) -> str:
    """How many would start now: ``1 of 8 free for you now``."""
    if not offer.total:
        return "None free now"
    return f"{offer.startable} of {offer.total} free for you now"


def others_text(offer: Offer) -> str:
    """How many are free beyond the person's limit or their group's quota: ``2 for others``."""
    others = _for_others(offer)
    if not others:
        return ""
    return f"{others} more for others" if offer.startable else f"{others} free for others"


def _for_others(offer: Offer) -> int:
    """Devices that nobody holds and this person may not have on top of what they hold."""
    bound = offer.startable or any(reason.code in _BOUNDS for reason in offer.reasons)
    return max(offer.free - offer.startable, 0) if bound else 0


def lamps(offer: Offer) -> tuple[Lamp, ...]:
    """The devices of a flavour, for a glance; sessions without a device have no lamps."""
    if offer.type == "cpu" or offer.total > _MOST_LAMPS:
        return ()
    mine, others = offer.startable, _for_others(offer)
    counts: tuple[tuple[Lamp, int], ...] = (
        ("mine", mine),
        ("others", others),
        ("used", offer.total - mine - others),
    )
    return tuple(lamp for lamp, count in counts for _ in range(count))


def hint(offer: Offer) -> str:
    """What to do about a flavour that one cannot ask for, where no other one would start."""
    if offer.alternative or offer.ahead is not None:
        return ""
    return next((reason.own for reason in offer.reasons if reason.own), "")


def group_line(group: GroupOffer) -> GroupLine:
    """A group's quota and limit, and how much of them is in use."""
    parts = []
    if group.quota is not None:
        parts.append(f"{group.in_use} of {group.quota} in use")
    elif group.group != EVERYONE:
        parts.append(f"{group.in_use} in use")
    if group.would_borrow:
        parts.append("the next would be borrowed")
    if group.limit is not None:
        parts.append(f"you {group.mine} of {group.limit}")
    elif group.mine:
        parts.append(f"you {group.mine}")
    return GroupLine(group.group, group_title(group.group, group.title), ", ".join(parts))


def group_title(path: str, title: str = "") -> str:
    """A group as pages name it."""
    if path == EVERYONE:
        return "Everyone"
    return title or path


def _pick(names: Iterable[str], wishes: Iterable[str]) -> str:
    """The first wish that is among ``names``, else the first name."""
    known = tuple(names)
    return next((wish for wish in wishes if wish in known), known[0] if known else "")


def _fits(name: str, offers: Offers, attribute: str, titles: Mapping[str, str]) -> str | None:
    """Which of the offered flavours a tile goes with; None when with none."""
    found = [o.flavor for o in offers.offers if name in getattr(o, attribute)]
    if not found:
        return None
    if len(found) == len(offers.offers):
        return ""
    return "with " + ", ".join(titles[flavor] for flavor in found)


def _environments(
    catalog: Catalog,
    offers: Offers,
    chosen: Offer | None,
    wishes: tuple[Choice, ...],
    titles: Mapping[str, str],
    today: date,
) -> tuple[Tile, ...]:
    picked = _pick(chosen.environments if chosen else (), (w.environment for w in wishes))
    return tuple(
        Tile(
            name,
            environment.title,
            environment.description,
            fits,
            name == picked,
            contents=", ".join(environment.contents),
            news=news_text(environment.news, today),
        )
        for name, environment in catalog.environments.items()
        if (fits := _fits(name, offers, "environments", titles)) is not None
    )


def news_text(news: News | None, today: date) -> str:
    """What is new since when: ``New since 27 November 2026: PyTorch 2.15.``."""
    if news is None or not news.since <= today < news.since + NEWS_LASTS:
        return ""
    since = f"New since {news.since.day} {news.since:%B %Y}"
    return f"{since}: {news.message}" if news.message else f"{since}."


def _sizes(
    catalog: Catalog,
    offers: Offers,
    chosen: Offer | None,
    wishes: tuple[Choice, ...],
    titles: Mapping[str, str],
) -> tuple[Tile, ...]:
    picked = _size(chosen, wishes)
    return tuple(
        Tile(
            name,
            title_of(catalog, name),
            f"{amounts.plural(size.cpu, 'core')}, {amounts.size_of(size.memory)} memory",
            fits,
            name == picked,
        )
        for name, size in catalog.sizes.items()
        if (fits := _fits(name, offers, "sizes", titles)) is not None
    )


def _group(chosen: Offer | None, wishes: tuple[Choice, ...]) -> str:
    """The wished group among those that grant the chosen flavour; nobody's is never guessed."""
    grantors = tuple(group.group for group in chosen.groups) if chosen else ()
    return next((wish.group for wish in wishes if wish.group in grantors), "")


def mounts_of(catalog: Catalog, identity: Identity, charged: str) -> tuple[MountedVolume, ...]:
    """Return the volumes that a person's session charged to a group would see."""
    groups = [group for group in identity.groups if group in catalog.groups]
    return volumes_of(catalog, sorted(groups), GroupPath(charged), identity.name)


def _groups(offers: Offers, wished: str, titles: Mapping[str, str]) -> tuple[Tile, ...]:
    # A flavour's lone grantor is charged without being asked for.
    contested = [offer for offer in offers.offers if len(offer.groups) > 1]
    found: dict[str, GroupOffer] = {}
    flavors: dict[str, list[str]] = {}
    for offer in contested:
        for group in offer.groups:
            found.setdefault(group.group, group)
            flavors.setdefault(group.group, []).append(titles[offer.flavor])
    return tuple(
        Tile(
            path,
            group_title(path, group.title),
            path if group.title and path != EVERYONE else "",
            "" if len(flavors[path]) == len(offers.offers) else "for " + ", ".join(flavors[path]),
            path == wished,
        )
        for path, group in found.items()
    )
