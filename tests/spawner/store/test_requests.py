from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from arcetri_spawner.details import LIMIT
from arcetri_spawner.errors import Conflict, Denied
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store import Account, SessionRecord, Store, grants
from arcetri_spawner.store import store as store_module
from tests.support.builders import ASTRO, CMS, GIB, device, grant


def _grant(account: Account, **others: Any) -> Grant:
    return grant(account_id=account.id, username=account.name, **others)


def _record(of: Grant, **others: Any) -> SessionRecord:
    values: dict[str, Any] = {
        "devices": [{"uuid": "SIM-1"}],
        "pid": 4242,
        "pid_start_ticks": 2**40,
        "boot_id": str(uuid4()),
        "port": 40_001,
        "base_url": "/user/alice/",
        "state": {"socket": "/s", "n": [1, 2]},
        "started": datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=1))),
        "grant": grants.dump(of),
        **others,
    }
    return SessionRecord(
        id=of.request_id,
        username=of.username,
        account_id=of.account_id,
        server_name=of.server_name,
        group=of.group,
        flavor=of.flavor,
        **values,
    )


async def _refused(store: Store, of: Grant) -> str:
    with pytest.raises(Denied) as caught:
        await store.open_request(of)
    assert caught.value.remedy
    assert of.request_id not in {row.id for row in await store.live_requests()}
    return caught.value.code


async def test_a_request_is_kept_with_its_whole_grant(store: Store, alice: Account) -> None:
    asked = _grant(alice, memory=64 * GIB)
    await store.open_request(asked)
    (row,) = await store.live_requests()
    assert row.grant == asked
    assert (row.id, row.state, row.session) == (asked.request_id, "asked", None)
    assert row.asked.tzinfo is UTC


async def test_asking_twice_under_one_id_is_asking_once(store: Store, alice: Account) -> None:
    asked = _grant(alice, sessions_limit=1, requests_limit=1, user_limit=1)
    await store.open_request(asked)
    await store.open_request(asked)
    assert len(await store.live_requests()) == 1


async def test_the_session_limit_is_counted_for_each_person(
    store: Store, alice: Account, bob: Account
) -> None:
    await store.open_request(_grant(alice, server_name="", sessions_limit=1))
    again = _grant(alice, server_name="named", sessions_limit=1)
    assert await _refused(store, again) == "session_limit"
    await store.open_request(_grant(bob, sessions_limit=1))


async def test_what_waits_counts_as_asked_for_but_not_as_held(store: Store, alice: Account) -> None:
    first = _grant(alice, server_name="a", sessions_limit=1, requests_limit=2)
    await store.open_request(first)
    await store.mark(first.request_id, "waiting")
    assert [s.waiting for s in await store.live_sessions()] == [True]
    await store.open_request(_grant(alice, server_name="b", sessions_limit=1, requests_limit=2))
    third = _grant(alice, server_name="c", sessions_limit=9, requests_limit=2)
    assert await _refused(store, third) == "request_limit"


async def test_the_group_limit_of_a_flavour_is_counted(store: Store, alice: Account) -> None:
    await store.open_request(_grant(alice, server_name="a", user_limit=1))
    again = _grant(alice, server_name="b", user_limit=1)
    assert await _refused(store, again) == "flavor_limit"
    other_group = _grant(alice, server_name="b", group=ASTRO, user_limit=1)
    await store.open_request(other_group)


async def test_one_server_has_one_live_request(store: Store, alice: Account) -> None:
    first = _grant(alice)
    await store.open_request(first)
    assert await _refused(store, _grant(alice)) == "already_running"
    await store.mark(first.request_id, "ended")
    await store.open_request(_grant(alice))


async def test_an_unknown_account_opens_no_request(store: Store) -> None:
    with pytest.raises(Conflict) as caught:
        await store.open_request(grant(account_id="nobody"))
    assert caught.value.code == "account_unknown"


async def test_ended_is_final_and_keeps_its_words(store: Store, alice: Account) -> None:
    asked = _grant(alice, server_name="lab")
    await store.open_request(asked)
    assert await store.mark(asked.request_id, "running", reason="admin", message="Node repair.")
    assert await store.mark(asked.request_id, "ended")
    assert not await store.mark(asked.request_id, "running")
    assert not await store.mark(asked.request_id, "ended", reason="lost")
    assert not await store.mark(uuid4(), "running")
    assert await store.live_requests() == []
    ended = await store.last_ended(alice.id, "lab")
    assert ended is not None
    assert (ended.reason, ended.message) == ("admin", "Node repair.")
    assert ended.at.utcoffset() == timedelta(0)
    assert await store.last_ended(alice.id, "") is None


