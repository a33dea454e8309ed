from collections.abc import Iterator

import pytest

from tests.hub.proxy.wire import Proxy, running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One proxy for a module's tests; nothing it was asked may have upset it."""
    with running(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy
    assert "Traceback" not in proxy.said(), proxy.said()


@pytest.fixture
def proxy(shared: Proxy) -> Proxy:
    assert shared.process.poll() is None, shared.said()
    return shared
