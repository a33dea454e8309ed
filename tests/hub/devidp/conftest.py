from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.iam import DevIam


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevIam]:
    with DevIam.started(tmp_path_factory.mktemp("iam")) as iam:
        yield iam


@pytest.fixture
def iam(process: DevIam) -> DevIam:
    """One process for a module's tests, each of which finds the demonstration as it was."""
    process.clear_faults()
    process.reset()
    process.configure(
        profile="iam", consent=False, rotate_refresh_tokens=False, access_lifetime=3600
    )
    return process
