"""What ``arcetri queues sync --every`` prints, round after round."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcetri_hub.cli.queues import _tell, _Words
from arcetri_spawner.queues.changes import changes, stamped
from arcetri_spawner.queues.farm import Farm
from arcetri_spawner.queues.restraint import restrained
from arcetri_spawner.queues.sync import Outlook
from tests.spawner.queues.catalogs import NAMES, catalog, planned


def test_a_farm_that_shrinks_is_told_once_and_that_it_is_whole_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = catalog(tmp_path)
    there = [stamped(one) for one in planned(made, {"t4": 2}).objects]
    words, printed = _Words(), []
    for devices in (2, 0, 0, 0, 1, 2, 2, 2):
        plan = planned(made, {"t4": devices})
        will = restrained(plan, there, NAMES)
        todo = tuple(changes(will.objects, there))
        _tell(Outlook(plan, Farm({}, ()), todo, (), will.withheld), words, done=True)
        words.out()
        said = capsys.readouterr()
        printed.append([*said.err.splitlines()[1:2], *said.out.splitlines()])
    shrunk = (
        "  t4: quotas of 2 in all, and the farm has {}. It has shrunk since they were given, or"
    )
    shrunk += " over-commitment was allowed then. They stay as they are, and who finds no device"
    shrunk += " waits."
    nothing = "Nothing to change."
    assert printed == [
        [nothing],
        [shrunk.format(0), nothing],
        [],
        [],
        [shrunk.format(1), nothing],
        ["t4: the farm has what is promised again.", nothing],
        [nothing],
        [],
    ]
