"""What ``make test`` makes of tests that fail in company: said by name, and only a few let pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import LIMIT, closing, merged
from tests.support.tally import Result
from tests.support.tiers import REQUIRE_VARIABLE

ROOT = Path(__file__).parents[2]
FAILED = Result("component", "failed")
PASSED = Result("component", "passed")
SKIPPED = Result("unit", "skipped", "needs a C compiler")

TESTS = """
from pathlib import Path
import pytest

@pytest.fixture
def company():
    "Fails the first time."
    seen = Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    return first

def test_passes():
    pass

def test_is_skipped():
    pytest.skip("the moon is full")

def test_fails_in_company(company):
    assert not company

def test_fails_always():
    assert {ALWAYS}
"""


def make_test(folder: Path, *, fails_always: bool) -> subprocess.CompletedProcess[str]:
    """Run what ``make test`` runs, over a project with one flaky test."""
    (folder / "test_it.py").write_text(TESTS.replace("{ALWAYS}", str(not fails_always)))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  component: x\n  browser: x\n")
    # What this run was told is not meant for that one: here a skip is a skip.
    own = {k: v for k, v in os.environ.items() if k not in (REQUIRE_VARIABLE, "PYTEST_ADDOPTS")}
    options = ["-p", "tests.conftest", "-c", str(folder / "pytest.ini"), "--rootdir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "tests.support.runs", *options, str(folder)],
        cwd=ROOT, env=own, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_one_that_passes_alone_is_named_and_the_last_lines_are_of_both_runs(tmp_path: Path) -> None:
    done = make_test(tmp_path, fails_always=False)

    assert done.returncode == 0, done.stdout + done.stderr
    _, end = done.stdout.split(" both runs together ")
    lines = end.splitlines()[1:]
    assert lines[0] == "unit: 3 run; 1 skipped: the moon is full"
    at = lines.index("Passed only alone (flaky):")
    assert lines[at + 1].strip().endswith("test_it.py::test_fails_in_company")
    assert re.fullmatch(r"=+ 3 passed, 1 skipped, 1 flaky in [\d.]+s =+", lines[-1])


def test_one_that_fails_again_fails_the_run(tmp_path: Path) -> None:
    done = make_test(tmp_path, fails_always=True)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = lines.index("Failed again, alone:")
    assert lines[at + 1].strip().endswith("test_it.py::test_fails_always")
    said = r"=+ 1 failed, 2 passed, 1 skipped, 1 flaky in [\d.]+s =+"
    assert re.fullmatch(said, lines[-1]), lines[-1]


@pytest.mark.parametrize(("flaky", "status"), [(LIMIT, 0), (LIMIT + 1, 1)])
def test_only_a_few_may_pass_only_alone(flaky: int, status: int) -> None:
    names = [f"test_{number}" for number in range(flaky)]
    both = merged(
        {**dict.fromkeys(names, FAILED), "other": PASSED, "none": SKIPPED},
        dict.fromkeys(names, PASSED),
    )

    lines = list(closing(both, 61.0))

    assert both.status == status
    assert list(both.flaky) == names
    assert f"component: {flaky + 1} run" in lines
    assert "unit: none run; 1 skipped: needs a C compiler" in lines
    assert ("failed" in lines[-1]) == bool(status)
    assert any("the run has failed" in line for line in lines) == bool(status)


@pytest.mark.parametrize("alone", [{}, {"test": SKIPPED}, {"test": FAILED}])
def test_what_failed_and_did_not_pass_since_has_failed(alone: dict[str, Result]) -> None:
    both = merged({"test": FAILED, "other": PASSED}, alone)
    assert both.status == 1
    assert "1 failed, 1 passed" in list(closing(both, 1.0))[-1]


@pytest.mark.parametrize("status", [1, 2, 5])
def test_a_second_run_that_broke_is_no_success(status: int) -> None:
    both = merged({"test": FAILED}, {"test": PASSED}, status)
    assert both.status == status
    assert "1 error" in list(closing(both, 1.0))[-1]
