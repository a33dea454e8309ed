"""/etc/passwd and /etc/group: readable by every program, whoever the person is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.backends.kubernetes.passwd import group_text, passwd_text

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True).filter(
    lambda name: name not in ("root", "nobody", "nogroup")
)
IDS = st.integers(1000, 2**31 - 1).filter(lambda number: number != 65534)


@given(name=NAMES, uid=IDS, gid=IDS)
def test_every_account_has_one_line(name: str, uid: int, gid: int) -> None:
    lines = [
        line.split(":") for line in passwd_text(name, uid, gid, home=f"/home/{name}").split("\n")
    ]
    assert lines.pop() == [""]
    assert all(len(line) == 7 for line in lines)
    assert [line for line in lines if line[0] == name] == [
        [name, "x", str(uid), str(gid), "", f"/home/{name}", "/bin/bash"]
    ]
    assert len({line[0] for line in lines}) == len({line[2] for line in lines}) == 3


@given(
    name=NAMES,
    gid=IDS,
    gids=st.dictionaries(
        st.one_of(
            st.text(st.characters(codec=None), max_size=300),
            st.sampled_from(
                ["/a/b", "/a-b", "/A/b", "/root", "/nogroup", "/1", "/é", "/è", ":\n:"]
            ),
        ),
        IDS,
        max_size=8,
    ),
)
def test_every_group_has_a_name_of_its_own(name: str, gid: int, gids: dict[str, int]) -> None:
    text = group_text(name, gid, gids)
    lines = [line.split(":") for line in text.removesuffix("\n").split("\n")]
    assert all(len(line) == 4 for line in lines)
    names = [line[0] for line in lines]
    assert len(set(names)) == len(names)
    assert all(0 < len(one) <= 40 and one.isprintable() for one in names)
    assert {int(line[2]) for line in lines} == {0, 65534, gid, *gids.values()}
    member = {int(line[2]) for line in lines if line[3] == name}
    assert member == set(gids.values())


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("root", "/"),
        ("nobody", "/"),
        ("a:b", "/"),
        ("a\nroot", "/"),
        ("", "/"),
        ("a", "/x\n"),
        ("a", ""),
    ],
)
def test_what_cannot_stand_there_is_an_error(name: str, home: str) -> None:
    with pytest.raises(ValueError, match=r"passwd|system"):
        passwd_text(name, 1000, 1000, home=home)
