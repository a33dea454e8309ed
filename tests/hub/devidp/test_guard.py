"""Other web sites stay out, and what people are called stays text."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.iam import Browser, DevIam

pytestmark = pytest.mark.component


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil:1", "[::2]", "", "["]
)
@pytest.mark.parametrize("path", ["", "jwk", "dev/api/state", "healthz"])
def test_a_host_that_is_not_this_machine_is_refused(iam: DevIam, host: str, path: str) -> None:
    answer = iam.http.get(iam.url(path), headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert "muon" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_names_of_this_machine_are_accepted_with_any_port(iam: DevIam, host: str) -> None:
    answer = iam.http.get(iam.url("healthz"), headers={"Host": f"{host}:8123"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_the_api_refuses_what_a_browser_sends_for_another_site(
    iam: DevIam, headers: dict[str, str]
) -> None:
    answer = iam.http.patch(iam.url("dev/api/users/alice"), json={"active": False}, headers=headers)
    assert answer.status_code == 403
    assert iam.user("alice")["active"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_the_api_takes_json_only(iam: DevIam, media_type: str) -> None:
    answer = iam.http.post(
        iam.url("dev/api/reset"), content=b"{}", headers={"Content-Type": media_type}
    )
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("users/alice", b'{"active": "perhaps"}'),
        ("users/alice", b'{"admin": true}'),
        ("users/alice", b"[" * 100_000),
        ("users/alice", b"not json"),
        ("users/alice", b'{"groups": ["/a//b"]}'),
        ("users/alice", b'{"username": "bruno"}'),
        ("users/nobody", b'{"active": true}'),
        ("clients/arcetri-hub", b'{"access_lifetime": 0}'),
    ],
)
def test_what_the_api_cannot_do_is_a_sentence_and_changes_nothing(
    iam: DevIam, path: str, body: bytes
) -> None:
    before = iam.state()["users"]
    answer = iam.http.patch(
        iam.url(f"dev/api/{path}"), content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in (404, 409, 422)
    assert answer.json()["error"]
    assert iam.state()["users"] == before


def test_the_api_shows_no_secret(iam: DevIam) -> None:
    text = iam.http.get(iam.url("dev/api/state")).text
    assert iam.client_secret not in text
    assert "PRIVATE KEY" not in text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("manage/people/{alice}", {"action": "delete"}),
        ("manage/directory", {"action": "reset"}),
        ("manage/clients/arcetri-hub", {"profile": "kc"}),
        ("manage/faults", {"action": "fault", "kind": "error"}),
        ("manage/keys", {"action": "new"}),
        ("login", {"username": "alice", "password": "muon"}),
        ("authorize", {"decision": "sign"}),
    ],
)
@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_form_that_another_site_made_is_refused(
    iam: DevIam, path: str, form: dict[str, str], token: str
) -> None:
    before = iam.state()
    url = iam.url(path.format(alice=iam.sub("alice")))
    answer = iam.http.post(url, data={**form, "form_token": token})
    assert answer.status_code == 403
    after = iam.state()
    for key in ("users", "clients", "faults", "kid"):
        assert after[key] == before[key]


def test_even_a_form_with_the_right_token_must_come_from_here(iam: DevIam) -> None:
    page = iam.http.get(iam.issuer).text
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token is not None
    answer = iam.http.post(
        iam.url("manage/keys"),
        data={"form_token": token.group(1), "action": "new"},
        headers={"Origin": "http://evil.example"},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["", "login", "authorize"])
def test_pages_run_no_script_and_load_nothing_from_elsewhere(iam: DevIam, path: str) -> None:
    answer = iam.http.get(iam.url(path))
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.text
    assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []


def test_forms_may_end_at_the_hub(iam: DevIam) -> None:
    policy = iam.http.get(iam.url("login")).headers["Content-Security-Policy"]
    assert "form-action 'self' http://127.0.0.1:9;" in policy


HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}\"'"


def test_names_and_groups_are_shown_as_text(iam: DevIam) -> None:
    iam.add_user(HOSTILE, ["/arcetri/<b>bold"], display_name=HOSTILE)
    try:
        with Browser() as browser:
            page = browser.get(iam.authorize_url("x" * 43, state=HOSTILE))
            wrong = browser.submit(page, username=HOSTILE, password="no")
            iam.configure(consent=True)
            consent = browser.submit(wrong, username=HOSTILE, password="demo")
        for answer in (iam.http.get(iam.issuer), wrong, consent):
            assert "<img" not in answer.text
            assert "<b>" not in answer.text
            assert "{{7*7}}" in answer.text
    finally:
        iam.delete(iam.sub(HOSTILE))


def test_a_huge_body_is_refused(iam: DevIam) -> None:
    try:
        answer = iam.http.post(iam.url("token"), content=b"a" * 1_000_000)
    except httpx.TransportError:
        return  # it hung up before all of it was sent
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("users", {"password": "x"}, ["username is missing."]),
        (
            "users",
            {"username": 3, "groups": "cms", "nick": "a"},
            [
                "username should be a valid string.",
                "groups should be a valid list.",
                "nick is not known here; the fields are: username, password, display_name, groups.",
            ],
        ),
        ("users", [], ["What was sent should be a valid dictionary"]),
        ("faults", {"kind": "dance"}, ["kind should be "]),
    ],
)
def test_bad_input_is_said_a_sentence_a_field(
    iam: DevIam, path: str, body: object, says: list[str]
) -> None:
    answer = iam.http.post(iam.url(f"dev/api/{path}"), json=body)

    assert answer.status_code == 422
    error = answer.json()["error"]
    for sentence in says:
        assert sentence in error
    assert "pydantic" not in error.lower()
    assert "\n" not in error
