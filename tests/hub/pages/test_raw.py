"""Who may read what was said word for word: the sessions' user and the admins, nobody else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm

from arcetri_hub.pages.raw import may_read_details
from arcetri_spawner.policy.model import Identity, Standing
from tests.support.builders import catalog, identity


def asked_by(who: object, known: Identity | None = None) -> Any:
    """A handler of a request, as far as it matters here."""

    async def find(_: str) -> Identity:
        assert known is not None
        return known

    catalogs = SimpleNamespace(current=SimpleNamespace(catalog=catalog()))
    platform = SimpleNamespace(catalogs=catalogs, identities=SimpleNamespace(known=find))
    return SimpleNamespace(current_user=who, platform=platform)


@pytest.mark.parametrize(
    ("known", "may"),
    [
        (identity("/lab/admins", name="dario"), True),
        (identity("/lab/cms", name="dario"), False),
        (identity("/lab/admins", name="dario", standing=Standing.NOT_ADMITTED), False),
    ],
)
async def test_of_others_only_admins_may(known: Identity, may: bool) -> None:
    dario = SimpleNamespace(name="dario", admin=True)
    assert await may_read_details(asked_by(dario, known), "alice") is may


async def test_a_user_may_and_a_service_or_nobody_may_not() -> None:
    assert await may_read_details(asked_by(SimpleNamespace(name="alice")), "alice")
    assert not await may_read_details(asked_by(orm.Service(name="alice")), "alice")
    assert not await may_read_details(asked_by(None), "alice")
