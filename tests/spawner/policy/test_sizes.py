"""What would start now in the size that is chosen, where a node has less room than devices."""

from __future__ import annotations

import pytest

from arcetri_spawner.policy import offers
from arcetri_spawner.policy.model import FlavorInventory, Inventory, Offer, Offers
from arcetri_spawner.policy.sizes import in_size, with_room
from arcetri_spawner.waiting.why import instead_of, waits_for
from tests.support.builders import CMS, GIB, NOW, catalog, grant, identity, live_session, section

SIZES = section(
    "sizes",
    medium={"title": "Half", "cpu": 4.0, "memory": 16 * GIB},
    large={"cpu": 8.0, "memory": 32 * GIB, "flavors": ("t4", "rtx", "cpu")},
)
OF = catalog(sizes=SIZES)


def offered(*held: str, **rooms: dict[str, int]) -> Offers:
    """What somebody of a group that may have two T4 is offered; four of each are free."""
    there = {flavor: FlavorInventory(4, 4, rooms=rooms.get(flavor, {})) for flavor in ("t4", "rtx")}
    there["cpu"] = FlavorInventory(6, 4, rooms=rooms.get("cpu", {}))
    sessions = [live_session(flavor, CMS, name="bob") for flavor in held]
    return offers(OF, identity(CMS), Inventory(there, NOW), sessions, NOW)


def one(found: Offers, flavor: str = "t4") -> Offer:
    return next(offer for offer in found.offers if offer.flavor == flavor)


def test_a_size_without_room_would_wait_and_says_what_would_start() -> None:
    found = offered(t4={"small": 3, "medium": 1, "large": 0}, rtx={"small": 1, "large": 1})
    assert one(found).startable == 2
    large = one(in_size(found, OF, "large"))
    assert (large.startable, large.free, large.total, large.ahead) == (0, 0, 4, 0)
    assert [reason.code for reason in large.reasons] == ["queue_size"]
    assert large.reasons[0].sentence == (
        "No node has room for a session of this size on NVIDIA T4 now."
        " In the size Half 1 would start."
    )
    assert large.groups[0].reasons == large.reasons
    assert large.alternative == "rtx"


def test_a_size_with_less_room_counts_that_room_within_quotas_and_limits() -> None:
    rooms = {"small": 3, "medium": 1, "large": 0}
    assert one(in_size(offered(t4=rooms), OF, "medium")).startable == 1
    assert one(in_size(offered(t4=rooms), OF, "small")) == one(offered(t4=rooms))
    full = one(in_size(offered("t4", "t4", t4=rooms), OF, "large"))
    assert [reason.code for reason in full.reasons] == ["busy_quota"]


def test_an_alternative_has_room_for_the_size_itself() -> None:
    none = {"small": 1, "medium": 1, "large": 0}
    found = in_size(offered(t4=none, rtx=none, cpu={"small": 4, "large": 1}), OF, "large")
    assert [one(found, flavor).alternative for flavor in ("t4", "rtx")] == ["cpu", "cpu"]
    found = in_size(offered(t4=none, rtx=none, cpu=none), OF, "large")
    assert [offer.alternative for offer in found.offers] == [None] * 3


def test_without_a_device_the_total_is_that_of_the_size() -> None:
    found = in_size(offered(cpu={"small": 4, "medium": 2, "large": 1}), OF, "large")
    cpu = one(found, "cpu")
    assert (cpu.startable, cpu.total) == (1, 3), "two run, and one more would"


def test_where_devices_alone_count_every_size_is_the_same() -> None:
    found = offered()
    assert in_size(found, OF, "large") is found


@pytest.mark.parametrize(
    ("rooms", "nearest"),
    [
        ({}, "medium"),
        ({"small": 3, "medium": 1, "large": 1}, "medium"),
        ({"small": 3, "medium": 0, "large": 0}, "small"),
        ({"small": 0, "medium": 0, "large": 1}, "large"),
    ],
)
def test_the_nearest_size_with_room(rooms: dict[str, int], nearest: str) -> None:
    assert with_room(one(offered(t4=rooms)), OF, "medium", 4.0, 16 * GIB) == nearest


def test_who_waits_for_a_size_is_told_why_and_of_a_smaller_one_of_the_same() -> None:
    asked = grant(flavor="t4", group=CMS, size="large")
    found = offered(t4={"small": 3, "medium": 1, "large": 0})
    sized = in_size(found, OF, "large")
    assert [one.code for one in waits_for(asked, None, sized, OF)] == ["queue_size"]
    assert [one.flavor for one in instead_of(asked, found, sized)] == ["t4", "rtx", "cpu"]
    free = offered(t4={"small": 3, "medium": 1, "large": 1})
    there = in_size(free, OF, "large")
    assert [one.flavor for one in instead_of(asked, free, there)] == ["rtx", "cpu"]
