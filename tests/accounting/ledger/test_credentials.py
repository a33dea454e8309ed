"""Whose a credentials file may be."""

from __future__ import annotations

import os

import pytest

from arcetri_accounting.ledger import credentials


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_open"),
    [
        (0o600, 1000, 1000, False),
        (0o640, 1000, 1000, True),
        (0o604, 0, 1000, True),
        # As a cluster mounts a Secret: root's, and read by the group of its one pod.
        (0o440, 0, 1000, False),
        (0o460, 0, 1000, True),
        (0o440, 0, 1001, True),
    ],
)
def test_a_file_is_closed_to_other_accounts(
    monkeypatch: pytest.MonkeyPatch, mode: int, uid: int, gid: int, is_open: bool
) -> None:
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    there = os.stat_result((0o100000 | mode, 0, 0, 1, uid, gid, 2, 0, 0, 0))
    assert credentials._is_open(there) is is_open
