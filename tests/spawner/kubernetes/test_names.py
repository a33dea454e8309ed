"""Names in Kubernetes: valid and injective, whatever people and groups are called."""

from __future__ import annotations

import re
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes import names

DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=400),
    st.from_regex(r"[a-z0-9A-Z/_.-]{1,80}", fullmatch=True),
    st.from_regex(r"[a-z]{0,8}(--)?[a-z2-7]{32}", fullmatch=True),
)
ALIKE = [
    "/a/b", "/a-b", "/a_b", "a/b", "a-b", "/A/b", "/a/B", "/a/b/", "//a/b", "/a b", "a--b", "-a-b",
    "a.b", "A.B", "", "-", "/", "é", "e", "É", "e\u0301", "ß", "ss", "x" * 63, "x" * 64, "x" * 300,
    "x" * 299 + "y", "/lab/" + "x" * 290, "/lab-" + "x" * 290, "\ud800", "\udfff", "😀", "😁",
]  # fmt: skip


@given(TEXTS)
@example("x" * 300)
@example("")
def test_every_text_makes_a_valid_name(text: str) -> None:
    for name in (names.dns_label(text), names.dns_label(text, "arcetri-claim-")):
        assert DNS_1123.fullmatch(name)
        assert len(name) <= 63
    value = names.label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    assert len(value) <= 63


@given(st.lists(TEXTS, min_size=2, max_size=4, unique=True))
def test_two_texts_never_make_one_name(texts: list[str]) -> None:
    # Whoever sees a name can ask to be called by it.
    texts += [names.dns_label(text) for text in texts] + [names.label_value(text) for text in texts]
    unlike = set(texts)
    assert len({names.dns_label(text) for text in unlike}) == len(unlike)
    assert len({names.label_value(text) for text in unlike}) == len(unlike)
    assert len({names.dns_label(text, "claim-") for text in unlike}) == len(unlike)


@pytest.mark.parametrize("slug", [names.dns_label, names.label_value])
def test_names_that_look_alike_stay_apart(slug: object) -> None:
    assert callable(slug)
    for one, other in combinations(ALIKE, 2):
        assert slug(one) != slug(other), (one, other)


def test_a_fitting_name_is_left_alone_and_another_stays_readable() -> None:
    assert names.dns_label("a100-1g") == "a100-1g"
    assert names.label_value("Tesla_T4.2") == "Tesla_T4.2"
    assert names.label_value("") == ""
    assert re.fullmatch(r"lab-cms--[a-z2-7]{32}", names.label_value("/lab/cms"))


def test_a_prefix_that_leaves_no_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot begin a name"):
        names.dns_label("x", "p" * 40)
    with pytest.raises(ValueError, match="cannot begin a name"):
        names.dns_label("x", "No-")


@given(st.uuids())
def test_a_pods_name_says_which_session_it_is(session: UUID) -> None:
    name = names.pod_name(session)
    assert DNS_1123.fullmatch(name)
    assert len(name) <= 63
    assert names.session_of(name) == session
    assert names.session_of(name.upper()) is None
    assert names.session_of(f"{name}x") is None
    assert names.session_of(f"session-{session.hex}") is None
    assert names.session_of("jupyter-alice") is None
