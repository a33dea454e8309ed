from __future__ import annotations

import pytest

from arcetri_spawner.errors import Conflict, StoreError
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.store import Account, PosixIds, Store
from tests.support.builders import ASTRO, CMS

ISSUER = "https://iam.example/"
USERS = range(200_000, 300_000)
GROUPS = range(300_000, 310_000)


async def test_an_account_is_made_once(store: Store) -> None:
    first = await store.account_for(ISSUER, "s1", "alice", "Alice")
    again = await store.account_for(ISSUER, "s1", "alice", "Alice")
    assert first.is_new
    assert not again.is_new
    assert (again.id, again.name) == (first.id, first.name) == (first.id, "alice")
    assert first.id != "s1"


async def test_a_changed_label_changes_no_name(store: Store) -> None:
    before = await store.account_for(ISSUER, "s1", "alice", "Alice Rossi")
    after = await store.account_for(ISSUER, "s1", "alice.bianchi", "Alice Bianchi")
    assert after.name == before.name == "alice"
    assert (after.label, after.display_name) == ("alice.bianchi", "Alice Bianchi")
    assert await store.account(before.id) == after


async def test_who_takes_over_a_name_gets_another_and_is_flagged(store: Store) -> None:
    first = await store.account_for(ISSUER, "s1", "alice")
    await store.account_for(ISSUER, "s1", "renamed")
    second = await store.account_for(ISSUER, "s2", "alice")
    third = await store.account_for("https://other.example/", "s1", "alice")
    assert [first.name, second.name, third.name] == ["alice", "alice-2", "alice-3"]
    assert [first.suffixed, second.suffixed, third.suffixed] == [False, True, True]
    assert (await store.account_for(ISSUER, "s2", "alice")).suffixed


async def test_a_reserved_name_counts_as_taken(store: Store) -> None:
    account = await store.account_for(ISSUER, "s1", "root")
    assert account.name == "root-2"
    assert account.suffixed


async def test_accounts_are_found_by_id_and_by_name(store: Store, alice: Account) -> None:
    found = await store.account_by_name("alice")
    assert found is not None
    assert found.id == alice.id
    assert await store.account_by_name("nobody-has-it") is None
    assert await store.account("no-such-id") is None


async def _ids(
    store: Store,
    account: Account,
    *groups: GroupPath,
    users: range = USERS,
    groups_range: range = GROUPS,
    uid: int | None = None,
    gids: dict[GroupPath, int] | None = None,
) -> PosixIds:
    return await store.posix_ids(
        account.id,
        account.name,
        groups,
        users=users,
        groups_range=groups_range,
        uid=uid,
        gids=gids,
    )


async def test_numeric_ids_are_allocated_once_and_shared_by_group(
    store: Store, alice: Account, bob: Account
) -> None:
    a = await _ids(store, alice, CMS, ASTRO)
    b = await _ids(store, bob, CMS)
    assert a.uid in USERS
    assert b.uid in USERS
    assert a.uid != b.uid
    assert set(a.gids) == {CMS, ASTRO}
    assert b.gids[CMS] == a.gids[CMS] != a.gids[ASTRO]
    assert {a.gid, b.gid}.isdisjoint(a.gids.values())
    assert a.gid != b.gid
    assert await _ids(store, alice, CMS, ASTRO) == a


async def test_claimed_ids_are_used_and_then_stay(store: Store, alice: Account) -> None:
    first = await _ids(store, alice, CMS, uid=5001, gids={CMS: 6001})
    assert (first.uid, first.gids) == (5001, {CMS: 6001})
    later = await _ids(store, alice, CMS, uid=5002, gids={CMS: 6002})
    assert later == first


async def test_a_claimed_uid_does_not_make_a_group_of_that_number_private(
    store: Store, alice: Account, bob: Account
) -> None:
    """A user 5001 and a group 5001 are two things; alice must not be in bob's group by it."""
    a = await _ids(store, alice, uid=5001)
    b = await _ids(store, bob, CMS, gids={CMS: 5001})
    assert b.gids[CMS] == 5001
    assert a.gid != 5001


async def test_a_claim_of_anothers_number_is_refused(
    store: Store, alice: Account, bob: Account
) -> None:
    await _ids(store, alice, uid=5001)
    with pytest.raises(Conflict) as caught:
        await _ids(store, bob, uid=5001)
    assert caught.value.code == "posix_id_taken"
    with pytest.raises(Conflict):
        await _ids(store, bob, CMS, ASTRO, gids={CMS: 6001, ASTRO: 6001})
    assert not [n for n in await store.posix_numbers() if n.name in ("bob", CMS, ASTRO)]


@pytest.mark.parametrize("number", [0, 1, 33, 999, 65534, -5, 2**31, 2**40])
async def test_a_claim_of_a_system_id_is_refused(store: Store, alice: Account, number: int) -> None:
    with pytest.raises(Conflict) as caught:
        await _ids(store, alice, uid=number)
    assert caught.value.code == "posix_id_refused"
    assert "alice" in caught.value.remedy


async def test_a_full_range_says_which_field_to_widen(
    store: Store, alice: Account, bob: Account
) -> None:
    await _ids(store, alice, CMS, users=range(200_000, 200_001))
    with pytest.raises(StoreError) as caught:
        await _ids(store, bob, users=range(200_000, 200_001))
    assert caught.value.code == "posix_ids_exhausted"
    assert "ids.users" in caught.value.remedy
    widened = await _ids(store, bob, users=range(199_999, 200_001))
    assert widened.uid == 199_999


async def test_all_numbers_can_be_exported(store: Store, alice: Account) -> None:
    ids = await _ids(store, alice, CMS, gids={CMS: 6001})
    exported = {(n.kind, n.name, n.number, n.claimed) for n in await store.posix_numbers()}
    assert exported == {
        ("user", "alice", ids.uid, False),
        ("group", "alice", ids.gid, False),
        ("group", CMS, 6001, True),
    }
