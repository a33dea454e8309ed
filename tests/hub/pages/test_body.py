from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_hub.pages.body import BODY_LIMIT, json_object, options_from_form
from arcetri_spawner.errors import Denied
from arcetri_spawner.policy import parse_options


def code(body: bytes) -> str:
    with pytest.raises(Denied) as caught:
        json_object(body)
    return caught.value.code


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"t4"',
        b"1",
        b"{",
        b"\xff\xfe",
        b"[" * BODY_LIMIT,
        b'{"a":' * 10_000,
        b'{"flavor":"t4","flavor":"cpu"}',
        b'{"user_options":{"flavor":"t4","flavor":"cpu"}}',
    ],
)
def test_what_is_no_plain_json_object_is_refused(body: bytes) -> None:
    assert code(body) == "invalid_options"


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}"])
def test_an_empty_body_chooses_nothing(body: bytes) -> None:
    assert json_object(body) == {}


@given(st.dictionaries(st.text(), st.recursive(st.text() | st.none(), st.lists)))
def test_an_object_comes_out_as_it_went_in(value: dict[str, object]) -> None:
    assert json_object(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_no_body_makes_more_than_a_refusal(body: bytes) -> None:
    with contextlib.suppress(Denied):
        assert isinstance(json_object(body), dict)


def test_an_empty_field_is_not_chosen() -> None:
    fields = {"flavor": [b"t4"], "group": [b""], "size": [b"", b""], "_xsrf": [b"x"]}
    assert options_from_form(fields) == {"flavor": "t4"}


def test_a_field_given_twice_is_left_for_policy_to_refuse() -> None:
    options = options_from_form({"flavor": [b"t4", b"cpu"]})
    with pytest.raises(Denied, match="list"):
        parse_options(options)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(Denied):
        options_from_form({"flavor": [b"\xff"]})
