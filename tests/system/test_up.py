"""``arcetri up`` as a newcomer, an operator and a bad day treat it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from arcetri_hub.up import ports
from arcetri_hub.up.statefolder import MARKER
from arcetri_spawner.backends.local.procs import end_instance
from tests.support.platform import Platform, listening, port_of, running, until

pytestmark = pytest.mark.component


def _up(
    *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``arcetri up`` where it is expected not to start."""
    return subprocess.run(
        [sys.executable, "-m", "arcetri_hub", "up", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=env,
    )


def _refused(result: subprocess.CompletedProcess[str]) -> str:
    """What it said when it did not start."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("arcetri: ")
    return result.stderr


# -- What it cannot do, it says in a sentence ---------------------------------------------------


def test_a_used_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = _refused(_up("--port", str(port), "--state", str(tmp_path / "state")))

    assert said.count("\n") == 1
    assert f"Port {port}" in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("/sys/arcetri", "may not write"),
        ("/etc/hostname", "is no folder"),
        ("/nowhere/arcetri", "does not exist"),
        ("/usr", "is no Arcetri state folder"),
    ],
)
def test_a_folder_that_will_not_do_is_one_sentence(state: str, words: str) -> None:
    said = _refused(_up("--port", str(ports.choose()), "--state", state))

    assert said.count("\n") == 1
    assert words in said


def test_a_bad_catalog_is_named_with_every_finding(tmp_path: Path) -> None:
    catalog = tmp_path / "profiles.yaml"
    catalog.write_text("version: 2\nflavours: {}\n", encoding="utf-8")

    said = _refused(
        _up(
            "--port",
            str(ports.choose()),
            "--state",
            str(tmp_path / "state"),
            "--profiles",
            str(catalog),
        )
    )

    assert f"{catalog}:1:" in said
    assert f"{catalog}:2:" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ip", "0.0.0.0"], "published passwords"),  # noqa: S104  # it must be refused
        (["--public-url", "https://hub.example.org"], "published passwords"),
        (["--issuer", "https://iam.example.org/"], "--client-id and --client-secret-file"),
        (
            [
                "--issuer",
                "iam.example.org",
                "--client-id",
                "x",
                "--client-secret-file",
                "/dev/null",
            ],
            "full address",
        ),
        (
            [
                "--issuer",
                "https://iam.example.org",
                "--client-id",
                "x",
                "--client-secret-file",
                "no",
            ],
            "cannot be read",
        ),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    port = str(ports.choose())
    said = _refused(_up("--port", port, "--state", str(tmp_path / "s"), *arguments, cwd=tmp_path))

    assert said.count("\n") == 1
    assert words in said


def test_an_issuer_that_is_something_else_is_one_sentence(
    tmp_path: Path, platform: Platform
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("moon\n", encoding="utf-8")
    options = ["--client-id", "x", "--client-secret-file", str(secret)]

    said = _refused(_up("--state", str(tmp_path / "other"), "--issuer", platform.url, *options))

    assert "is no OpenID provider" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must say so")
def test_root_does_not_run_strangers_notebooks_by_mistake(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("moon\n", encoding="utf-8")
    arguments = ["--issuer", f"https://127.0.0.1:{ports.choose()}/", "--client-id", "x"]
    arguments += ["--client-secret-file", str(secret), "--state", str(tmp_path / "state")]

    said = _refused(_up(*arguments))

    assert "would run as root" in said
    assert "--accounts" in said
    assert "--one-account" in said


def test_simulated_devices_are_for_this_machine_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("moon\n", encoding="utf-8")
    arguments = ["--issuer", f"https://127.0.0.1:{ports.choose()}/", "--client-id", "x"]
    arguments += ["--client-secret-file", str(secret), "--state", str(tmp_path / "state")]
    arguments += ["--port", str(ports.choose()), "--public-url", "https://hub.example.org"]
    arguments += ["--one-account"]

    said = _refused(_up(*arguments))

    assert "simulates 2 x NVIDIA T4" in said
    assert "local.simulate" in said


def test_a_fault_of_its_own_is_one_sentence_and_the_rest_is_in_the_log(platform: Platform) -> None:
    assert platform.stop() == 0
    # Not what anybody writes there, and so not what anybody looks out for.
    marker = platform.state / MARKER
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "ports": 5}))

    result = _up("--port", str(ports.choose()), "--state", str(platform.state))

    log = platform.state / "logs" / "supervisor.log"
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("arcetri: The platform stopped because of a fault of its own")
    assert result.stderr.count("\n") == 1
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_a_fault_before_there_is_a_state_folder_is_written_down_too(tmp_path: Path) -> None:
    names = str(tmp_path / "broken")
    (tmp_path / "broken" / "pydantic").mkdir(parents=True)
    (tmp_path / "broken" / "pydantic" / "__init__.py").write_text("raise RuntimeError('broken')")
    environment = {**os.environ, "PYTHONPATH": names, "TMPDIR": str(tmp_path)}

    result = _up("--state", str(tmp_path / "state"), env=environment)

    (log,) = tmp_path.glob("arcetri-*.log")
    assert result.returncode == 1
    assert str(log) in result.stderr
    assert result.stderr.count("\n") == 1
    assert "RuntimeError: broken" in log.read_text()
    assert not (tmp_path / "state").exists()


# -- What it says when it is ready --------------------------------------------------------------


def test_the_json_line_has_all_a_script_needs(shared_platform: Platform) -> None:
    assert shared_platform.pid == shared_platform.process.pid
    assert shared_platform.simulated is True
    assert {tuple(sorted(user)) for user in shared_platform.users} == {
        ("groups", "name", "password")
    }
    assert httpx.get(f"{shared_platform.url}/hub/login").status_code == 200


def test_a_second_one_is_told_where_the_first_is(shared_platform: Platform) -> None:
    said = _refused(_up("--port", str(ports.choose()), "--state", str(shared_platform.state)))

    assert said.count("\n") == 1
    assert shared_platform.url in said
    assert f"process {shared_platform.pid}" in said


def test_nothing_it_keeps_is_for_other_accounts(shared_platform: Platform) -> None:
    open_to_others = [
        path
        for path in shared_platform.state.iterdir()
        if path.stat().st_mode & 0o077 and path.is_file()
    ]

    assert shared_platform.state.stat().st_mode & 0o077 == 0
    assert open_to_others == []


def test_everything_listens_on_loopback_only(shared_platform: Platform) -> None:
    parts = psutil.Process(shared_platform.pid).children(recursive=True)
    listeners = [
        connection.laddr.ip
        for part in parts
        for connection in part.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listeners) >= 4
    assert set(listeners) == {"127.0.0.1"}


def test_the_banner_tells_a_newcomer_everything(tmp_path: Path) -> None:
    state, port = tmp_path / "state", ports.choose()
    with _banner(state, port) as text:
        pass

    assert f"http://127.0.0.1:{port}" in text
    assert "alice" in text
    assert "muon" in text
    assert "Simulated" in text
    assert "NOT isolated" in text
    assert "the platform's own keys" in " ".join(text.split())
    assert "folders where the catalog mounts them" in text or "NOT protected" in text
    assert str(state / "profiles.yaml") in text
    assert "Ctrl-C" in text


@contextlib.contextmanager
def _banner(state: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "arcetri_hub", "up", "--port", str(port), "--state", str(state)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        while not (lines and "Ctrl-C" in lines[-1]):
            line = process.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
        yield "".join(lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)


# -- Ends ----------------------------------------------------------------------------------------


def ended(part: psutil.Process) -> bool:
    """Whether it runs no more, also while the machine's init has yet to take note of that."""
    try:
        return not part.is_running() or part.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ports_of(part: psutil.Process) -> set[int]:
    """Where a process listens; nowhere where it has ended since it was found."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {
            connection.laddr.port
            for connection in part.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
    return set()


def test_ctrl_c_leaves_no_process_no_port_and_no_lease(platform: Platform) -> None:
    session = platform.start_session("alice", flavor="t4")
    parts = psutil.Process(platform.pid).children(recursive=True)
    used = {port for part in parts for port in ports_of(part)}
    assert session in platform.sessions()
    assert platform.leases() == ["SIM-t4-1"]

    assert platform.stop(signal.SIGINT) == 0

    assert platform.process.stdout is not None
    assert platform.process.stdout.read() == ""
    assert platform.sessions() == {}
    assert platform.leases() == []
    until(lambda: all(ended(part) for part in parts), "all have ended", 10)
    assert [port for port in used if listening(port)] == []
    journal = (platform.state / "journal" / "leases.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["type"] for line in journal.splitlines()] == ["start", "end"]


def test_a_second_ctrl_c_hurries(platform: Platform) -> None:
    hub = platform.child("jupyterhub")
    os.kill(hub, signal.SIGSTOP)  # it cannot end by itself now

    platform.process.send_signal(signal.SIGINT)
    until(lambda: "once more to hurry" in platform.said(), "it says what a second one does")
    platform.process.send_signal(signal.SIGINT)

    assert platform.process.wait(60) == 0
    assert not psutil.pid_exists(hub)


def test_told_to_stop_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "arcetri_hub", "up"),
            *("--port", str(ports.choose()), "--state", str(state)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: (state / "logs" / "proxy.log").exists() or _children(process), "it starts")
    parts = _children(process)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == 0
    assert [part for part in parts if part.is_running()] == []


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


# -- What survives -------------------------------------------------------------------------------


def test_killed_but_for_its_sessions_the_next_start_adopts_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as first:
        token = first.token("alice")
        session = first.start_session("alice", flavor="t4")
        before = first.servers()
        port = port_of(first.url)
        first.kill()
        assert first.servers() == before
        assert not listening(port)

        with running(state, port=port) as second:
            headers = {"Authorization": f"token {token}"}
            with httpx.Client(base_url=f"{second.url}/hub/api", headers=headers) as api:
                until(lambda: second.server(api, "alice").get("ready"), "the session is adopted")
            status = httpx.get(f"{second.url}/user/alice/api/status", headers=headers, timeout=60)

            assert status.status_code == 200
            assert second.servers() == before
            assert set(before) == {session}
            assert second.leases() == ["SIM-t4-1"]
            assert second.stop() == 0
            assert second.sessions() == {}
            assert second.leases() == []


def test_kept_sessions_run_on_and_are_adopted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state, "--keep-sessions") as first:
        session = first.start_session("alice", flavor="t4")
        before = first.servers()
        assert set(before) == {session}

        assert first.stop() == 0
        assert first.servers() == before

        with running(state) as second:
            with second.api("alice") as api:
                until(lambda: second.server(api, "alice").get("ready"), "the session is adopted")
            assert second.servers() == before
            assert second.leases() == ["SIM-t4-1"]


def test_fresh_ends_what_was_left_and_begins_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as first:
        first.start_session("alice", flavor="t4")
        (state / "storage/shared/home/alice/thesis.tex").write_text("E = mc2", encoding="utf-8")
        (orphan,) = first.servers().values()
        first.kill()
        assert psutil.pid_exists(orphan)

        with running(state, "--fresh") as second:
            assert not psutil.pid_exists(orphan)
            assert second.leases() == []
            assert second.rows("select * from arcetri_request") == []
            assert second.rows("select name from users") == []
            (kept,) = (state / "before-fresh").iterdir()
            assert f"are now in {kept}" in second.said()
            assert (kept / "profiles.yaml").exists()
            assert (kept / "storage/shared/home/alice/thesis.tex").read_text() == "E = mc2"
            assert not (state / "storage/shared/home/alice").exists()
            journal = (state / "journal/leases.jsonl").read_text(encoding="utf-8")
            assert [json.loads(line)["type"] for line in journal.splitlines()] == ["start", "end"]
            # In the new life numbers go on where they were: nothing is counted twice.
            second.start_session("alice", flavor="cpu")
            journal = (state / "journal/leases.jsonl").read_text(encoding="utf-8")
            assert [json.loads(line)["seq"] for line in journal.splitlines()] == [1, 2, 3]


def test_a_port_that_somebody_else_took_is_no_reason_to_lose_anything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as first:
        port = json.loads((state / MARKER).read_text(encoding="utf-8"))["ports"]["hub"]
        session = first.start_session("alice", flavor="cpu")
        first.kill()
        with socket.create_server(("127.0.0.1", port)):
            said = _refused(_up("--port", str(ports.choose()), "--state", str(state)))
            assert f"Port {port}" in said
            assert "1 running session" in said
            assert "--fresh" not in said
            assert list(first.sessions()) == [session]
            end_instance(json.loads((state / MARKER).read_text())["instance"], grace=0.0)

            with running(state) as second:
                assert second.start_session("alice", flavor="cpu") != session


def test_a_killed_hub_comes_back_and_sessions_do_not_notice(platform: Platform) -> None:
    token = platform.token("alice")
    platform.start_session("alice", flavor="t4")
    before = platform.servers()
    headers = {"Authorization": f"token {token}"}
    hub = platform.child("jupyterhub")

    os.kill(hub, signal.SIGKILL)
    until(lambda: "The hub ended unexpectedly" in platform.said(), "its end is noticed")
    # The single-user server's version needs no hub: the proxy still brings one there.
    assert httpx.get(f"{platform.url}/user/alice/api", timeout=60).status_code == 200
    until(lambda: "The hub is back" in platform.said(), "it is back")

    assert platform.child("jupyterhub") != hub
    assert platform.servers() == before
    with httpx.Client(base_url=f"{platform.url}/hub/api", headers=headers) as api:
        until(lambda: platform.server(api, "alice").get("ready"), "the session is adopted")
    status = httpx.get(f"{platform.url}/user/alice/api/status", headers=headers, timeout=60)
    assert status.status_code == 200


def test_a_killed_proxy_comes_back_with_its_routes(platform: Platform) -> None:
    platform.start_session("alice", flavor="t4")

    os.kill(platform.child("proxy"), signal.SIGKILL)
    until(lambda: "The proxy is back" in platform.said(), "it is back")

    address = f"{platform.url}/user/alice/api"
    until(lambda: "version" in httpx.get(address, timeout=60).text, "it knows the session again")


def test_a_killed_iam_comes_back_under_its_name(platform: Platform) -> None:
    os.kill(platform.child("arcetri_hub.devidp"), signal.SIGKILL)
    until(lambda: "The development IAM is back" in platform.said(), "it is back")

    with platform.login("alice") as client:
        assert client.get("/hub/home").status_code == 200


# -- Another IAM ---------------------------------------------------------------------------------


def test_a_real_iam_is_used_instead(tmp_path: Path, platform: Platform) -> None:
    """The development IAM of one platform is the institute's of another."""
    settings = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
    iam, port = settings["iam"], ports.choose()
    options = ["--issuer", iam["issuer"], "--client-id", iam["client_id"]]
    options += ["--client-secret-file", iam["client_secret_file"]]

    # Who is root must say that everybody's notebooks shall be root's too.
    options += ["--one-account"] if os.geteuid() == 0 else []

    with running(tmp_path / "other", *options, port=port) as other:
        assert other.users == []
        answer = httpx.get(f"{other.url}/hub/oauth_login", follow_redirects=False)
        assert answer.status_code == 302
        assert answer.headers["location"].startswith(iam["issuer"])
        with pytest.raises(LookupError):
            other.child("arcetri_hub.devidp")
