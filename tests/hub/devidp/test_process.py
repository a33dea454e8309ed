"""The process: where it listens, what it keeps, and that it does not outlive its starter."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner

from arcetri_hub.devidp.__main__ import main
from arcetri_hub.devidp.statefile import StateFile, StateFileError
from tests.support.iam import DevIam

pytestmark = pytest.mark.component


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run it as far as it gets with options it must refuse."""
    return subprocess.run(
        [sys.executable, "-m", "arcetri_hub.devidp", *options],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def refusal(*options: str) -> str:
    """The one sentence it ends with."""
    result = run(*options)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


def complaint(*options: str) -> str:
    """The same, in this process: for what is refused before anything is opened."""
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])  # noqa: S104  # must be refused
def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    sentence = complaint("--port", "0", "--state", str(tmp_path / "iam.json"), "--host", host)
    assert "no loopback address" in sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("callback", ["https://hub.example/cb", "http://192.0.2.1/cb", "nonsense"])
def test_it_sends_people_to_loopback_only(tmp_path: Path, callback: str) -> None:
    state = str(tmp_path / "iam.json")
    sentence = complaint("--port", "0", "--state", state, "--hub-callback", callback)
    assert "no loopback address" in sentence


def test_a_used_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refusal("--port", port, "--state", str(tmp_path / "iam.json"))
    assert f"port {port}" in sentence


def test_a_broken_state_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "iam.json"
    path.write_text("{}")
    assert "delete it to start" in refusal("--port", "0", "--state", str(path))


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 99}', "\x00", "\udcff"])
def test_a_broken_state_file_stays_as_it_was(tmp_path: Path, content: str) -> None:
    path = tmp_path / "iam.json"
    path.write_text(content, errors="surrogateescape")
    before = path.read_bytes()
    with pytest.raises(StateFileError, match=r"iam\.json"):
        StateFile(path).load(1)
    assert path.read_bytes() == before


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    options = ["--port", "0", "--state", str(tmp_path / "iam.json")]
    sentence = complaint(*options, "--client-secret-file", str(tmp_path / "secret"))
    assert "is empty" in sentence


def test_two_cannot_share_a_state_file(tmp_path: Path) -> None:
    with DevIam.started(tmp_path) as iam:
        sentence = refusal("--port", "0", "--state", str(iam.state_file))
    assert "another development IAM" in sentence


def test_secrets_are_readable_by_this_account_only(tmp_path: Path) -> None:
    with DevIam.started(tmp_path) as iam:
        tokens = iam.tokens("alice")
        text = iam.state_file.read_text()
        for path in (iam.state_file, iam.secret_file):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for kind in ("access_token", "refresh_token", "id_token"):
        assert tokens[kind] not in text
    log = iam.log_file.read_text()
    assert log == ""


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_logs_nobody_out(tmp_path: Path, kill: bool) -> None:
    with DevIam.started(tmp_path) as iam:
        tokens = iam.tokens("bruno")
        iam.configure(profile="wlcg")
        iam.set_groups("bruno", ["/arcetri/virgo"])
        port, keys = iam.port, iam.http.get(iam.url("jwk")).json()
        iam.stop(kill=kill)
        with pytest.raises(httpx.ConnectError):
            iam.http.get(iam.issuer)
        iam.start()
        assert iam.port == port
        assert iam.http.get(iam.url("jwk")).json() == keys
        assert iam.userinfo(tokens["access_token"]).status_code == 200
        refreshed = iam.refresh(tokens["refresh_token"]).json()
        answer = iam.userinfo(refreshed["access_token"]).json()
        assert answer["wlcg.groups"] == ["/arcetri", "/arcetri/virgo"]


def test_a_full_disk_does_not_stop_it(tmp_path: Path) -> None:
    with DevIam.started(tmp_path) as iam:
        iam.state_file.with_name("iam.json.new").mkdir()
        tokens = iam.tokens("alice")
        assert iam.userinfo(tokens["access_token"]).status_code == 200
        assert "kept in memory only" in iam.log_file.read_text()


def test_the_secret_file_and_the_groups_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "client-secret").write_text("a-given-secret\n")
    with DevIam.started(tmp_path, options=["--group", "/arcetri/theory"]) as iam:
        assert "arcetri/theory" in iam.state()["groups"]
        assert iam.client_secret == "a-given-secret"
        assert iam.tokens("alice")["access_token"]


def test_it_ends_with_a_starter_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from tests.support.iam import DevIam\n"
        "iam = DevIam(pathlib.Path(sys.argv[1]))\n"
        "iam.start()\n"
        "print(iam.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert starter.stdout is not None
    pid = int(json.loads(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
