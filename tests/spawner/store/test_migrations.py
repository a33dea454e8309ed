from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from jupyterhub import orm
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from arcetri_spawner.errors import StoreError
from arcetri_spawner.store import Store, migrations
from arcetri_spawner.store.database import Database
from arcetri_spawner.store.migrate import RELEASES, VERSION_TABLE, go_back
from arcetri_spawner.store.tables import Base
from tests.support.builders import grant

MIGRATIONS = str(Path(migrations.__file__).parent)


def _is_ours(
    item: object, name: str | None, kind: str, reflected: bool, compare_to: object
) -> bool:
    del item, reflected, compare_to
    return kind != "table" or ((name or "").startswith("arcetri_") and name != VERSION_TABLE)


def test_the_migrations_make_the_tables_that_the_code_has(url: str) -> None:
    Store.open(url).close()
    database = Database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_object": _is_ours, "compare_type": True, "version_table": VERSION_TABLE},
        )
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_opening_again_changes_nothing(url: str) -> None:
    for _ in range(2):
        Store.open(url).close()
    database = Database(url)
    assert _revision(database)
    database.close()


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_hubs_own_tables_stay_beside_ours(url: str, ours_first: bool) -> None:
    hub_url = url.replace("postgresql:", "postgresql+psycopg:")

    def open_hub() -> tuple[str, ...]:
        # As the hub does at its start: it makes its tables and checks their version.
        session = orm.new_session_factory(hub_url)()
        rows = session.execute(text("SELECT version_num FROM alembic_version")).all()
        session.close()
        session.get_bind().dispose()
        return tuple(row[0] for row in rows)

    if ours_first:
        Store.open(url).close()
    before = open_hub()
    Store.open(url).close()
    assert open_hub() == before
    database = Database(url)
    tables = set(inspect(database.engine).get_table_names())
    database.close()
    assert {"spawners", "alembic_version", "arcetri_lease", VERSION_TABLE} <= tables


def test_every_migration_can_be_undone_and_done_again(url: str) -> None:
    """What an earlier version has no place for goes; the rest of a request stays."""
    store = Store.open(url)
    account = asyncio.run(store.account_for("https://iam.example/", "sub", "alice"))
    asked = grant(account_id=account.id, username=account.name)
    asyncio.run(store.open_request(asked))
    asyncio.run(store.mark(asked.request_id, "ended", reason="killed", details="OOMKilled"))
    store.close()

    database = Database(url)
    versions = [script.revision for script in ScriptDirectory(MIGRATIONS).walk_revisions()]
    assert len(versions) >= 3
    for version in versions[1:]:
        database.write(partial(_migrate, command.downgrade, version))
    columns = {column["name"] for column in inspect(database.engine).get_columns("arcetri_request")}
    assert not columns & {"details", "by_itself", "place"}
    database.close()

    store = Store.open(url)
    ended = asyncio.run(store.last_ended(account.id, ""))
    assert ended is not None
    assert (ended.reason, ended.details) == ("killed", "")
    store.close()


@pytest.mark.parametrize(("release", "revision"), RELEASES.items())
def test_an_earlier_versions_tables_are_brought_back_with_what_runs(
    url: str, release: str, revision: str
) -> None:
    store = Store.open(url)
    account = asyncio.run(store.account_for("https://iam.example/", "sub", "alice"))
    running, line = (
        grant(account_id=account.id, username=account.name, server_name=name) for name in ("", "b")
    )
    asyncio.run(store.open_request(running))
    asyncio.run(store.mark(running.request_id, "running"))
    asyncio.run(store.open_request(line))
    asyncio.run(store.mark(line.request_id, "waiting"))
    store.close()

    for _ in range(2):  # the second time there is nothing to do
        go_back(url, release)
        database = Database(url)
        script = ScriptDirectory(MIGRATIONS)
        assert _revision(database) == revision != script.get_current_head()
        database.close()

    store = Store.open(url)
    states = {row.grant: row.state for row in asyncio.run(store.live_requests())}
    assert states == {running: "running", line: "waiting"}
    store.close()


def test_there_is_no_way_back_for_what_is_no_store_and_for_what_is_too_new(url: str) -> None:
    with pytest.raises(StoreError, match="no tables of Arcetri") as caught:
        go_back(url, "0.1.0")
    assert caught.value.code == "store_url_invalid"
    Store.open(url).close()
    _written_by_a_later_version(url)
    with pytest.raises(StoreError) as caught:
        go_back(url, "0.1.0")
    assert caught.value.code == "store_too_new"


def _revision(database: Database) -> str:
    query = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
    return str(database.read(lambda db: db.execute(query).scalar_one()))


def _migrate(how: Callable[[Config, str], None], version: str, session: Session) -> None:
    config = Config()
    config.set_main_option("script_location", MIGRATIONS.replace("%", "%%"))
    config.attributes["connection"] = session.connection()
    how(config, version)


def test_hubs_that_open_at_the_same_instant_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for store in pool.map(lambda _: Store.open(url), range(4)):
            store.close()


def _written_by_a_later_version(url: str) -> None:
    database = Database(url)
    database.write(lambda db: db.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")))  # noqa: S608 - a constant
    database.close()


def test_a_database_of_a_later_version_is_refused(url: str) -> None:
    Store.open(url).close()
    _written_by_a_later_version(url)
    with pytest.raises(StoreError) as caught:
        Store.open(url)
    assert caught.value.code == "store_too_new"
