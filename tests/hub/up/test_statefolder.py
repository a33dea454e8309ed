import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcetri_hub.up.errors import UpError
from arcetri_hub.up.statefolder import MARKER, StateFolder


def test_a_new_folder_is_private_and_marked(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    folder.close()

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert json.loads((tmp_path / "state" / MARKER).read_text())["instance"] == folder.instance_id


def test_others_may_walk_through_when_sessions_are_accounts_of_their_own(tmp_path: Path) -> None:
    StateFolder.open(tmp_path / "state", others_pass=True).close()

    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o711


def test_what_was_chosen_once_is_kept(tmp_path: Path) -> None:
    first = StateFolder.open(tmp_path / "state")
    port = first.kept_port("hub", lambda: 21_000)
    secret = first.secret("cookie").read_text()
    first.close()
    again = StateFolder.open(tmp_path / "state")

    assert port == (21_000, True)
    assert again.kept_port("hub", lambda: 22_000) == (21_000, False)
    assert again.secret("cookie").read_text() == secret
    assert again.instance_id == first.instance_id
    again.close()


def test_secrets_are_for_this_account_only(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    secret = folder.secret("crypt")
    folder.close()

    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(secret.read_text())) == 32


def test_a_second_supervisor_is_told_who_holds_it(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    folder.announce("http://127.0.0.1:8000")

    with pytest.raises(UpError, match=rf"http://127\.0\.0\.1:8000 \(process {os.getpid()}\)"):
        StateFolder.open(tmp_path / "state")
    folder.close()
    StateFolder.open(tmp_path / "state").close()


def test_a_killed_supervisor_does_not_hold_it(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path;"
        "from arcetri_hub.up.statefolder import StateFolder;"
        "StateFolder.open(Path(sys.argv[1])).announce('http://x'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "state")], check=False)

    assert killed.returncode == -9
    StateFolder.open(tmp_path / "state").close()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(UpError, match="is no Arcetri state folder"):
        StateFolder.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "state").touch()

    with pytest.raises(UpError, match="is no folder"):
        StateFolder.open(tmp_path / "state")


def test_the_parent_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UpError, match="does not exist"):
        StateFolder.open(tmp_path / "no" / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 1000, 1000)

    with pytest.raises(UpError, match="belongs to another account"):
        StateFolder.open(tmp_path / "state")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "may not write"),
        (errno.EACCES, "may not write"),
        (errno.EIO, "cannot be used"),
    ],
)
def test_what_the_disk_says_becomes_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    folder = StateFolder.open(tmp_path / "state")

    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.mkstemp", fail)
    with pytest.raises(UpError, match=words):
        folder.write(folder.settings_file, "{}")
    folder.close()


def test_a_damaged_marker_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("{")

    with pytest.raises(UpError, match="is damaged"):
        StateFolder.open(tmp_path)


def test_emptying_begins_a_new_life_and_keeps_the_edited_catalog(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    before = folder.instance_id
    (folder.path / "storage" / "home").mkdir(parents=True)
    folder.profiles.write_text("version: 1")
    folder.secret("cookie")

    kept = folder.empty()

    assert folder.instance_id != before
    assert kept is not None
    assert kept.read_text() == "version: 1"
    assert {entry.name for entry in folder.path.iterdir()} == {MARKER, "lock", kept.name}
    folder.close()


def test_emptying_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    folder = StateFolder.open(tmp_path / "state")
    (folder.path / "link").symlink_to(tmp_path / "data")

    folder.empty()
    folder.close()

    assert (tmp_path / "data" / "precious").exists()
