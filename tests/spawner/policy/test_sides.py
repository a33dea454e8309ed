"""What would start now, and who would be ahead, for the group that is charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy import offers, queueing
from arcetri_spawner.policy.model import Inventory, LiveSession, Offer, Offers, QueueBound
from arcetri_spawner.policy.sides import charged_to
from arcetri_spawner.policy.sizes import in_size
from arcetri_spawner.waiting.why import instead_of
from tests.support.builders import (
    ASTRO,
    CMS,
    NOW,
    catalog,
    grant,
    identity,
    inventory,
    live_session,
    section,
)

OF = catalog(
    groups={
        CMS: {"title": "CMS", "flavors": {"t4": {"quota": 1}, "rtx": {}}},
        ASTRO: {"title": "Astro", "flavors": {"t4": {"quota": 1, "limit": 1}}},
    }
)
HELD = live_session("t4", CMS, name="carla")
"""By which CMS holds all that it may."""


def line(*groups: str) -> list[LiveSession]:
    """Requests for a T4 that wait."""
    return [
        live_session("t4", group, name=f"w{number}", waiting=True)
        for number, group in enumerate(groups)
    ]


def offered(*sessions: LiveSession, have: Inventory | None = None) -> Offers:
    """What somebody of both groups is offered; one of two T4 is free."""
    there = have or inventory({"t4": (1, 2), "rtx": (1, 1), "cpu": 4})
    return offers(OF, identity(CMS, ASTRO), there, sessions, NOW)


def one(found: Offers, flavor: str = "t4") -> Offer:
    return next(offer for offer in found.offers if offer.flavor == flavor)


def test_what_is_free_is_so_for_the_group_that_is_charged() -> None:
    whole = offered(HELD)
    assert (one(whole).startable, one(whole).ahead) == (1, None)
    cms = one(charged_to(whole, OF, CMS))
    assert (cms.startable, cms.ahead, cms.alternative) == (0, 0, "rtx")
    assert [reason.code for reason in cms.reasons] == ["busy_quota"]
    astro = one(charged_to(whole, OF, ASTRO))
    assert (astro.startable, astro.reasons, astro.alternative) == (1, (), None)
    # A flavour that it does not grant is charged to another one.
    assert one(charged_to(whole, OF, ASTRO), "rtx") == one(whole, "rtx")
    assert charged_to(whole, OF, "/lab/strangers") is whole


def test_an_alternative_would_start_with_the_group_that_is_charged() -> None:
    groups = {
        CMS: {"flavors": {"t4": {"quota": 1}, "rtx": {"quota": 1}}},
        ASTRO: {"flavors": {"t4": {"quota": 1}, "rtx": {"quota": 1}}},
    }
    of = catalog(groups=groups, everyone={"flavors": ("cpu",)})
    there = inventory({"t4": (1, 2), "rtx": (1, 1), "cpu": (4, 4)})
    held = live_session("rtx", CMS, name="carla")
    found = charged_to(offers(of, identity(CMS, ASTRO), there, [held], NOW), of, CMS)
    assert [(o.flavor, o.startable, o.alternative) for o in found.offers] == [
        ("t4", 1, None),
        ("rtx", 0, "t4"),
        ("cpu", 2, None),
    ]
    bounded = replace(there, queued={(CMS, "t4"): QueueBound(0, queueing.closed(CMS))})
    found = charged_to(offers(of, identity(CMS, ASTRO), bounded, [held], NOW), of, CMS)
    assert [(o.flavor, o.startable, o.alternative) for o in found.offers][:2] == [
        ("t4", 0, "cpu"),
        ("rtx", 0, "cpu"),
    ]


def test_who_is_ahead_is_of_the_line_of_the_group_that_is_charged() -> None:
    whole = offered(HELD, *line(CMS, CMS), have=inventory({"t4": (0, 2), "rtx": 1, "cpu": 4}))
    assert one(whole).ahead == 0, "the shortest of their lines"
    assert one(charged_to(whole, OF, CMS)).ahead == 2
    assert one(charged_to(whole, OF, ASTRO)).ahead == 0


@pytest.mark.parametrize(("lends", "others"), [(False, (1, 2)), (True, (0, 0))])
def test_requests_of_others_come_first_where_the_order_of_asking_counts(
    lends: bool, others: tuple[int, int]
) -> None:
    there = replace(inventory({"t4": (0, 2), "cpu": 4}), lends=lends)
    whole = one(offered(HELD, *line(CMS, ASTRO, CMS), have=there))
    assert [(side.waiting, side.others) for side in whole.groups] == [
        (2, others[0]),
        (1, others[1]),
    ]


def instead(found: Offers, size: str = "small", group: GroupPath = CMS) -> list[str]:
    asked = grant(flavor="t4", group=group, size=size)
    return [offer.flavor for offer in instead_of(asked, found, in_size(found, OF, size))]


def test_the_same_charged_to_another_group_would_start_instead() -> None:
    assert instead(offered(HELD)) == ["t4", "rtx", "cpu"]
    # What would start as it was asked for is no alternative to itself.
    assert instead(offered(HELD), group=ASTRO) == ["rtx", "cpu"]
    full = inventory({"t4": (0, 2), "rtx": (1, 1), "cpu": 4})
    assert instead(offered(HELD, have=full)) == ["rtx", "cpu"]
    # Of a group that is theirs no more nothing starts.
    assert instead(offered(HELD), group=GroupPath("/lab/left")) == ["t4", "rtx", "cpu"]


def bounded(most: int, *groups: GroupPath, flavors: tuple[str, ...] = ("t4", "rtx")) -> Inventory:
    """Where queues of groups admit only so many."""
    there = inventory({"t4": (2, 2), "rtx": (1, 1), "cpu": 4})
    bounds = {(g, f): QueueBound(most, queueing.closed(g)) for g in groups for f in flavors}
    return replace(there, queued=bounds)


def test_of_a_queue_that_admits_nothing_nothing_is_free_and_it_is_said_why() -> None:
    whole = offered(have=bounded(0, CMS, ASTRO))
    for flavor in ("t4", "rtx"):
        offer = one(whole, flavor)
        assert (offer.startable, offer.ahead, offer.alternative) == (0, 0, "cpu")
        assert offer.reasons[0] == queueing.closed(CMS)
    # What waits behind it is not offered instead either.
    assert instead(whole) == ["cpu"]
    one_open = offered(have=bounded(0, CMS))
    assert [side.startable for side in one(one_open).groups] == [0, 1]
    assert one(charged_to(one_open, OF, CMS)).reasons == (queueing.closed(CMS),)
    assert instead(one_open) == ["t4", "cpu"]


def test_a_queue_that_has_less_than_is_promised_bounds_what_starts() -> None:
    of = catalog(groups={CMS: {"flavors": {"t4": {"quota": 2}}}})
    there = bounded(1, CMS)
    found = one(offers(of, identity(CMS), there, (), NOW))
    assert (found.startable, found.free) == (1, 2)
    held = replace(there, flavors={**there.flavors, **inventory({"t4": (1, 2)}).flavors})
    found = one(offers(of, identity(CMS), held, [HELD], NOW))
    assert (found.startable, found.ahead) == (0, 0)
    assert [reason.code for reason in found.reasons] == ["queue_kept"]


def test_a_bound_that_is_none_changes_nothing() -> None:
    assert section("groups")[CMS]["flavors"]["t4"]["quota"] == 2
    there = bounded(2, CMS)
    plain = offers(catalog(), identity(CMS), replace(there, queued={}), [HELD], NOW)
    assert offers(catalog(), identity(CMS), there, [HELD], NOW) == plain
