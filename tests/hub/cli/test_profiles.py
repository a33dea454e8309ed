from __future__ import annotations

import base64
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet

from arcetri_hub.auth.record import LoginRecord
from arcetri_hub.cli import main
from arcetri_hub.settings import IamSettings, ProxySettings, Settings
from arcetri_spawner.backends.local.nvml import Driver, Look
from arcetri_spawner.groups import GroupPath
from arcetri_spawner.policy.model import Standing
from tests.support.catalogs import DEMO, SHIPPED, edited

DEMO_FILE = str(SHIPPED / "demo.yaml")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["profiles", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(
        edited(("share: 1/7", "share: 1/11"), ("groups:\n  /arc", "groups:\n  /x: {}\n  /arc"))
    )
    return path


def test_check_prints_a_line_a_finding_and_fails_on_errors(bad: Path) -> None:
    done = run("check", "--profiles", bad)

    assert done.exit_code == 1
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{bad}:42:12: error: flavors.a100-1g.share: ")
    assert second.startswith(f"{bad}:77:3: warning: groups./x: grants nothing")
    assert "1 error, 1 warning" in done.stderr


def test_the_catalog_to_check_is_named_in_either_way(bad: Path) -> None:
    assert run("check", bad).stdout == run("check", "--profiles", bad).stdout != ""
    assert run("check", DEMO_FILE).exit_code == 0

    twice = run("check", bad, "--profiles", bad)
    assert twice.exit_code == 2
    assert "Name one catalog" in twice.output


def test_warnings_alone_do_not_fail(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(edited(("groups:\n  /arc", "groups:\n  /x: {}\n  /arc")))

    done = run("check", "--profiles", path)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)


def test_a_good_catalog_prints_nothing() -> None:
    done = run("check", "--profiles", DEMO_FILE)

    assert (done.exit_code, done.stdout) == (0, "")


def test_check_as_json(bad: Path) -> None:
    done = run("check", "--profiles", bad, "--format", "json")
    said = json.loads(done.stdout)

    assert done.exit_code == 1
    assert (said["errors"], said["warnings"], said["digest"]) == (1, 1, None)
    assert said["findings"][0]["field"] == "flavors.a100-1g.share"
    assert (said["findings"][0]["line"], said["findings"][0]["column"]) == (42, 12)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = run("check", "--profiles", tmp_path / "no.yaml")

    assert done.exit_code == 1
    assert "cannot be read: no such file" in done.stdout


def test_without_a_catalog_it_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("check")

    assert done.exit_code == 2
    assert "--profiles FILE" in done.stderr


def test_schema_checks_the_shipped_catalog() -> None:
    schema = json.loads(run("schema").stdout)

    jsonschema.validate(yaml.safe_load(DEMO), schema)


def test_explain_by_groups() -> None:
    done = run("explain", "--profiles", DEMO_FILE, "--groups", "arcetri/students, /arcetri/x")

    assert done.exit_code == 0
    offered, missing = done.stdout.split("Not offered:")
    assert "a100-1g: NVIDIA A100" in offered
    assert "t4: [flavor_not_granted]" in missing
    assert "/arcetri/cms" in missing


def test_explain_for_a_demonstration_user(tmp_path: Path) -> None:
    done = run("explain", "--profiles", DEMO_FILE, "--state", tmp_path, "--user", "bruno")

    assert done.exit_code == 0
    assert "bruno is in /arcetri, /arcetri/cms, /arcetri/virgo" in done.stdout


def test_explain_for_a_stranger_says_what_to_do(tmp_path: Path) -> None:
    done = run("explain", "--profiles", DEMO_FILE, "--state", tmp_path, "--user", "nobody")

    assert done.exit_code == 1
    assert "Nothing is known of nobody" in done.stderr
    assert "--groups" in done.stderr


@pytest.mark.parametrize("args", [[], ["--user", "a", "--groups", "/b"]])
def test_explain_wants_either_a_user_or_groups(args: list[str]) -> None:
    assert run("explain", "--profiles", DEMO_FILE, *args).exit_code == 2


def test_explain_refuses_what_is_no_group() -> None:
    done = run("explain", "--profiles", DEMO_FILE, "--groups", "/a//b")

    assert done.exit_code == 1
    assert "/a//b is not a group path" in done.stderr


def test_a_bad_catalog_is_not_explained(bad: Path) -> None:
    done = run("explain", "--profiles", bad, "--groups", "/a")

    assert (done.exit_code, done.stdout) == (1, "")
    assert "flavors.a100-1g.share" in done.stderr


def test_diff_names_who_gains_what(tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(edited(("t4: {quota: 2,", "t4: {quota: 3,")))

    assert run("diff", DEMO_FILE, new).stdout == "/arcetri/cms:\n  gains quota of t4: 2 -> 3\n"
    assert json.loads(run("diff", DEMO_FILE, new, "--format", "json").stdout) == [
        {"who": "/arcetri/cms", "gains": ["quota of t4: 2 -> 3"], "loses": [], "changes": []}
    ]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder in which one person has logged in, as JupyterHub keeps it."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "profiles.yaml").write_text(DEMO)
    key = bytes(range(32))
    (folder / "crypt").write_text(key.hex())
    settings = Settings(
        state_dir=folder,
        instance_id="0123456789abcdef",
        profiles=folder / "profiles.yaml",
        iam=IamSettings(
            issuer="https://iam.example.org/", client_id="x", client_secret_file=folder / "secret"
        ),
        proxy=ProxySettings(api_url="http://127.0.0.1:8001", token_file=folder / "token"),
        cookie_secret_file=folder / "cookie",
        crypt_key_file=folder / "crypt",
    )
    (folder / "settings.json").write_text(settings.model_dump_json())
    record = LoginRecord(
        account_id="a1",
        issuer="https://iam.example.org",
        sub="s1",
        label="marie",
        display_name="Marie",
        groups=(GroupPath("/arcetri/virgo"),),
        standing=Standing.ADMITTED,
        checked_at=datetime(2026, 11, 23, 9, tzinfo=UTC),
        refresh_token="very-secret",
    )
    kept = Fernet(base64.urlsafe_b64encode(key)).encrypt(json.dumps(record.dump()).encode())
    database = sqlite3.connect(folder / "arcetri.sqlite")
    with database:
        database.execute("CREATE TABLE users (name TEXT, encrypted_auth_state BLOB)")
        database.execute("INSERT INTO users VALUES ('marie', ?)", (kept,))
    database.close()
    return folder


def test_explain_knows_who_has_logged_in_and_the_catalog_in_use(state: Path) -> None:
    done = run("explain", "--state", state, "--user", "marie")

    assert done.exit_code == 0
    assert (
        "marie is in /arcetri/virgo, as https://iam.example.org said at 2026-11-23" in done.stdout
    )
    assert "v70: AMD Alveo V70" in done.stdout
    assert "very-secret" not in done.output


IMAGES = DEMO.replace("local: default", "image: a/b:1")


def test_explain_and_check_see_what_the_platform_would_refuse(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "look", lambda _: Look((), complete=True))
    (state / "profiles.yaml").write_text(IMAGES)

    done = run("explain", "--state", state, "--groups", "/arcetri/cms")

    assert done.exit_code == 0
    assert "Offered: nothing." in done.stdout
    offered, refused = done.stdout.split("Granted, but refused:")
    assert "t4: NVIDIA T4" in refused
    assert "environments: none; not installed here: python, ml" in refused
    assert "refused: [no_environment]" in refused
    assert "On this machine" in offered
    assert (
        "flavors.t4: goes with no environment that has local"
        in run("check", "--state", state).stdout
    )


def test_explain_asks_for_the_devices_that_the_platform_has(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "look", lambda _: Look((), complete=True))
    (state / "profiles.yaml").write_text(edited(("    v70: 1\n", "")))

    done = run("explain", "--state", state, "--user", "marie")
    assert "not now: [capacity_none] There is no AMD Alveo V70 here now." in done.stdout
    assert (
        "capacity"
        not in run("explain", "--state", state, "--user", "marie", "--where", "anywhere").stdout
    )


def test_a_new_catalog_is_explained_as_the_platform_would_take_it(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Driver, "look", lambda _: Look((), complete=True))
    new = tmp_path / "new.yaml"
    new.write_text(IMAGES)
    args = ("explain", "--profiles", new, "--groups", "/arcetri/cms")

    assert "[no_environment]" in run(*args, "--state", state).stdout
    assert "[no_environment]" in run(*args, "--state", tmp_path, "--where", "here").stdout
    alone = run(*args, "--state", tmp_path).stdout
    assert "[no_environment]" not in alone
    assert "environments: python (not on one machine: no local)" in alone


def test_only_the_platforms_own_catalog_is_checked_as_its(state: Path, tmp_path: Path) -> None:
    text = IMAGES[: IMAGES.index("local:  ")]
    (state / "profiles.yaml").write_text(text)
    other = tmp_path / "kubernetes.yaml"
    other.write_text(text)

    assert "on one machine" in run("check", "--state", state).stdout
    own = run("check", "--state", state, "--profiles", state / "profiles.yaml")
    assert "on one machine" in own.stdout
    assert run("check", "--state", state, "--profiles", other).stdout == ""


def test_settings_that_cannot_be_read_matter_only_where_they_are_needed(state: Path) -> None:
    (state / "settings.json").write_text("{")

    assert run("check", "--state", state).exit_code == 1
    assert run("check", "--state", state, "--profiles", DEMO_FILE).exit_code == 0


def test_a_real_iam_has_no_demonstration_users(state: Path) -> None:
    done = run("explain", "--state", state, "--user", "bruno")

    assert done.exit_code == 1
    assert "bruno has never logged in to the platform of" in done.stderr
