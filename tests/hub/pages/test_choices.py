"""What the spawn page shows, from the real policy over catalogs and inventories."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from arcetri_hub.pages.choices import Card, Choice, SpawnPage, Tile, spawn_page, unmet
from arcetri_hub.pages.live import offers_json
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy import offers
from arcetri_spawner.policy.model import FlavorInventory, LiveSession
from tests.support.builders import (
    ASTRO,
    CMS,
    NOW,
    catalog,
    identity,
    inventory,
    live_session,
    section,
)


def page(
    *groups: str,
    wishes: list[Choice] | None = None,
    of: Catalog | None = None,
    have: Any = None,
    sessions: Any = (),
) -> SpawnPage:
    of = of or catalog()
    person = identity(*groups)
    offered = offers(of, person, inventory(have), sessions, NOW)
    return spawn_page(of, person, offered, wishes or [], NOW)


def cards(shown: SpawnPage) -> dict[str, Card]:
    return {card.flavor: card for part in shown.sections for card in part.cards}


def checked(tiles: Any) -> list[str]:
    return [tile.name for tile in tiles if tile.checked]


def test_flavours_of_other_groups_are_not_shown() -> None:
    assert set(cards(page(ASTRO))) == {"t4", "a100-1g", "cpu"}


def test_cards_come_by_kind_with_accelerators_first() -> None:
    of = catalog(
        flavors=section("flavors", v70={"title": "V70", "type": "fpga", "resource": "amd.com/v70"}),
        everyone={"flavors": ("cpu", "v70")},
    )
    assert [part.kind for part in page(CMS, of=of).sections] == ["gpu", "fpga", "cpu"]


@pytest.mark.parametrize(
    ("flavor", "price"),
    [
        ("t4", "1 GPU-hour per hour"),
        ("a100-1g", "1/7 GPU-hour per hour"),
        ("cpu", "1 core-hour per core and hour"),
    ],
)
def test_a_card_says_what_an_hour_costs(flavor: str, price: str) -> None:
    assert cards(page(ASTRO))[flavor].price == price


def test_a_card_says_what_the_group_holds_and_may_hold() -> None:
    held = [live_session("t4", CMS, name="bob")]
    line = cards(page(CMS, sessions=held))["t4"].groups[0]
    assert (line.title, line.use) == ("CMS", "1 of 2 in use")


def test_a_card_says_what_i_hold_of_my_limit() -> None:
    held = [live_session("rtx", CMS)]
    line = cards(page(CMS, sessions=held))["rtx"].groups[0]
    assert line.use == "1 in use, you 1 of 1"


def test_lamps_tell_mine_from_others_from_used() -> None:
    card = cards(page(CMS, have={"t4": (3, 6), "rtx": (1, 1), "cpu": 4}))["t4"]
    assert card.free == "2 of 6 free for you now"
    assert card.others == "1 more for others"
    assert card.lamps == ("mine", "mine", "others", "used", "used", "used")


def test_what_is_free_beyond_a_limit_is_for_others() -> None:
    held = [live_session("rtx", CMS)]
    card = cards(page(CMS, have={"t4": (2, 2), "rtx": (2, 3), "cpu": 4}, sessions=held))["rtx"]
    assert (card.free, card.others) == ("0 of 3 free for you now", "2 free for others")
    assert card.lamps == ("others", "others", "used")


def test_what_nobody_can_start_is_for_nobody() -> None:
    broken = {**section("flavors")["t4"], "maintenance": {"message": "new firmware"}}
    flavors = section("flavors", t4=broken)
    card = cards(page(CMS, of=catalog(flavors=flavors), have={"t4": (2, 2), "cpu": 4}))["t4"]
    assert (card.free, card.others) == ("0 of 2 free for you now", "")
    assert card.lamps == ("used", "used")


def test_sessions_without_a_device_have_no_lamps_and_neither_has_a_crowd() -> None:
    shown = cards(page(CMS, have={"t4": (17, 17), "rtx": (16, 16), "cpu": 4}))
    assert (shown["cpu"].lamps, shown["t4"].lamps) == ((), ())
    assert len(shown["rtx"].lamps) == 16


def test_a_card_says_what_to_do_only_where_nothing_else_would_start() -> None:
    busy = cards(page(CMS, have={"t4": (0, 2), "rtx": (1, 1), "cpu": 4}))["t4"]
    assert (busy.hint, busy.alternative) == ("", "rtx")
    alone = cards(page(CMS, have={"t4": (0, 2), "rtx": (0, 1), "cpu": (0, 4)}))["t4"]
    assert alone.alternative == ""
    assert (alone.hint, alone.line) == ("", "You would wait, first in line of your group.")
    away = cards(page(CMS, have={"t4": (0, 0), "rtx": (0, 1), "cpu": (0, 4)}))["t4"]
    assert (away.hint, away.line) == ("It can start once one is connected.", "")


def test_a_busy_flavour_is_shown_with_its_reason_and_an_alternative() -> None:
    card = cards(page(CMS, have={"t4": (0, 2), "rtx": (1, 1), "cpu": 4}))["t4"]
    assert not card.available
    assert [reason.code for reason in card.reasons] == ["busy_capacity"]
    assert (card.alternative, card.alternative_title) == ("rtx", "NVIDIA RTX 5000")


def test_nothing_is_preselected_but_what_would_start() -> None:
    shown = page(CMS, have={"t4": (0, 2), "rtx": (1, 1), "cpu": 4})
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["rtx"]


def test_the_weightier_wish_wins() -> None:
    shown = page(
        CMS,
        wishes=[Choice(flavor="rtx"), Choice(flavor="t4", environment="torch", size="large")],
    )
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["rtx"]
    assert checked(shown.environments) == ["torch"]
    assert checked(shown.sizes) == ["large"]


def test_a_wish_that_is_not_on_offer_counts_for_nothing() -> None:
    shown = page(CMS, wishes=[Choice(flavor="<b>", environment="no", size="huge", group="/x")])
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["t4"]
    assert checked(shown.environments) == ["python"]


def test_environment_and_size_fit_the_chosen_flavour() -> None:
    shown = page(CMS, wishes=[Choice(flavor="cpu", environment="torch", size="large")])
    assert checked(shown.environments) == ["python"]
    assert checked(shown.sizes) == ["small"]


ROOMS = {"t4": {"small": 1, "large": 0}, "rtx": {"small": 1, "large": 1}}


def with_rooms(*wishes: Choice, **rooms: dict[str, int]) -> SpawnPage:
    of = catalog()
    there = inventory({"t4": (1, 1), "rtx": (1, 1), "cpu": 4})
    flavors = {
        name: replace(have, rooms={**ROOMS, **rooms}.get(name, {}))
        for name, have in there.flavors.items()
    }
    offered = offers(of, identity(CMS), replace(there, flavors=flavors), (), NOW)
    return spawn_page(of, identity(CMS), offered, wishes, NOW)


def test_what_is_free_is_so_in_the_size_that_is_preselected() -> None:
    small = with_rooms(Choice(flavor="t4", size="small"))
    assert cards(small)["t4"].free == "1 of 1 free for you now"
    assert not small.waits
    large = with_rooms(Choice(flavor="t4"), Choice(flavor="rtx", size="large"))
    card = cards(large)["t4"]
    assert (card.free, card.lamps, card.available) == ("0 of 1 free for you now", ("used",), False)
    assert card.waits
    assert card.line == "You would wait, first in line of your group."
    assert card.reasons[0].sentence.endswith(" In the size Small 1 would start.")
    assert card.alternative == "rtx"
    assert (checked(large.sizes), large.waits, large.can_start) == (["large"], True, True)
    assert unmet(large, Choice(flavor="t4")) == (
        "The link asks for NVIDIA T4, for which you would wait in line now.",
    )


def test_without_a_wish_what_has_room_for_the_last_size_is_preselected() -> None:
    shown = with_rooms(Choice(), Choice(size="large"))
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["rtx"]
    cramped = {"small": 1, "large": 0}
    shown = with_rooms(Choice(size="large"), rtx=cramped)
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["cpu"]
    # Where none has, the first of which a smaller one would start: the page says so.
    shown = with_rooms(Choice(size="large"), rtx=cramped, cpu={"small": 0})
    assert [card.flavor for card in cards(shown).values() if card.checked] == ["t4"]
    assert (checked(shown.sizes), shown.waits) == (["large"], True)


def test_the_live_numbers_have_each_size_that_differs() -> None:
    t4 = FlavorInventory(1, 1, rooms=ROOMS["t4"])
    there = replace(inventory(), flavors={"t4": t4, "cpu": FlavorInventory(4, 4)})
    told = offers_json(offers(catalog(), identity(CMS), there, (), NOW), catalog())
    told_of = {one["flavor"]: one for one in told["offers"]}
    assert (told_of["t4"]["startable"], list(told_of["t4"]["sizes"])) == (1, ["large"])
    large = told_of["t4"]["sizes"]["large"]
    assert (large["startable"], large["ahead"]) == (0, 0)
    assert large["reasons"][0]["code"] == "queue_size"
    assert told_of["cpu"]["sizes"] == {}


BOTH = catalog(
    groups={
        CMS: {"title": "CMS", "flavors": {"t4": {"quota": 1, "limit": 1}, "rtx": {}}},
        ASTRO: {"title": "Astro", "flavors": {"t4": {"quota": 1}}},
    }
)
"""Of which somebody in both groups is asked whom to charge a T4 to."""
HELD = live_session("t4", CMS, name="carla")
"""By which CMS holds all that it may."""


def line(*groups: str) -> list[LiveSession]:
    """Requests for a T4 that wait."""
    return [
        live_session("t4", group, name=f"w{number}", waiting=True)
        for number, group in enumerate(groups)
    ]


def of_both(group: str, *sessions: LiveSession, free: int = 1) -> tuple[SpawnPage, Card]:
    """The page of somebody in both groups who has chosen one, or none; and the T4's card."""
    have = {"t4": (free, 2), "rtx": (1, 1), "cpu": 4}
    wishes = [Choice(flavor="t4", group=group)]
    shown = page(CMS, ASTRO, wishes=wishes, of=BOTH, have=have, sessions=sessions)
    return shown, cards(shown)["t4"]


