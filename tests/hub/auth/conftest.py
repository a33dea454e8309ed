"""One IAM and one hub a module, put back to how they were before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hub.auth.hub_process import ADMINS, ALLOWED
from tests.hub.auth.sites import Site, new_site
from tests.support.iam import SCOPE


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("auth")
    # One scope more than the default: the aarc form needs it, and the others do not mind.
    scope = [*SCOPE.split(), "eduperson_entitlement"]
    with new_site(folder, scope=scope) as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Site:
    _site.iam.clear_faults()
    _site.iam.reset()
    _site.iam.configure(profile="iam", rotate_refresh_tokens=False)
    _site.hub.catalog(ALLOWED, ADMINS)
    return _site
