"""What a start says, and leaves, that is refused or is not what its operator may think."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from arcetri_hub.up.errors import UpError
from arcetri_hub.up.options import RealIam, UpOptions
from arcetri_hub.up.prepare import DEMO_CATALOG, prepare
from arcetri_hub.up.statefolder import StateFolder


def up(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arcetri_hub", "up", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("there", [False, True])
def test_a_refused_start_leaves_no_folder_behind(tmp_path: Path, there: bool) -> None:
    state, bad = tmp_path / "state", tmp_path / "bad.yaml"
    bad.write_text("version: 2")
    if there:
        state.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        said = up("--state", str(state), "--port", port)
        assert said.returncode == 2
        assert "is taken by another program" in said.stderr
    said = up("--state", str(state), "--port", port, "--profiles", str(bad))
    assert said.returncode == 2
    assert "cannot be used" in said.stderr

    assert state.exists() == there
    assert sorted(tmp_path.rglob("*")) == sorted([bad, *([state] if there else [])])


def test_what_was_there_before_a_refused_start_stays(tmp_path: Path) -> None:
    first = StateFolder.open(tmp_path / "state")
    first.secret("crypt")
    first.forget()
    first.close()
    assert (tmp_path / "state" / "secrets" / "crypt").exists()

    second = StateFolder.open(tmp_path / "state")
    assert second.instance_id == first.instance_id
    second.forget()
    second.close()
    StateFolder.open(tmp_path / "state").close()


def test_where_the_kernel_makes_no_folder_the_sentence_is_true() -> None:
    with pytest.raises(UpError, match="No folder can be made in /proc: choose another --state"):
        StateFolder.open(Path("/proc/arcetri"))
    with pytest.raises(UpError, match="/nowhere does not exist: make it"):
        StateFolder.open(Path("/nowhere/state"))


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder.open(tmp_path / "state")


def real(folder: StateFolder, profiles: Path | None = None) -> UpOptions:
    secret = folder.path / "secret"
    secret.write_text("s")
    iam = RealIam("https://iam.example.org/", "platform", secret)
    return UpOptions(state=folder.path, profiles=profiles, iam=iam)


def test_a_real_iam_with_the_demonstration_catalog_is_warned_of(folder: StateFolder) -> None:
    warnings: list[str] = []
    prepare(real(folder), folder, warnings)
    prepare(real(folder), folder, warnings)  # and again, as long as it is so

    folder.close()
    assert len(warnings) == 2
    for word in (str(folder.profiles), "demonstration catalog", "https://iam.example.org/"):
        assert word in warnings[0]


def test_a_real_iam_with_a_catalog_of_ones_own_is_not(folder: StateFolder, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(DEMO_CATALOG.read_text().replace("/arcetri/", "/lab/"))
    warnings: list[str] = []

    prepare(real(folder, own), folder, warnings)

    folder.close()
    assert warnings == []
