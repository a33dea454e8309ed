from __future__ import annotations

import pytest

from arcetri_spawner.catalog import Catalog
from arcetri_spawner.catalog.diff import diff, render
from tests.support.catalogs import DEMO, checked, edited, lines


def catalog(text: str) -> Catalog:
    loaded = checked(text).catalog
    assert loaded is not None, lines(text)
    return loaded.catalog


def changes(*edits: tuple[str, str]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    found = diff(catalog(DEMO), catalog(edited(*edits)))
    return {one.who: (one.gains, one.loses) for one in found if one.who != "platform"}


def test_nothing_changes() -> None:
    same = catalog(DEMO)

    assert diff(same, same) == ()
    assert render(()) == "Nobody gains or loses anything.\n"


@pytest.mark.parametrize(
    ("old", "new", "who", "gains", "loses"),
    [
        ("t4: {quota: 2,", "t4: {quota: 3,", "/arcetri/cms", ("quota of t4: 2 -> 3",), ()),
        ("t4: {quota: 2,", "t4: {quota: 1,", "/arcetri/cms", (), ("quota of t4: 2 -> 1",)),
        ("t4: {quota: 2,", "t4: {", "/arcetri/cms", ("quota of t4: 2 -> none",), ()),
        ("      v70: {quota: 1}\n", "", "/arcetri/virgo", (), ("flavour v70 (quota 1)",)),
        ("[virgo]", "[virgo, cms]", "/arcetri/virgo", ("volume cms",), ()),
        ("[t4, a100-1g]", "[t4]", "/arcetri/students", (), ("environment ml on a100-1g",)),
        ("sessions: 2", "sessions: 3", "everyone", ("sessions at the same time: 2 -> 3",), ()),
        ("lifetime: 12h", "lifetime: 6h", "everyone", (), ("time a session may run: 12h -> 6h",)),
        (
            "leads: [/arcetri/cms/leads]",
            "leads: []",
            "/arcetri/cms/leads",
            (),
            ("reading the usage of /arcetri/cms",),
        ),
        (
            "admins: [/arcetri/admins]",
            "admins: [/arcetri/admins]\n  members: [/guests]",
            "/guests",
            ("log-in",),
            (),
        ),
    ],
)
def test_who_gains_and_loses_what(
    old: str, new: str, who: str, gains: tuple[str, ...], loses: tuple[str, ...]
) -> None:
    assert changes((old, new))[who] == (gains, loses)


def test_going_back_swaps_gains_and_losses() -> None:
    old, new = (
        catalog(DEMO),
        catalog(edited(("t4: {quota: 2,", "t4: {quota: 3,"), ("[virgo]", "[]"))),
    )

    there = {one.who: (len(one.gains), len(one.loses)) for one in diff(old, new)}
    back = {one.who: (len(one.loses), len(one.gains)) for one in diff(new, old)}
    assert there == back


def test_what_a_flavour_is_belongs_to_no_group() -> None:
    found = diff(catalog(DEMO), catalog(edited(("memory: 5Gi", "memory: 10Gi"))))

    assert render(found) == "platform:\n  flavour a100-1g: memory: 5Gi -> 10Gi\n"


def test_what_one_machine_has_belongs_to_no_group() -> None:
    edits = ("    t4: 2\n", ""), ("cpu_sessions: 16", "cpu_sessions: 8")

    assert render(diff(catalog(DEMO), catalog(edited(*edits)))) == (
        "platform:\n"
        "  simulated devices of t4: 2 -> 0\n"
        "  sessions without accelerator on one machine: 16 -> 8\n"
    )


MEDIUM = "  medium: {title: Medium, cpu: 2, memory: 4Gi}\n"


def test_everyone_loses_a_size_that_goes() -> None:
    found = changes((MEDIUM, ""))

    assert found["everyone"] == ((), ("size medium on cpu",))
    assert found["/arcetri/virgo"] == ((), ("size medium on t4", "size medium on v70"))


def test_everyone_gains_an_environment_that_opens_to_what_they_have() -> None:
    gains, loses = changes(("flavors: [t4, a100-1g]", "flavors: [t4, a100-1g, cpu]"))["everyone"]

    assert (gains, loses) == (("environment ml on cpu",), ())


def test_a_share_is_told_to_those_who_pay_it() -> None:
    found = diff(catalog(DEMO), catalog(edited(("share: 1/7", "share: 1/8"))))

    told = {one.who: one.changes for one in found if one.who != "platform"}
    costs = ("an hour of a100-1g costs 1/8 of a device, not 1/7",)
    assert told == {"/arcetri/cms": costs, "/arcetri/students": costs}


MAINTENANCE = (
    "    resource: amd.com/v70\n",
    "    resource: amd.com/v70\n    maintenance: {until: 2030-12-01}\n",
)


def test_maintenance_is_told_to_those_who_cannot_start() -> None:
    stopped = changes(MAINTENANCE)
    assert stopped == {"/arcetri/virgo": ((), ("starting v70: maintenance until 2030-12-01",))}

    old = catalog(edited(MAINTENANCE))
    over = {one.who: one.gains for one in diff(old, catalog(DEMO)) if one.who != "platform"}
    assert over == {"/arcetri/virgo": ("starting v70: its maintenance is over",)}

    later = catalog(edited((MAINTENANCE[0], MAINTENANCE[1].replace("2030", "2031"))))
    moved = {one.who: one.changes for one in diff(old, later) if one.who != "platform"}
    assert moved == {"/arcetri/virgo": ("maintenance of v70 is now until 2031-12-01",)}


def test_maintenance_of_what_everyone_has_is_told_to_everyone() -> None:
    edit = ("    title: No accelerator\n", "    title: No accelerator\n    maintenance: {}\n")

    assert changes(edit)["everyone"][1] == (
        "starting cpu: maintenance until it is taken out of the catalog",
    )
