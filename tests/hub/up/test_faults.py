from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arcetri_hub.up.faults import NAME, told
from arcetri_hub.up.statefolder import StateFolder

LOGS = """
import asyncio, gc, sys, warnings
from pathlib import Path
from arcetri_hub.up.faults import keep_log

async def main():
    async def fails():
        raise KeyError("an end that nobody looks at")
    task = asyncio.ensure_future(fails())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    warnings.warn("an old way")

keep_log(Path(sys.argv[1]))
asyncio.run(main())
"""


def fault() -> Exception:
    try:
        raise KeyError("secret of the insides")
    except KeyError as error:
        return error


def test_a_fault_is_added_to_the_state_folders_log(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    try:
        for _ in range(2):
            sentence = told(fault(), folder.path)
    finally:
        folder.close()
    log = tmp_path / "state" / "logs" / NAME
    assert str(log) in sentence
    assert "secret" not in sentence
    assert "\n" not in sentence
    assert log.read_text().count("KeyError: 'secret of the insides'") == 2


def test_a_folder_that_is_not_ours_gets_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    sentence = told(fault(), theirs)
    (log,) = tmp_path.glob("arcetri-*.log")
    assert str(log) in sentence
    assert list(theirs.iterdir()) == []


def test_it_is_told_also_when_it_can_be_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    sentence = told(fault(), tmp_path / "state")
    assert "KeyError" in sentence
    assert "could not be written down" in sentence


def test_what_libraries_log_does_not_reach_the_terminal(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LOGS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout == result.stderr == ""
    log = (tmp_path / NAME).read_text()
    assert "KeyError: 'an end that nobody looks at'" in log
    assert "an old way" in log
