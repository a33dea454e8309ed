"""Programs are built from what is pinned, and once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster import builds, cache
from tests.cluster.builds import MODULES, SOURCES, Module
from tests.cluster.cache import ClusterError

SOURCE = 'package main\n\nfunc main() { println("one") }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules of the test's own, with one program, and an empty cache."""
    go = builds.find_go()
    if go is None:
        pytest.skip("needs Go")
    # What Go has compiled of its own library is not what is tried.
    compiled = subprocess.run([go, "env", "GOCACHE"], capture_output=True, text=True, check=True)
    monkeypatch.setenv("GOCACHE", compiled.stdout.strip())
    folder = tmp_path / "go"
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "go.mod").write_text("module example.test/small\n\ngo 1.26.0\n")
    (folder / "small" / "main.go").write_text(SOURCE)
    monkeypatch.setattr(builds, "SOURCES", folder)
    monkeypatch.setattr(builds, "MODULES", (Module("small", {"small": "."}),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_a_program_is_built_once_and_anew_when_its_source_changes(
    sources: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ClusterError, match=r"Not built yet: small\. Run make cluster-build"):
        builds.programs()
    builds.build()
    first = builds.programs()["small"]
    assert "Building small (1 of 1" in capfd.readouterr().err
    builds.build()
    assert capfd.readouterr().err == ""
    (sources / "small" / "main.go").write_text(SOURCE.replace("one", "two"))
    builds.build()
    assert builds.programs()["small"] != first


def test_a_cluster_starts_without_what_only_tests_want(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(sources / "small", sources / "more")
    more = Module("more", {"more": "."}, extra=True)
    monkeypatch.setattr(builds, "MODULES", (*builds.MODULES, more))
    builds.build(extras=False)
    assert list(builds.programs()) == ["small"]
    with pytest.raises(ClusterError, match=r"Not built yet: more\. Run python -m tests"):
        builds.find("more")
    builds.build()
    assert builds.find("more").exists()


def test_a_build_that_fails_says_where(sources: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sources / "small" / "main.go").write_text(SOURCE.replace("println", "prinltn"))
    with pytest.raises(ClusterError, match="could not be built in tests/cluster/go/small"):
        builds.build()
    assert "undefined: prinltn" in capfd.readouterr().err
    with pytest.raises(ClusterError, match="Not built yet"):
        builds.programs()


@pytest.mark.usefixtures("sources")
def test_what_nobody_has_used_for_long_is_not_kept() -> None:
    builds.build()
    program = builds.programs()["small"]
    (cache.root() / "images").mkdir()
    old = cache.root() / "images" / "base-0123456789abcdef.tar"
    old.touch()
    cache.prune()
    assert program.exists()
    assert old.exists()
    long_ago = time.time() - cache.UNUSED - 60
    for path in (old, program.parent):
        os.utime(path, (long_ago, long_ago))
    assert builds.programs()["small"] == program
    cache.prune()
    assert program.exists()
    assert not old.exists()


def test_of_images_made_from_changing_code_the_last_ones_are_kept(sources: Path) -> None:
    assert sources.exists()
    folder = cache.root() / "images"
    folder.mkdir()
    hours_ago = {f"hub-{age:016x}.tar": age for age in range(6)}
    for name, age in hours_ago.items():
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age * 3600 - 60,) * 2)
    (folder / "base-0000000000000005.tar").touch()
    cache.prune()
    kept = {path.name for path in folder.iterdir()}
    assert kept == {f"hub-{age:016x}.tar" for age in range(cache.KEPT)} | {
        "base-0000000000000005.tar"
    }


def test_without_go_it_is_said_that_go_is_missing(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sources.exists()
    builds._go_version.cache_clear()
    monkeypatch.setattr(builds, "find_go", lambda: None)
    with pytest.raises(ClusterError, match=r"install Go 1\.26"):
        builds.programs()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_pins_are_versions_and_hashes_only(module: Module) -> None:
    text = "".join(
        (SOURCES / module.name / name).read_text(encoding="utf-8") for name in ("go.mod", "go.sum")
    )
    assert "://" not in text
    assert not re.search(r"^replace .*=> [./]", text, re.MULTILINE)  # nothing of this machine's
    assert (SOURCES / module.name / "go.sum").stat().st_size > 0
