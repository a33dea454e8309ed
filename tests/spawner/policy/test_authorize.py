from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.errors import Denied
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import authorize, parse_options, waiting_reason
from arcetri_spawner.policy.model import (
    FlavorInventory,
    Grant,
    Identity,
    Inventory,
    LiveSession,
    Reason,
    Standing,
)
from tests.support.builders import (
    ASTRO,
    CMS,
    GIB,
    NOW,
    catalog,
    identity,
    inventory,
    live_session,
    loaded,
    section,
)

_ID = UUID(int=7)


def _decide(
    who: Identity,
    *,
    of: Catalog | None = None,
    have: Inventory | None = None,
    sessions: tuple[LiveSession, ...] = (),
    now: datetime = NOW,
    server_name: str = "",
    **options: str,
) -> Grant:
    return authorize(
        loaded(of, digest="abc"),
        who,
        parse_options(options),
        have or inventory(),
        sessions,
        now,
        request_id=_ID,
        server_name=server_name,
    )


def _denied(who: Identity, **others: Any) -> Denied:
    with pytest.raises(Denied) as caught:
        _decide(who, **others)
    return caught.value


def test_a_grant_freezes_what_the_catalog_says() -> None:
    who = identity("lab/cms", "/lab/astro", "/elsewhere")
    granted = _decide(who, flavor="t4", group="/lab/cms", environment="torch", size="large")
    assert (granted.request_id, granted.account_id, granted.username) == (
        _ID,
        "id-of-alice",
        "alice",
    )
    assert (granted.group, granted.flavor, granted.flavor_title) == (CMS, "t4", "NVIDIA T4")
    assert (granted.quota, granted.user_limit) == (2, None)
    assert (granted.cpu, granted.memory, granted.shm) == (8.0, 32 * GIB, None)
    assert (granted.image, granted.interpreter) == ("registry.example/torch:1", "default")
    assert (granted.catalog_digest, granted.decided_at) == ("abc", NOW)
    assert granted.groups == (CMS, ASTRO)
    assert granted.lifetime == timedelta(days=3)
    assert (granted.sessions_limit, granted.requests_limit) == (2, 3)


def test_what_is_not_chosen_is_the_first_that_fits() -> None:
    granted = _decide(identity(CMS), flavor="t4")
    assert (granted.group, granted.environment, granted.size) == (CMS, "python", "small")


def test_a_flavour_is_never_guessed() -> None:
    error = _denied(identity(CMS))
    assert error.code == "flavor_required"
    assert "t4, rtx or cpu" in error.remedy


def test_a_flavour_of_others_cannot_be_told_from_none() -> None:
    of = catalog(flavors=section("flavors", secret={"title": "Secret prototype"}))
    errors = [_denied(identity(CMS), of=of, flavor=name) for name in ("secret", "absent")]
    codes, messages = zip(*((e.code, str(e)) for e in errors), strict=True)
    assert set(codes) == {"flavor_not_granted"}
    assert messages[0].replace("secret", "absent") == messages[1]
    assert "prototype" not in messages[0]


def test_a_group_of_others_cannot_be_told_from_none() -> None:
    errors = [
        _denied(identity(CMS), flavor="t4", group=group) for group in ("/lab/astro", "/lab/xxxxx")
    ]
    assert {error.code for error in errors} == {"group_not_yours"}
    assert str(errors[0]).replace("/lab/astro", "/lab/xxxxx") == str(errors[1])


def test_several_grantors_need_a_choice() -> None:
    who = identity(CMS, ASTRO)
    error = _denied(who, flavor="t4")
    assert error.code == "group_required"
    assert "/lab/cms or /lab/astro" in error.remedy
    assert _decide(who, flavor="t4", group="/lab/astro").group == ASTRO
    assert _decide(who, flavor="rtx").group == CMS


def test_everyone_is_a_grantor_like_any_other() -> None:
    of = catalog(everyone={"flavors": ("cpu", "t4")})
    assert _decide(identity("/lab/admins"), of=of, flavor="t4").group == EVERYONE
    assert _denied(identity(CMS), of=of, flavor="t4").code == "group_required"
    granted = _decide(identity(CMS), of=of, flavor="t4", group="everyone")
    assert (granted.group, granted.quota) == (EVERYONE, None)
    assert _denied(identity(CMS), flavor="rtx", group="everyone").code == "group_does_not_grant"


def test_a_group_that_is_mine_but_does_not_grant_is_said() -> None:
    error = _denied(identity(CMS, ASTRO), flavor="rtx", group="/lab/astro")
    assert error.code == "group_does_not_grant"
    assert "/lab/cms" in error.remedy
    assert "profiles.yaml" in error.remedy


@pytest.mark.parametrize("group", ["/lab", "/lab/cms/sub", "/lab/cmsx", "/LAB/CMS", "/cms"])
def test_no_group_grants_for_its_relatives(group: str) -> None:
    error = _denied(identity(group), flavor="t4")
    assert error.code == "not_allowed"
    assert group in error.message


