from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from arcetri_hub.cli import main
from arcetri_hub.settings import SETTINGS_VARIABLE, IamSettings, Settings
from arcetri_hub.up import ports
from arcetri_spawner.store import Store
from arcetri_spawner.store.database import Database
from arcetri_spawner.store.migrate import RELEASES


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["database", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A platform's that does not run, with a database of this version."""
    (tmp_path / "catalog").write_text("version: 1\n")
    found = Settings(
        state_dir=tmp_path,
        instance_id="0" * 8,
        profiles=tmp_path / "catalog",
        hub_port=ports.choose(),
        iam=IamSettings(
            issuer="http://127.0.0.1:1/",
            client_id="arcetri",
            client_secret_file=tmp_path / "none",
        ),
    )
    (tmp_path / "settings.json").write_text(found.model_dump_json())
    Store.open(found.database_url).close()
    return found


def revision(settings: Settings) -> str:
    database = Database(settings.database_url)
    with database.engine.connect() as connection:
        found = connection.exec_driver_sql("select version_num from arcetri_alembic_version")
        version = str(found.scalar_one())
    database.close()
    return version


def test_the_tables_of_a_state_folder_are_taken_back(settings: Settings) -> None:
    done = run("back", "0.1.0", "--state", settings.state_dir)

    assert (done.exit_code, done.output) == (
        0,
        "The tables are those of 0.1.0: go back to it now.\n",
    )
    assert revision(settings) == RELEASES["0.1.0"]


def test_a_hubs_own_settings_come_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTINGS_VARIABLE, str(settings.state_dir / "settings.json"))

    assert run("back", "0.1.0", "--state", "/nonexistent").exit_code == 0
    assert revision(settings) == RELEASES["0.1.0"]


def test_nothing_is_taken_back_beside_a_hub(settings: Settings) -> None:
    before = revision(settings)
    with socket.create_server(("127.0.0.1", settings.hub_port)):
        done = run("back", "0.1.0", "--state", settings.state_dir)

    assert done.exit_code == 1
    assert f"A hub answers at 127.0.0.1:{settings.hub_port}" in done.output
    assert "database.backTo" in done.output
    assert revision(settings) == before


def test_it_is_said_where_there_is_no_platform_and_which_versions_there_are(tmp_path: Path) -> None:
    done = run("back", "0.1.0", "--state", tmp_path)
    assert (done.exit_code, "is no state folder of a platform" in done.output) == (1, True)

    done = run("back", "0.0.9", "--state", tmp_path)
    assert (done.exit_code, "'0.1.0'" in done.output) == (2, True)