def test_what_is_free_is_so_for_the_group_that_is_preselected() -> None:
    shown, card = of_both(CMS, HELD)
    assert (card.free, card.others) == ("0 of 2 free for you now", "1 free for others")
    assert (card.available, card.waits, card.choosable, card.checked) == (False, True, True, True)
    assert (shown.waits, shown.can_start) == (True, True)
    assert [reason.code for reason in card.reasons] == ["busy_quota"]
    assert card.line == (
        "You would wait, first in line of your group. Charged to Astro one would start now."
    )
    assert unmet(shown, Choice(flavor="t4", group=CMS)) == (
        "The link asks for NVIDIA T4, for which you would wait in line now.",
    )
    shown, card = of_both(ASTRO, HELD)
    assert (card.free, card.line, card.reasons, shown.waits) == (
        "1 of 2 free for you now",
        "",
        (),
        False,
    )


def test_without_a_group_it_is_said_with_which_one_would_wait() -> None:
    shown, card = of_both("", HELD, *line(CMS))
    assert (card.free, shown.waits) == ("1 of 2 free for you now", False)
    assert card.line == "Charged to CMS you would wait, 1 ahead of you."


def test_what_a_group_refuses_can_be_chosen_with_another_one() -> None:
    mine = live_session("t4", CMS)
    shown, card = of_both(CMS, mine)
    assert [reason.code for reason in card.reasons] == ["flavor_limit", "busy_quota"]
    assert (card.available, card.waits, card.choosable) == (False, False, True)
    assert card.line == "Charged to Astro one would start now."
    assert (shown.waits, shown.can_start) == (False, True)
    assert unmet(shown, Choice(flavor="t4", group=CMS)) == (
        "The link asks for NVIDIA T4, which would not start for you now.",
    )