async def test_what_was_said_of_an_end_is_kept_with_it(store: Store, alice: Account) -> None:
    asked = _grant(alice, server_name="lab")
    await store.open_request(asked)
    await store.mark(asked.request_id, "running")
    said = f"OOMKilled\x00 token={'0f' * 16}" + "x" * 2 * LIMIT
    assert await store.mark(asked.request_id, "ended", reason="out_of_memory", details=said)

    ended = await store.last_ended(alice.id, "lab")
    standing = await store.standing(asked.request_id)
    assert ended is not None
    assert standing is not None
    assert ended.details.startswith("OOMKilled")
    assert "0f0f" not in ended.details
    assert len(ended.details.encode()) <= LIMIT
    assert standing.details == ended.details
    assert [end.details for _, end in await store.recent_ends(alice.id)] == [ended.details]


async def test_of_most_ends_nothing_was_said(store: Store, alice: Account) -> None:
    asked = _grant(alice)
    await store.open_request(asked)
    await store.mark(asked.request_id, "ended", reason="stopped")
    ended = await store.last_ended(alice.id, "")
    standing = await store.standing(asked.request_id)
    assert ended is not None
    assert standing is not None
    assert (ended.details, standing.details) == ("", "")


async def test_whether_a_start_went_by_itself_is_known_after_a_restart(
    store: Store, alice: Account, bob: Account
) -> None:
    for account, by_itself in ((alice, True), (bob, False)):
        asked = _grant(account)
        await store.open_request(asked)
        await store.begin(asked, by_itself=by_itself)
    found = {row.grant.username: row.by_itself for row in await store.live_requests()}
    assert found == {"alice": True, "bob": False}


async def test_last_ended_is_the_latest(url: str) -> None:
    moments = (datetime(2026, 11, 23, 10, tzinfo=UTC) + timedelta(hours=n) for n in range(99))
    store = Store.open(url, clock=lambda: next(moments))
    account = await store.account_for("i", "s", "alice")
    for reason in ("idle", "lifetime"):
        asked = _grant(account)
        await store.open_request(asked)
        await store.mark(asked.request_id, "ended", reason=reason)
    ended = await store.last_ended(account.id, "")
    store.close()
    assert ended is not None
    assert ended.reason == "lifetime"


async def test_recent_ends_are_of_all_servers_that_do_not_run_again(url: str) -> None:
    moments = (datetime(2026, 11, 23, 10, tzinfo=UTC) + timedelta(hours=n) for n in range(99))
    store = Store.open(url, clock=lambda: next(moments))
    account = await store.account_for("i", "s", "alice")
    other = await store.account_for("i", "t", "bob")
    names = ("", "a", "b")
    asked = {name: _grant(account, server_name=name, sessions_limit=3) for name in names}
    for one in (*asked.values(), _grant(other)):
        await store.open_request(one)

    async def ends() -> list[tuple[str, str]]:
        return [(name, one.reason) for name, one in await store.recent_ends(account.id)]

    assert await ends() == []
    await store.mark(asked["a"].request_id, "ended", reason="admin", message="Node repair.")
    await store.mark(asked[""].request_id, "ended", reason="idle")
    assert await ends() == [("", "idle"), ("a", "admin")]
    assert (await store.recent_ends(account.id))[1][1].message == "Node repair."

    again = _grant(account, sessions_limit=3)
    await store.open_request(again)
    assert await ends() == [("a", "admin")]
    # Asked for before the others ended, so its end takes nothing from them.
    await store.mark(asked["b"].request_id, "ended", reason="killed")
    assert await ends() == [("b", "killed"), ("a", "admin")]
    await store.mark(again.request_id, "ended", reason="stopped")
    assert await ends() == [("", "stopped"), ("b", "killed")]
    store.close()


async def test_a_state_that_does_not_exist_is_a_mistake(store: Store, alice: Account) -> None:
    asked = _grant(alice)
    await store.open_request(asked)
    with pytest.raises(ValueError, match="no such state"):
        await store.mark(asked.request_id, "finished")  # type: ignore[arg-type]  # the mistake


async def test_a_session_comes_back_as_saved_and_in_utc(store: Store, alice: Account) -> None:
    asked = _grant(alice, group=CMS)
    await store.open_request(asked)
    saved = _record(asked)
    await store.save_session(saved)
    found = await store.session(asked.request_id)
    assert found == saved
    assert found is not None
    assert found.started.utcoffset() == timedelta(0)
    (row,) = await store.live_requests()
    assert row.session == saved
    await store.save_session(replace(saved, pid=4343))
    again = await store.session(asked.request_id)
    assert again is not None
    assert again.pid == 4343
    assert await store.session(uuid4()) is None


async def test_a_session_needs_its_request(store: Store, alice: Account) -> None:
    with pytest.raises(Conflict):
        await store.save_session(_record(_grant(alice)))


