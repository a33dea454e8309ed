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


def used(path: Path) -> StateFolder:
    """A folder in which a platform has run, and people have worked."""
    folder = StateFolder.open(path)
    (path / "storage" / "shared" / "home" / "alice").mkdir(parents=True)
    (path / "storage" / "shared" / "home" / "alice" / "thesis.tex").write_text("E = mc2")
    (path / "journal").mkdir()
    (path / "journal" / "leases.jsonl").write_text("{}\n")
    (path / "sessions" / "x").mkdir(parents=True)
    (path / "arcetri.sqlite").write_text("whose home it is")
    folder.profiles.write_text("version: 1")
    folder.secret("cookie")
    return folder


def test_a_new_life_takes_nothing_of_anybodys_away(tmp_path: Path) -> None:
    folder = used(tmp_path / "state")
    before = folder.instance_id

    kept = folder.begin_again()

    assert folder.instance_id != before
    assert kept is not None
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert (kept / "storage/shared/home/alice/thesis.tex").read_text() == "E = mc2"
    assert (kept / "profiles.yaml").read_text() == "version: 1"
    assert (kept / "arcetri.sqlite").read_text() == "whose home it is"
    # What accounting has yet to fetch is where it looks for it.
    assert (folder.path / "journal/leases.jsonl").read_text() == "{}\n"
    names = {entry.name for entry in folder.path.iterdir()}
    assert names == {MARKER, "lock", "journal", "before-fresh"}
    folder.close()


def test_each_new_life_keeps_its_own(tmp_path: Path) -> None:
    folder = used(tmp_path / "state")
    first = folder.begin_again()
    assert folder.begin_again() is None

    folder.profiles.write_text("version: 1")
    second = folder.begin_again()
    folder.close()

    assert first is not None
    assert second is not None
    assert first != second
    assert (first / "storage").is_dir()
    assert [entry.name for entry in second.iterdir()] == ["profiles.yaml"]


def test_a_new_life_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    folder = StateFolder.open(tmp_path / "state")
    (folder.path / "sessions").symlink_to(tmp_path / "data")

    folder.begin_again()

    assert not (folder.path / "sessions").is_symlink()
    folder.close()
    assert (tmp_path / "data" / "precious").exists()


def test_a_port_stays_until_another_is_asked_for(tmp_path: Path) -> None:
    folder = StateFolder.open(tmp_path / "state")
    assert folder.kept_port("hub", lambda: 20001) == (20001, True)
    assert folder.kept_port("hub", lambda: 20002) == (20001, False)
    assert folder.kept_port("hub", lambda: 20002, anew=True) == (20002, True)
    folder.close()

    again = StateFolder.open(tmp_path / "state")
    assert again.kept_port("hub", lambda: 20003) == (20002, False)
    again.close()