@pytest.mark.parametrize(
    ("group", "waiting", "said"),
    [
        (CMS, (), "You would wait, first in line of your group."),
        (CMS, (CMS,), "You would wait: 1 of your group ahead of you."),
        (
            CMS,
            (ASTRO,),
            "You would wait, first in line of your group. 1 earlier request of another group may"
            " come before you.",
        ),
        (
            ASTRO,
            (CMS, CMS, ASTRO),
            "You would wait: 1 of your group ahead of you. 2 earlier requests of other groups may"
            " come before you.",
        ),
        ("", (), "You would wait: first in line with CMS, first in line with Astro."),
        (
            "",
            (CMS,),
            "You would wait: 1 ahead of you with CMS, first in line with Astro. Earlier requests of"
            " other groups may come before you.",
        ),
    ],
)
def test_who_would_be_ahead_is_of_the_group_that_is_charged(
    group: str, waiting: tuple[str, ...], said: str
) -> None:
    assert of_both(group, HELD, *line(*waiting), free=0)[1].line == said


def test_the_live_numbers_have_each_group_that_differs() -> None:
    have = inventory({"t4": (1, 2), "rtx": (1, 1), "cpu": 4})
    sessions = [HELD, *line(CMS)]
    offered = offers(BOTH, identity(CMS, ASTRO), have, sessions, NOW)
    told = {one["flavor"]: one for one in offers_json(offered, BOTH)["offers"]}
    t4 = told["t4"]
    assert (t4["startable"], t4["ahead"], set(t4["charged"])) == (1, None, {CMS, ASTRO})
    cms = t4["charged"][CMS]
    assert (cms["startable"], cms["ahead"], cms["alternative"]) == (0, 1, "rtx")
    assert cms["waits"].startswith("You would wait: 1 of your group ahead of you.")
    assert [reason["code"] for reason in cms["reasons"]] == ["busy_quota"]
    # Only what is otherwise is said again.
    assert t4["charged"][ASTRO] == {"waits": ""}
    sides = {side["group"]: side for side in t4["groups"]}
    assert (sides[CMS]["ahead"], sides[CMS]["ahead_of_other_groups"]) == (1, 0)
    assert (sides[ASTRO]["ahead"], sides[ASTRO]["ahead_of_other_groups"]) == (None, None)
    alike = offers(BOTH, identity(CMS, ASTRO), have, [], NOW)
    assert offers_json(alike, BOTH)["offers"][0]["charged"] == {}
    # With one group there is nothing to choose.
    assert (told["rtx"]["charged"], told["cpu"]["charged"]) == ({}, {})


