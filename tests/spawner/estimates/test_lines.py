"""Which ends count as a session's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arcetri_accounting.contract.lengths import SessionLength, SessionLengths
from arcetri_hub.pages.admin.ending import REASON as BY_ADMIN
from arcetri_hub.pages.wording import CANCELLED
from arcetri_hub.reaper.decide import EndReason
from arcetri_spawner.backends.kubernetes import ends
from arcetri_spawner.estimates.lines import CUT_OFF, NATURAL, past
from arcetri_spawner.waiting.unopened import NOT_OPENED
from arcetri_spawner.waiting.wanted import Back

JOURNAL = Path(__file__).parents[3] / "docs" / "reference" / "lease-journal.md"


def documented() -> set[str]:
    """All reasons of ends; that the contract names the same has a test of its own."""
    (row,) = [line for line in JOURNAL.read_text().splitlines() if line.startswith("| `reason`")]
    return set(re.findall(r"`([a-z_]+)`", row)) - {"reason"}


def test_every_end_is_either_the_sessions_own_or_cut_off() -> None:
    assert not NATURAL & CUT_OFF
    assert documented() == NATURAL | CUT_OFF


def test_the_reasons_that_the_platform_gives_are_among_them() -> None:
    given = {*ends.REASONS, *map(str, Back), *map(str, EndReason), NOT_OPENED, BY_ADMIN, CANCELLED}
    assert given <= NATURAL | CUT_OFF


def lasted(reason: str) -> SessionLengths:
    one = SessionLength(
        flavor="t4",
        flavor_type="gpu",
        group="/lab/cms",
        kind="notebook",
        began=0,
        lasted=60_000,
        reason=reason,
    )
    return SessionLengths(at=60_000, since=0, sessions=(one,))


@pytest.mark.parametrize("reason", ["stopped", "idle", "not_opened", "out_of_memory"])
def test_what_the_user_or_the_session_did_is_its_own_end(reason: str) -> None:
    (one,) = past(lasted(reason))
    assert one.natural


@pytest.mark.parametrize("reason", ["drained", "node_lost", "killed", "of_a_later_version", ""])
def test_what_came_from_outside_or_from_nobody_knows_where_is_no_end(reason: str) -> None:
    (one,) = past(lasted(reason))
    assert not one.natural
