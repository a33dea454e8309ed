"""What is skipped and what fails: hardware cannot be installed, all else can."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.nvml import FakeMachine, remove
from tests.support.platform import until
from tests.support.tiers import REQUIRE_VARIABLE

pytestmark = pytest.mark.component
ROOT = Path(__file__).parents[1]
SUBJECT = ROOT / "tests" / "accounting" / "agent" / "test_any_gpu.py"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[FakeMachine]:
    """The library that the tests below find as the system's own."""
    yield FakeMachine(tmp_path / "system")
    remove()


def run_tests(which: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run some tests where nothing may be skipped; the exit status, and what was said."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUBJECT), "-k", which],
        cwd=ROOT, env={**environment, REQUIRE_VARIABLE: "all"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout


def test_without_a_gpu_its_tests_are_listed_as_skipped_also_where_all_is_required(
    system: FakeMachine,
) -> None:
    code, said = run_tests("real", system.environment())

    assert code == 0, said
    assert re.search(r"^gpu: none run; 6 skipped: needs a GPU that NVML finds$", said, re.M), said


def test_with_a_gpu_they_run_and_can_fail(system: FakeMachine) -> None:
    gpu = "gpu GPU-7 nomig Tesla T4\nutil steady 12\nenergy 5 30000\nprocess 7 1000\n"
    system.has(gpu)
    code, said = run_tests("real and not computes", system.environment())
    assert code == 0, said
    assert re.search(r"^gpu: 5 run$", said, re.M), said
    system.has(gpu + "slow nvmlDeviceGetSamples 800000")

    code, said = run_tests("real and time", system.environment())

    assert code == 1, said


def test_what_can_be_installed_may_not_be_missing(tmp_path: Path) -> None:
    code, said = run_tests("fake and found", {"PATH": str(tmp_path)})

    assert code == 1, said
    assert "needs a C compiler" in said


def test_services_may_start_again_however_an_installation_ends(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    script = (
        "import sys, time; from pathlib import Path; from tests.support import tiers\n"
        "with tiers._no_services(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(policy)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert policy.stat().st_mode & 0o111
    process.kill()
    process.wait(10)
    process.stdout.close()
    until(lambda: not policy.exists(), "the policy is gone", 20)