PYTHON_INSTEAD = "Python is chosen instead."


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (Choice(), ()),
        (Choice(flavor="t4", group=CMS, environment="torch", size="large"), ()),
        (
            Choice(flavor="cpu", environment="torch"),
            (
                "The link asks for PyTorch, which does not go with No accelerator. "
                f"{PYTHON_INSTEAD}",
            ),
        ),
        (
            Choice(flavor="t4", environment="<b>"),
            (f"The link asks for an environment that you are not offered. {PYTHON_INSTEAD}",),
        ),
        (
            Choice(flavor="t4", size="huge"),
            ("The link asks for a size that you are not offered. Small is chosen instead.",),
        ),
        (
            Choice(flavor="h100"),
            (
                "The link asks for an accelerator that you are not offered. "
                "NVIDIA T4 is chosen instead.",
            ),
        ),
        (
            Choice(flavor="t4", group=ASTRO),
            ("The link names a group that does not grant you NVIDIA T4.",),
        ),
        (
            Choice(flavor="rtx", environment="torch"),
            ("The link asks for NVIDIA RTX 5000, for which you would wait in line now.",),
        ),
    ],
)
def test_what_a_link_asks_for_in_vain_is_said(link: Choice, said: tuple[str, ...]) -> None:
    have = {"t4": (2, 2), "rtx": (0, 1), "cpu": 4}
    assert unmet(page(CMS, wishes=[link], have=have), link) == said


