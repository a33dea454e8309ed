from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.groups import normalize_group, normalize_groups


@pytest.mark.parametrize("written", ["/a/b", "a/b", "/a/b/", "a/b/", " /a/b "])
def test_a_group_has_one_spelling(written: str) -> None:
    assert normalize_group(written) == "/a/b"


@pytest.mark.parametrize(
    "written", ["", "/", "//", "/a//b", "/a/../b", "/a/./b", "/a/ b", "/a\n", "/a\x00b", "a" * 600]
)
def test_what_is_no_group_path_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="group path"):
        normalize_group(written)


def test_claims_keep_only_paths() -> None:
    assert normalize_groups(["a", "/a", 3, None, "/a//b", ["/c"], "/ab"]) == {"/a", "/ab"}


@given(st.text(max_size=30))
def test_a_normal_path_stays_as_it_is(written: str) -> None:
    try:
        group = normalize_group(written)
    except ValueError:
        return
    assert normalize_group(group) == group
