"""What a group may start now, where the queue lends what others leave idle and where not."""

from __future__ import annotations

from typing import Any

import pytest

from arcetri_spawner.policy import offers
from arcetri_spawner.policy.model import FlavorInventory, GroupOffer, Inventory
from tests.support.builders import ASTRO, CMS, NOW, catalog, identity, live_session, section


def of(
    group: str, terms: dict[str, dict[str, int]], held: dict[str, int], *, free: int, lends: bool
) -> GroupOffer:
    """One group's side of the T4, of which there are as many as are held and free."""
    granted = {path: {"flavors": {"t4": one}} for path, one in terms.items()}
    sessions = [
        live_session(flavor="t4", group=path, account_id=f"{path}{number}", server_name="x")
        for path, count in held.items()
        for number in range(count)
    ]
    there = Inventory({"t4": FlavorInventory(free + len(sessions), free)}, NOW, lends=lends)
    found: Any = offers(
        catalog(groups=section("groups", **granted)), identity(group), there, sessions, NOW
    )
    offer = next(one for one in found.offers if one.flavor == "t4")
    (side,) = offer.groups
    assert bool(side.reasons) is not bool(side.startable)
    return side


LENT = {CMS: {"quota": 1, "borrow": 1}, ASTRO: {"quota": 1}}
REST = {CMS: {}, ASTRO: {"quota": 3}}


@pytest.mark.parametrize(
    ("held", "free", "lends", "startable", "codes"),
    [
        # What others leave idle is borrowed, and that is known beforehand.
        ({CMS: 1}, 1, True, 1, []),
        ({CMS: 1}, 1, False, 0, ["busy_quota"]),
        # No more of it than may be.
        ({CMS: 2}, 1, True, 0, ["busy_quota"]),
        # Within the quota nothing is borrowed.
        ({ASTRO: 1}, 1, True, 1, []),
        ({CMS: 1, ASTRO: 1}, 0, True, 0, ["busy_capacity"]),
    ],
)
def test_beyond_the_quota(
    held: dict[str, int], free: int, lends: bool, startable: int, codes: list[str]
) -> None:
    side = of(CMS, LENT, held, free=free, lends=lends)
    assert side.startable == startable
    assert [reason.code for reason in side.reasons] == codes
    assert side.would_borrow is (held.get(CMS) == 1 and startable == 1)


@pytest.mark.parametrize(
    ("held", "free", "lends", "startable", "codes"),
    [
        # Three of the four belong to who has a quota, also while they leave them idle.
        ({}, 4, True, 1, []),
        ({CMS: 1}, 3, True, 0, ["queue_kept"]),
        ({CMS: 1}, 2, False, 2, []),
        ({ASTRO: 3}, 1, True, 1, []),
        ({CMS: 1, ASTRO: 3}, 0, True, 0, ["busy_capacity"]),
    ],
)
def test_without_a_quota_beside_one_that_has(
    held: dict[str, int], free: int, lends: bool, startable: int, codes: list[str]
) -> None:
    side = of(CMS, REST, held, free=free, lends=lends)
    assert side.startable == startable
    assert [reason.code for reason in side.reasons] == codes


def test_groups_without_a_quota_share_the_rest() -> None:
    other = "/lab/other"
    terms = {CMS: {}, other: {}, ASTRO: {"quota": 2}}
    # What one of them has may be asked back for the other, and that is known beforehand.
    assert of(CMS, terms, {}, free=4, lends=True).shares
    assert not of(CMS, terms, {}, free=4, lends=False).shares
    assert not of(ASTRO, terms, {}, free=4, lends=True).shares
    assert not of(CMS, REST, {}, free=4, lends=True).shares
    assert of(CMS, terms, {}, free=4, lends=True).startable == 2
    assert of(CMS, terms, {other: 1}, free=3, lends=True).startable == 1
    assert of(CMS, terms, {other: 2}, free=2, lends=True).startable == 0


def test_who_may_only_borrow_waits_for_ever_where_nothing_is_lent() -> None:
    terms = {CMS: {"quota": 0, "borrow": 1}, ASTRO: {"quota": 1}}
    assert of(CMS, terms, {}, free=1, lends=True).would_borrow
    (reason,) = of(CMS, terms, {}, free=1, lends=False).reasons
    assert (reason.code, reason.endless) == ("busy_quota", True)
