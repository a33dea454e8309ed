"""The routes' API is the library's; whoever has no secret can neither read nor change it."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

from arcetri_hub.up import ports
from tests.hub.proxy.wire import TOKEN, Proxy

pytestmark = pytest.mark.component


@pytest.mark.parametrize(
    "authorization", [None, "", "token", "token wrong", f"Bearer {TOKEN}", TOKEN]
)
def test_without_the_secret_nothing_is_read_or_changed(
    proxy: Proxy, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    address = f"http://127.0.0.1:{proxy.api_port}/api/routes"
    with httpx.Client(headers=headers, trust_env=False) as client:
        answers = [
            client.get(address),
            client.get(f"{address}/user/alice"),
            client.post(f"{address}/user/alice", json={"target": "http://127.0.0.1:1"}),
            client.delete(f"{address}/user/alice"),
        ]
    assert [answer.status_code for answer in answers] == [403] * 4
    with proxy.api() as api:
        assert api.get("").json() == {}


def test_the_api_is_not_where_browsers_are(proxy: Proxy) -> None:
    answer = httpx.get(
        f"{proxy.url}/api/routes", headers={"Authorization": f"token {TOKEN}"}, trust_env=False
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("secret", [None, ""])
def test_it_does_not_start_without_a_secret(secret: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if "CONFIGPROXY" not in key}
    if secret is not None:
        environment["CONFIGPROXY_AUTH_TOKEN"] = secret
    port = ports.choose()
    result = subprocess.run(
        [sys.executable, "-m", "arcetri_hub.proxy", "--port", str(port)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert "CONFIGPROXY_AUTH_TOKEN" in result.stderr
    assert "Traceback" not in result.stderr
