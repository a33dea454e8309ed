from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from arcetri_accounting.contract.units import share_units, to_ms
from arcetri_accounting.contract.witness import CatalogSnapshot, FlavorTerms, GroupTerms
from arcetri_accounting.reports import quotas

FLAVORS = {
    "t4": FlavorTerms(title="T4", type="gpu", share=Fraction(1)),
    "slice": FlavorTerms(title="Slice", type="gpu", share=Fraction(1, 7)),
    "v70": FlavorTerms(title="V70", type="fpga", share=Fraction(1)),
    "cpu": FlavorTerms(title="CPU", type="cpu", share=Fraction(1)),
}


def catalog(minute: int, **held: int) -> CatalogSnapshot:
    return CatalogSnapshot(
        digest=str(minute),
        since=datetime.fromtimestamp(minute * 60, UTC),
        site="s",
        timezone="UTC",
        flavors=FLAVORS,
        groups={"/g": GroupTerms(quotas=held)},
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.dictionaries(st.sampled_from(list(FLAVORS)), st.integers(0, 9)),
        ),
        max_size=6,
    ),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_entitled_is_what_was_held_minute_by_minute(
    changes: list[tuple[int, dict[str, int]]], first: int, length: int
) -> None:
    ordered = sorted(changes, key=lambda one: one[0])
    catalogs = [catalog(minute, **held) for minute, held in ordered]
    found = {
        one.flavor: one
        for one in quotas.over(catalogs, "/g", first * 60_000, (first + length) * 60_000)
    }
    exact: dict[str, int] = {}
    for minute in range(first, first + length):
        held: dict[str, int] = {}
        for since, terms in ordered:
            if since <= minute:
                held = terms
        for flavor, count in held.items():
            units = count * share_units(FLAVORS[flavor].share) * 60_000
            exact[flavor] = exact.get(flavor, 0) + units
    exact.pop("cpu", None)
    assert {flavor: one.entitled_u for flavor, one in found.items() if one.entitled_u} == {
        flavor: units for flavor, units in exact.items() if units
    }


def test_a_quota_that_changed_says_so() -> None:
    catalogs = [catalog(0, t4=2), catalog(60, t4=4, v70=1)]
    found = quotas.over(catalogs, "/g", 0, 120 * 60_000)
    assert [(one.flavor, one.devices, one.changed) for one in found] == [
        ("t4", 4, True),
        ("v70", 1, True),
    ]
    assert found[0].entitled_u == 10_080 * 60_000 * (60 * 2 + 60 * 4)
    same = quotas.over(catalogs, "/g", to_ms(catalogs[1].since), 120 * 60_000)
    assert [one.changed for one in same] == [False, False]


def test_before_the_first_catalog_nothing_is_known_and_nothing_counted() -> None:
    [found] = quotas.over([catalog(60, t4=1)], "/g", 0, 120 * 60_000)
    assert found.entitled_u == 10_080 * 3_600_000
    assert found.known_from == 3_600_000


def test_a_group_without_quota_has_none() -> None:
    assert quotas.over([catalog(0, t4=1)], "/h", 0, 60_000) == []
    assert quotas.over([], "/g", 0, 60_000) == []
    assert quotas.over([catalog(0, t4=1)], "/g", 60_000, 60_000) == []