async def test_live_sessions_are_read_once_for_all_until_something_is_written(
    store: Store, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = store._database.read, []

    def counted(work: Any) -> Any:
        asked.append(work)
        return read(work)

    monkeypatch.setattr(store._database, "read", counted)
    assert [await store.live_sessions() for _ in range(3)] == [[], [], []]
    assert len(asked) == 1
    made = _grant(alice)
    await store.open_request(made)
    assert [session.id for session in await store.live_sessions()] == [made.request_id]
    await store.mark(made.request_id, "ended", reason="left")
    assert await store.live_sessions() == []
    monkeypatch.setattr(store_module, "LIVE_KEPT", 0.0)
    before = len(asked)
    await store.live_sessions()
    assert len(asked) == before + 1


async def test_live_sessions_are_what_policy_counts(
    store: Store, alice: Account, bob: Account
) -> None:
    running, asked = _grant(alice, server_name="x"), _grant(bob, flavor="rtx", group=ASTRO)
    await store.open_request(running)
    await store.mark(running.request_id, "running")
    await store.save_session(_record(running))
    await store.open_request(asked)
    first, second = await store.live_sessions()
    assert (first.id, first.running, first.server_name) == (running.request_id, True, "x")
    assert first.started is not None
    assert (second.account_id, second.account_name, second.group) == (bob.id, "bob", ASTRO)
    assert (second.running, second.waiting, second.started) == (False, False, None)


async def test_the_last_choice_is_remembered(store: Store, alice: Account) -> None:
    first, second = _grant(alice), _grant(alice, server_name="second")
    assert await store.last_choice(alice.id) == {}
    await store.open_request(first)
    await store.open_request(second)
    assert await store.started(first.request_id, alice.id, {"flavor": "t4"})
    assert await store.started(second.request_id, alice.id, {"flavor": "cpu", "size": "small"})
    assert await store.last_choice(alice.id) == {"flavor": "cpu", "size": "small"}


async def test_a_start_that_has_ended_meanwhile_does_not_run(store: Store, alice: Account) -> None:
    grant = _grant(alice)
    await store.open_request(grant)
    await store.mark(grant.request_id, "ended", reason="stopped")
    assert not await store.started(grant.request_id, alice.id, {"flavor": "t4"})
    assert await store.live_requests() == []


async def test_leases_name_who_holds_what(store: Store, alice: Account) -> None:
    asked = _grant(alice)
    await store.open_request(asked)
    taken = await store.lease(asked.request_id, "t4", [device(1), device(2)], quota=None)
    assert taken == device(1)
    assert await store.leases() == {device(1).uuid: asked.request_id}
    again = await store.lease(asked.request_id, "t4", [device(2)], quota=None)
    assert again == device(1)
    await store.free(asked.request_id)
    await store.free(asked.request_id)
    assert await store.leases() == {}


async def test_a_lease_skips_what_is_taken(store: Store, alice: Account, bob: Account) -> None:
    one, two = _grant(alice), _grant(bob)
    await store.open_request(one)
    await store.open_request(two)
    farm = [device(1), device(2)]
    assert await store.lease(one.request_id, "t4", farm, quota=None) == device(1)
    assert await store.lease(two.request_id, "t4", farm[:1], quota=None) is None
    assert await store.lease(two.request_id, "t4", farm, quota=None) == device(2)
    assert await store.lease(two.request_id, "t4", [], quota=None) == device(2)


async def test_a_lease_keeps_within_the_groups_quota(
    store: Store, alice: Account, bob: Account
) -> None:
    one, two, other = _grant(alice), _grant(bob), _grant(alice, server_name="o", group=ASTRO)
    farm = [device(n) for n in range(5)]
    for asked in (one, two, other):
        await store.open_request(asked)
    assert await store.lease(one.request_id, "t4", farm, quota=(CMS, 1))
    assert await store.lease(two.request_id, "t4", farm, quota=(CMS, 1)) is None
    assert await store.lease(other.request_id, "t4", farm, quota=(ASTRO, 1))
    assert await store.lease(two.request_id, "t4", farm, quota=(CMS, 2))


async def test_an_ended_request_gets_no_device(store: Store, alice: Account) -> None:
    asked = _grant(alice)
    await store.open_request(asked)
    await store.mark(asked.request_id, "ended")
    for request_id in (asked.request_id, uuid4()):
        with pytest.raises(Conflict) as caught:
            await store.lease(request_id, "t4", [device(1)], quota=None)
        assert caught.value.code == "request_ended"
    assert await store.leases() == {}


async def test_everything_survives_closing(url: str) -> None:
    store = Store.open(url)
    account = await store.account_for("i", "s", "alice")
    asked = _grant(account)
    await store.open_request(asked)
    await store.lease(asked.request_id, "t4", [device(7)], quota=None)
    store.close()
    again = Store.open(url)
    assert [row.grant for row in await again.live_requests()] == [asked]
    assert await again.leases() == {device(7).uuid: asked.request_id}
    again.close()
