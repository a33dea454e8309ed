from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.errors import Denied
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import OPTION_KEYS, parse_options
from arcetri_spawner.policy.model import Options

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(OPTION_KEYS), inner)
    ),
    max_leaves=8,
)


def _refusal(raw: object) -> str:
    with pytest.raises(Denied) as caught:
        parse_options(raw)
    assert caught.value.code == "invalid_options"
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()
    assert caught.value.remedy
    return caught.value.message


@given(_json)
def test_whatever_arrives_is_read_or_refused(raw: object) -> None:
    try:
        options = parse_options(raw)
    except Denied:
        _refusal(raw)
        return
    assert isinstance(raw, dict)
    assert raw.keys() <= set(OPTION_KEYS)
    for key, value in raw.items():
        chosen = getattr(options, key)
        assert chosen == value or (chosen is None and value == "") or key == "group"


def test_all_four_keys_are_read() -> None:
    raw = {"flavor": "t4", "group": "lab/cms", "environment": "torch", "size": "small"}
    assert parse_options(raw) == Options("t4", GroupPath("/lab/cms"), "torch", "small")


def test_absent_and_empty_are_not_chosen() -> None:
    assert parse_options({}) == parse_options(dict.fromkeys(OPTION_KEYS, "")) == Options()


def test_everyone_is_no_path() -> None:
    assert parse_options({"group": "everyone"}).group == EVERYONE
    assert parse_options({"group": "/everyone"}).group == GroupPath("/everyone")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (None, "null"),
        ([], "a list"),
        ("t4", "a text"),
        ([("flavor", "t4")], "a list"),
        ({"flavor": ["t4"]}, "flavor is a list"),
        ({"flavor": None}, "flavor is null"),
        ({"size": 3}, "size is a number"),
        ({"size": True}, "size is a boolean"),
        ({"environment": {"name": "torch"}}, "environment is an object"),
        ({"flavor": "t4", "profile": "x"}, '"profile"'),
        ({"Flavor": "t4"}, '"Flavor"'),
        ({"flavor": "t4\x00"}, "control character"),
        ({"flavor": "\ud800"}, "control character"),
        ({"environment": "\u202etorch"}, "control character"),
        ({"flavor": "x" * 129}, "longer than 128"),
        ({"group": "/" + "x" * 512}, "longer than 512"),
        ({"group": "/lab//cms"}, "single slashes"),
        ({"group": "/lab/../admins"}, "single slashes"),
        ({"group": "/"}, "cannot be empty"),
        ({1: "t4"}, "a number"),
    ],
)
def test_anything_else_is_refused_by_name(raw: object, words: str) -> None:
    assert words in _refusal(raw)


def test_ten_megabytes_get_a_short_answer() -> None:
    many: dict[str, Any] = {f"key{n}": n for n in range(300_000)}
    assert len(json.dumps(many)) > 4_000_000
    _refusal(many)
    _refusal({"flavor": "x" * 10_000_000})
    _refusal({"x" * 10_000_000: "t4"})
    _refusal({"flavor": [["x"] * 1000] * 1000})
