from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.errors import StoreError
from arcetri_spawner.groups import EVERYONE
from arcetri_spawner.policy.model import MountedVolume
from arcetri_spawner.store import grants
from tests.support.builders import ASTRO, CMS, grant


@given(
    share=st.fractions(min_value=Fraction(1, 10_080), max_value=1, max_denominator=10_080),
    idle=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)),
    decided=st.datetimes(timezones=st.just(timezone(timedelta(hours=2)))),
    group=st.sampled_from([CMS, EVERYONE]),
    limit=st.none() | st.integers(1, 100),
    title=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_grant_comes_back_exactly(
    share: Fraction,
    idle: timedelta,
    decided: datetime,
    group: str,
    limit: int | None,
    title: str,
) -> None:
    before = grant(
        group=group,
        share=share,
        idle=idle,
        decided_at=decided,
        user_limit=limit,
        groups=(CMS, ASTRO),
        flavor_title=title,
        volumes=(MountedVolume("home", title, "/home/a", "shared", "home/a", False, 5),),
    )
    text = json.dumps(grants.dump(before))
    assert grants.load(json.loads(text)) == before


def test_fields_of_a_later_version_are_left_out_and_new_ones_take_their_defaults() -> None:
    before = grant()
    dumped = grants.dump(before)
    del dumped["flavor_title"]
    assert grants.load({**dumped, "new_field": 1}) == before


def test_what_is_no_grant_is_a_store_error() -> None:
    with pytest.raises(StoreError) as caught:
        grants.load({"request_id": "no"})
    assert caught.value.code == "grant_unreadable"