def test_a_member_or_admin_group_lets_in_but_grants_only_everyones() -> None:
    of = catalog(site={"members": ("/lab/guests",), "admins": ("/lab/admins",)})
    for group in ("/lab/guests", "/lab/admins"):
        assert _decide(identity(group), of=of, flavor="cpu").group == EVERYONE
        assert _denied(identity(group), of=of, flavor="t4").code == "flavor_not_granted"
    assert _denied(identity("/lab/admins"), flavor="t4").code == "flavor_not_granted"


def test_no_groups_is_not_allowed_even_for_everyones_flavours() -> None:
    assert _denied(identity(), flavor="cpu").code == "not_allowed"


@pytest.mark.parametrize(
    ("standing", "code"),
    [
        (Standing.NEVER_LOGGED_IN, "never_logged_in"),
        (Standing.NOT_ADMITTED, "not_admitted"),
        (Standing.UNKNOWN, "identity_unknown"),
    ],
)
def test_standing_comes_before_everything(standing: Standing, code: str) -> None:
    assert _denied(identity(CMS, standing=standing), flavor="t4").code == code
    assert _denied(identity(standing=standing)).code == code


@pytest.mark.parametrize("name", ["../root", "a/b", "-rf", "", "{username}", "Alice"])
def test_a_name_that_could_be_a_path_starts_nothing(name: str) -> None:
    assert _denied(identity(CMS, name=name), flavor="cpu").code == "account_name_unsafe"


def test_the_same_server_twice() -> None:
    mine = live_session(server_name="lab")
    who = identity(CMS)
    assert _denied(who, sessions=(mine,), server_name="lab", flavor="t4").code == "already_running"
    assert _decide(who, sessions=(mine,), server_name="", flavor="t4")


def test_a_named_server_evades_no_limit() -> None:
    held = tuple(live_session("cpu", EVERYONE, server_name=f"s{n}") for n in range(2))
    error = _denied(identity(CMS), sessions=held, server_name="third", flavor="cpu")
    assert error.code == "session_limit"
    assert '"s0"' in error.remedy
    assert _decide(identity(CMS, name="bob"), sessions=held, flavor="cpu")


def test_what_waits_counts_as_a_request_only() -> None:
    who = identity(CMS)
    waiting = tuple(
        live_session(server_name=f"s{n}", waiting=True, running=False) for n in range(3)
    )
    assert _decide(who, sessions=waiting[:2], flavor="t4")
    assert _denied(who, sessions=waiting, flavor="t4").code == "request_limit"


def test_the_groups_limit_of_a_flavour() -> None:
    held = live_session("rtx", CMS)
    error = _denied(identity(CMS), sessions=(held,), flavor="rtx")
    assert error.code == "flavor_limit"
    assert "groups./lab/cms.flavors.rtx.limit" in error.remedy


@pytest.mark.parametrize(
    ("until", "now", "refused"),
    [
        (date(2026, 12, 1), datetime(2026, 11, 30, 22, 59, tzinfo=UTC), True),
        (date(2026, 12, 1), datetime(2026, 11, 30, 23, 0, tzinfo=UTC), False),
        (datetime(2026, 12, 1, 8, tzinfo=UTC), datetime(2026, 12, 1, 7, 59, tzinfo=UTC), True),
        (datetime(2026, 12, 1, 8, tzinfo=UTC), datetime(2026, 12, 1, 8, 0, tzinfo=UTC), False),
        (None, datetime(2036, 1, 1, tzinfo=UTC), True),
    ],
)
def test_maintenance_ends_in_the_sites_time_zone(
    until: date | None, now: datetime, refused: bool
) -> None:
    base = section("flavors")
    maintained = {**base["t4"], "maintenance": {"until": until, "message": "new firmware"}}
    of = catalog(flavors={**base, "t4": maintained})
    if refused:
        error = _denied(identity(CMS), of=of, now=now, flavor="t4")
        assert error.code == "maintenance"
        assert "NVIDIA RTX 5000" in error.remedy
    else:
        assert _decide(identity(CMS), of=of, now=now, flavor="t4")


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ({"environment": "absent"}, "environment_unknown"),
        ({"environment": "torch"}, "environment_not_for_flavor"),
        ({"size": "absent"}, "size_unknown"),
        ({"size": "large"}, "size_not_for_flavor"),
    ],
)
def test_what_does_not_fit_the_flavour(chosen: dict[str, Any], code: str) -> None:
    error = _denied(identity(CMS), flavor="cpu", **chosen)
    assert error.code == code
    assert "small" in error.remedy or "python" in error.remedy


def test_an_environment_that_is_not_installed_here() -> None:
    have = inventory(environments=["torch"])
    who = identity(CMS)
    assert _decide(who, have=have, flavor="t4").environment == "torch"
    error = _denied(who, have=have, flavor="t4", environment="python")
    assert error.code == "environment_unavailable"
    assert _denied(who, have=have, flavor="cpu").code == "no_environment"


def _why(who: Identity, have: Inventory, flavor: str) -> Reason:
    reason = waiting_reason(catalog(), _decide(who, have=have, flavor=flavor), have, ())
    assert reason is not None
    return reason


