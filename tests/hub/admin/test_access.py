from __future__ import annotations

import pytest

from arcetri_hub.pages.admin.access import check_admin
from arcetri_spawner.errors import Denied
from arcetri_spawner.policy.model import Standing
from tests.support.builders import catalog, identity


@pytest.mark.parametrize("standing", [Standing.ADMITTED, Standing.UNKNOWN])
def test_members_of_the_catalogs_admins_may(standing: Standing) -> None:
    check_admin(catalog(), identity("/lab/admins", standing=standing))


@pytest.mark.parametrize("group", ["/lab", "/lab/admins2", "/lab/admins/x", "/admins", "/lab/cms"])
def test_nobody_else_may_and_is_told_which_group_could(group: str) -> None:
    with pytest.raises(Denied) as refused:
        check_admin(catalog(), identity(group))
    assert refused.value.code == "not_admin"
    assert "/lab/admins" in refused.value.remedy


def test_who_is_not_admitted_any_more_may_not() -> None:
    with pytest.raises(Denied) as refused:
        check_admin(catalog(), identity("/lab/admins", standing=Standing.NOT_ADMITTED))
    assert refused.value.code == "not_admitted"


def test_without_admins_the_remedy_names_the_edit() -> None:
    with pytest.raises(Denied) as refused:
        check_admin(catalog(site={"admins": ()}), identity("/lab/cms"))
    assert "site.admins" in refused.value.remedy