def test_tiles_say_what_they_go_with() -> None:
    fits = {tile.name: tile.fits for tile in page(CMS).environments}
    assert fits == {"python": "", "torch": "with NVIDIA T4, NVIDIA RTX 5000"}


def test_nobody_is_asked_whom_to_charge_where_there_is_no_choice() -> None:
    assert page(CMS).groups == ()


def test_who_is_in_two_granting_groups_is_asked_and_nothing_is_guessed() -> None:
    shown = page(CMS, ASTRO)
    assert {tile.name for tile in shown.groups} == {ASTRO, CMS}
    assert checked(shown.groups) == []


def test_the_last_charged_group_is_remembered() -> None:
    shown = page(CMS, ASTRO, wishes=[Choice(flavor="t4", group=CMS)])
    assert checked(shown.groups) == [CMS]


def test_folders_are_those_of_the_persons_groups() -> None:
    mounts = {(mount.mount, mount.read_only) for mount in page(CMS).mounts}
    assert mounts == {("/home/alice", False), ("/data/cms", True)}


def test_who_reached_the_session_limit_cannot_start_and_is_told() -> None:
    held = [live_session("cpu", "everyone", server_name=name) for name in ("a", "b")]
    shown = page(CMS, sessions=held)
    assert not shown.can_start
    assert not any(card.available for card in cards(shown).values())
    said = {r.code for r in shown.refusals} | {
        r.code for card in cards(shown).values() for r in card.reasons
    }
    assert "session_limit" in said


def test_simulated_devices_are_marked() -> None:
    of, person = catalog(), identity(CMS)
    have = inventory()
    for name, entry in list(have.flavors.items()):
        have.flavors[name] = type(entry)(entry.total, entry.free, simulated=name == "t4")
    shown = spawn_page(of, person, offers(of, person, have, [], NOW), [], NOW)
    assert shown.simulated
    assert [c.flavor for c in cards(shown).values() if c.simulated] == ["t4"]


def told(**entry: Any) -> Tile:
    of = catalog(environments={"python": {"title": "Python", "image": "r.example/x:1", **entry}})
    (tile,) = page(CMS, of=of).environments
    return tile


def test_an_environment_says_what_is_in_it() -> None:
    assert (
        told(contents=("Python 3.13", "JupyterLab 4.6")).contents == "Python 3.13, JupyterLab 4.6"
    )
    assert told().contents == ""


def test_news_are_news_for_thirty_days() -> None:
    day = NOW.date()
    news = {"message": "PyTorch 2.15."}
    expected = f"New since {day.day} {day:%B %Y}: PyTorch 2.15."
    assert told(news={"since": day, **news}).news == expected
    assert told(news={"since": day}).news == f"New since {day.day} {day:%B %Y}."
    assert told(news={"since": day - timedelta(days=29), **news}).news
    assert told(news={"since": day - timedelta(days=30), **news}).news == ""
    assert told(news={"since": day + timedelta(days=1), **news}).news == ""
    assert told().news == ""


def test_a_day_begins_where_the_site_is() -> None:
    night = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)
    news = {"news": {"since": date(2026, 11, 27)}}
    environments = {"python": {"title": "Python", "image": "r.example/x:1", **news}}
    shown = []
    for zone in ("Europe/Rome", "UTC"):
        of = catalog(site={"timezone": zone}, environments=environments)
        person = identity(CMS)
        offered = offers(of, person, inventory(None), (), NOW)
        (tile,) = spawn_page(of, person, offered, [], night).environments
        shown.append(bool(tile.news))
    assert shown == [True, False]