def _waits(who: Identity, have: Inventory, *sessions: LiveSession, flavor: str) -> str:
    granted = _decide(who, have=have, sessions=sessions, flavor=flavor)
    reason = waiting_reason(catalog(), granted, have, sessions)
    return reason.code if reason else ""


def test_capacity_and_quota_make_one_wait() -> None:
    who = identity(CMS)
    busy = tuple(live_session("t4", CMS, name=f"user{n}") for n in range(2))
    assert _waits(who, inventory(), flavor="t4") == ""
    assert _waits(who, inventory(), *busy[:1], flavor="t4") == ""
    assert _waits(who, inventory(), *busy, flavor="t4") == "busy_quota"
    assert _waits(who, inventory({"t4": (0, 2)}), flavor="t4") == "busy_capacity"
    cramped = replace(
        inventory({"t4": 2}), flavors={"t4": FlavorInventory(2, 2, rooms={"small": 0})}
    )
    assert _waits(who, cramped, flavor="t4") == "busy_room"
    assert _waits(who, inventory({"t4": 0}), flavor="t4") == "capacity_none"
    assert _waits(who, inventory({}), flavor="t4") == "capacity_none"


def test_on_a_cluster_what_is_missing_is_a_node() -> None:
    who, none = identity(CMS), {"t4": 0, "cpu": 0}
    here = _why(who, inventory(none), "t4")
    assert here.sentence == "There is no NVIDIA T4 here now."
    nodes = replace(inventory(none), nodes=True)
    away = _why(who, nodes, "t4")
    assert away.sentence == "No node that has NVIDIA T4 can start a session now."
    assert "not cordoned, and labelled as flavors.t4.nodes" in away.remedy
    assert "local.simulate" not in away.remedy
    # What is kept for devices is given back when they are taken: one may wait for it.
    full = _why(who, nodes, "cpu")
    assert (full.code, full.refuses, full.endless) == ("busy_room", False, False)
    assert full.sentence.startswith("No node has room for No accelerator now: ")
    assert full.own == "Ask for it all the same, and wait in line."
    # No session's end brings back what is cordoned, not ready or not labelled.
    for flavors in ({"cpu": FlavorInventory(0, 0, nowhere=True)}, {}):
        gone = _why(who, replace(nodes, flavors=flavors), "cpu")
        assert (gone.code, gone.refuses, gone.endless) == ("capacity_none", True, True)
        assert gone.sentence == 'No node can start a session with "No accelerator" now.'
        assert "not cordoned, and labelled as flavors.cpu.nodes" in gone.remedy
    assert _waits(who, inventory(stale=True), flavor="t4") == "capacity_unknown"


def test_other_groups_and_flavours_use_up_no_quota() -> None:
    others = (
        live_session("t4", ASTRO, name="bob"),
        live_session("t4", GroupPath("/lab/cms/sub"), name="bob"),
        live_session("rtx", CMS, name="bob"),
        live_session("t4", CMS, name="bob", waiting=True),
        live_session("t4", CMS, name="carol"),
    )
    assert _waits(identity(CMS), inventory(), *others, flavor="t4") == ""


def test_the_quota_is_the_grants_own() -> None:
    """A catalog edited while one waits neither widens nor narrows what was granted."""
    granted = _decide(identity(CMS), flavor="t4")
    edited = catalog(groups={}, flavors=section("flavors", t4=None))
    busy = tuple(live_session("t4", CMS, name=f"user{n}") for n in range(2))
    reason = waiting_reason(edited, granted, inventory(), busy)
    assert reason is not None
    assert reason.code == "busy_quota"
    assert waiting_reason(edited, granted, inventory(), busy[:1]) is None


def test_the_order_of_decisions_is_stable() -> None:
    """Several things are wrong at once; the person is told the first, always the same one."""
    held = tuple(live_session(server_name=name) for name in ("", "b", "c"))
    error = _denied(identity(CMS), sessions=held, server_name="", flavor="absent")
    assert error.code == "already_running"
    assert _denied(identity(CMS), flavor="absent", group="/no", size="no").code == (
        "flavor_not_granted"
    )


def test_volumes_are_everyones_then_the_charged_groups_then_the_others() -> None:
    who = identity(CMS, ASTRO)
    by_astro = _decide(who, flavor="t4", group="/lab/astro").volumes
    by_cms = _decide(who, flavor="t4", group="/lab/cms").volumes
    assert [volume.name for volume in by_astro] == ["home", "astro-data", "cms-data"]
    assert [volume.name for volume in by_cms] == ["home", "cms-data", "astro-data"]
    home, cms, astro = by_cms
    assert (home.mount, home.path, home.read_only) == ("/home/alice", "home/alice", False)
    assert cms.read_only
    assert astro.claim == "shared"


def test_two_volumes_are_never_at_one_place() -> None:
    at_one = section("volumes", **{"astro-data": {"mount": "/data/cms", "claim": "other"}})
    of = catalog(volumes=at_one)
    granted = _decide(identity(CMS, ASTRO), of=of, flavor="t4", group="/lab/astro")
    assert [volume.name for volume in granted.volumes] == ["home", "astro-data"]
