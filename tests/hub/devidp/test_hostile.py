"""Whatever is sent, the answer is one of the protocol's: no crash, no code for free."""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_hub.devidp.app import build
from arcetri_hub.devidp.directory import restore_demo
from arcetri_hub.devidp.keys import make_key
from arcetri_hub.devidp.models import DEFAULT_SCOPES, Client, State
from arcetri_hub.devidp.provider import Provider
from arcetri_hub.devidp.site import COOKIE, Site
from tests.support.iam import challenge_of

CALLBACK = "http://127.0.0.1:9/cb"
VERIFIER = secrets.token_urlsafe(48)
GOOD = {
    "response_type": "code",
    "client_id": "hub",
    "redirect_uri": CALLBACK,
    "scope": "openid profile offline_access",
    "state": "s",
    "nonce": "n",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}
REDEEM = {
    "grant_type": "authorization_code",
    "code": "c",
    "redirect_uri": CALLBACK,
    "code_verifier": VERIFIER,
    "refresh_token": "r",
    "client_id": "hub",
    "client_secret": "a-secret",
    "scope": "openid",
}
VALUES = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from(["", "none", "*", "openid openid", "\x00", "é", '"', "//evil", "code token"]),
)


@pytest.fixture(scope="module")
def site() -> Site:
    state = State(key=make_key("rsa1"))
    restore_demo(state, 1)
    client = Client(
        client_id="hub",
        secret="a-secret",
        name="hub",
        redirect_uris=[CALLBACK],
        scopes=[*DEFAULT_SCOPES, "iam"],
    )
    state.clients = [client]
    return Site(Provider("http://127.0.0.1:1/", state))


def ask(site: Site, method: str, path: str, *, cookie: str = "", body: str = "") -> httpx.Response:
    """One request to the application, in this process; an exception in it is raised here."""

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(build(site))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            if cookie:
                headers["Cookie"] = f"{COOKIE}={cookie}"
            return await http.request(method, path, content=body, headers=headers)

    return asyncio.run(asked())


def spoil(good: dict[str, str], field: str, value: str | None) -> str:
    changed: dict[str, str | None] = {**good, field: value}
    return urlencode({name: text for name, text in changed.items() if text is not None})


def test_the_unspoilt_request_gets_a_code(site: Site) -> None:
    cookie = site.provider.open_session(site.provider.state.users[0])
    answer = ask(site, "GET", f"/authorize?{urlencode(GOOD)}", cookie=cookie)
    assert "code=" in answer.headers["Location"]


@settings(deadline=None, max_examples=150)
@given(field=st.sampled_from(sorted({*GOOD, "prompt", "aud"})), value=VALUES)
def test_a_login_request_with_one_field_wrong(site: Site, field: str, value: str | None) -> None:
    cookie = site.provider.open_session(site.provider.state.users[0])
    answer = ask(site, "GET", f"/authorize?{spoil(GOOD, field, value)}", cookie=cookie)
    assert answer.status_code in (302, 400, 401)
    location = answer.headers.get("Location", "")
    if answer.status_code == 302 and not location.startswith("/login?"):
        assert location.startswith(CALLBACK + "?")
        told = parse_qs(urlsplit(location).query)
        if "code" in told:
            assert field not in ("client_id", "response_type", "code_challenge_method") or (
                value == GOOD.get(field)
            )


@settings(deadline=None, max_examples=150)
@given(
    grant=st.sampled_from(["authorization_code", "refresh_token"]),
    field=st.sampled_from(sorted(REDEEM)),
    value=VALUES,
)
def test_a_token_request_with_one_field_wrong(
    site: Site, grant: str, field: str, value: str | None
) -> None:
    body = spoil({**REDEEM, "grant_type": grant}, field, value)
    answer = ask(site, "POST", "/token", body=body)
    assert answer.status_code in (400, 401)
    assert answer.json()["error"]
    assert "access_token" not in answer.json()


@settings(deadline=None, max_examples=60)
@given(token=st.text(max_size=60), path=st.sampled_from(["/introspect", "/revoke"]))
def test_any_token_can_be_asked_about(site: Site, token: str, path: str) -> None:
    body = urlencode({"token": token, "client_id": "hub", "client_secret": "a-secret"})
    answer = ask(site, "POST", path, body=body)
    assert answer.status_code == 200
