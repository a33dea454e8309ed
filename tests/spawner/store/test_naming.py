from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.policy.names import is_account_name
from arcetri_spawner.store.naming import account_slug, free_name

hostile = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="aAbB01-._/ \x00é\u202e🙂", max_size=40),
    st.from_regex(r"[a-z]{1,8}-[0-9a-f]{10}", fullmatch=True),
    st.sampled_from(
        ["..", "-rf", "../../etc", "a" * 300, "", "Alice", "alice ", "ALICE", "\ud800"]
    ),
)


@given(hostile)
def test_every_slug_is_safe(preferred: str) -> None:
    assert is_account_name(account_slug(preferred))


@given(hostile, hostile)
def test_no_two_preferred_names_share_a_slug(one: str, other: str) -> None:
    assert one == other or account_slug(one) != account_slug(other)


@given(st.from_regex(r"[a-z0-9][a-z0-9._]{0,31}", fullmatch=True))
def test_a_safe_name_stays(name: str) -> None:
    assert account_slug(name) == name


@given(hostile, st.integers(min_value=1, max_value=30))
def test_suffixed_names_are_safe_and_new(preferred: str, people: int) -> None:
    taken: set[str] = set()
    for _ in range(people):
        name = free_name(account_slug(preferred), taken.__contains__)
        assert is_account_name(name)
        assert name not in taken
        taken.add(name)
