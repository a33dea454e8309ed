"""What is refused on the page and by REST: with code and remedy, and leaving nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from arcetri_hub.pages.body import BODY_LIMIT
from tests.hub.pages.web import action, ask, beside, checked, refusals, untouched
from tests.support.platform import Platform, xsrf

pytestmark = pytest.mark.component

CMS, VIRGO = "/arcetri/cms", "/arcetri/virgo"

REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({}, 403, "flavor_required", "flavor"),
    ({"flavor": "h100"}, 403, "flavor_not_granted", "flavor"),
    ({"flavor": "<script>alert(1)</script>"}, 403, "flavor_not_granted", "flavor"),
    ({"flavor": "t4"}, 403, "group_required", "group"),
    ({"flavor": "t4", "group": "/arcetri/students"}, 403, "group_not_yours", "group"),
    ({"flavor": "v70", "group": CMS}, 403, "group_does_not_grant", "group"),
    (
        {"flavor": "t4", "group": CMS, "environment": "no"},
        403,
        "environment_unknown",
        "environment",
    ),
    (
        {"flavor": "cpu", "environment": "ml"},
        403,
        "environment_not_for_flavor",
        "environment",
    ),
    ({"flavor": "cpu", "size": "{{ 7*7 }}"}, 403, "size_unknown", "size"),
    ({"flavor": "cpu", "volumes": "home"}, 400, "invalid_options", ""),
    ({"flavor": "cpu\n"}, 400, "invalid_options", ""),
    ({"flavor": "c" * 2000}, 400, "invalid_options", ""),
]


def as_json(client: httpx.Client) -> dict[str, str]:
    return {**xsrf(client), "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def bruno(shared_platform: Platform) -> Iterator[httpx.Client]:
    with shared_platform.login("bruno") as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_remains(shared_platform: Platform) -> Iterator[None]:
    yield
    untouched(shared_platform)


@pytest.mark.parametrize(("fields", "status", "code", "field"), REFUSED)
def test_the_form_says_why_beside_the_field(
    bruno: httpx.Client, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    page = ask(bruno, fields)
    assert (page.status_code, refusals(page)) == (status, [code])
    assert beside(page) == ([field] if field else [])
    assert "<script>alert(1)" not in page.text
    assert "Traceback" not in page.text


@pytest.mark.parametrize(("fields", "status", "code", "field"), REFUSED)
def test_rest_refuses_the_same_for_the_same_reason(
    bruno: httpx.Client, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    del field
    answer = bruno.post("/hub/api/users/bruno/server", json=fields, headers=xsrf(bruno))
    said = answer.json()
    assert (answer.status_code, said["code"], said["status"]) == (status, code, status)
    assert said["message"]
    assert said["remedy"]


def test_choices_are_kept_when_the_form_is_shown_again(bruno: httpx.Client) -> None:
    page = ask(bruno, {"flavor": "a100-1g", "size": "medium", "environment": "no"})
    assert checked(page, "flavor") == ["a100-1g"]
    assert checked(page, "size") == ["medium"]


def test_a_field_sent_twice_is_refused(bruno: httpx.Client) -> None:
    page = bruno.post(
        action(bruno.get("/hub/spawn")),
        content="flavor=cpu&flavor=t4",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (page.status_code, refusals(page)) == (400, ["invalid_options"])


def test_an_uploaded_file_is_refused(bruno: httpx.Client) -> None:
    files = {"flavor_file": ("x.txt", b"cpu")}
    page = bruno.post(action(bruno.get("/hub/spawn")), data={"flavor": "cpu"}, files=files)
    assert (page.status_code, refusals(page)) == (400, ["invalid_options"])


@pytest.mark.parametrize("body", ["[]", "null", "3", '"t4"', "{", '{"flavor":["t4"]}', "[" * 30000])
def test_a_body_that_is_no_choice_is_refused(bruno: httpx.Client, body: str) -> None:
    answer = bruno.post("/hub/api/users/bruno/server", content=body, headers=as_json(bruno))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_options")


@pytest.mark.parametrize(
    "body",
    [
        {"display_name": "x", "flavor": "cpu"},
        {"user_options": ["cpu"]},
        {"user_options": {"flavor": 1}},
        {"display_name": 1, "user_options": {"flavor": "cpu"}},
    ],
)
def test_jupyterhubs_two_ways_to_write_options_do_not_mix(
    bruno: httpx.Client, body: dict[str, Any]
) -> None:
    path = "/hub/api/users/bruno/servers/mixed"
    for method in ("POST", "PUT"):
        answer = bruno.request(method, path, json=body, headers=xsrf(bruno))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_options")


def _chunks(size: int) -> Iterator[bytes]:
    yield b'{"flavor":"'
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b'"}'


@pytest.mark.parametrize("size", [BODY_LIMIT, 10_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_is_refused_by_its_length(
    bruno: httpx.Client, size: int, chunked: bool
) -> None:
    body: Any = _chunks(size) if chunked else b"".join(_chunks(size))
    answer = bruno.post("/hub/api/users/bruno/server", content=body, headers=as_json(bruno))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_long_form_is_refused_by_its_length(bruno: httpx.Client) -> None:
    page = ask(bruno, {"flavor": "x" * BODY_LIMIT})
    assert (page.status_code, refusals(page)) == (413, ["body_too_large"])


GETS = [
    "/hub/spawn?flavor=cpu",
    "/hub/spawn?flavor=cpu&environment=python&size=small&group=everyone&_xsrf=1",
    "/hub/spawn?opt-flavor=cpu",
    "/hub/spawn/bruno?flavor=cpu",
    "/hub/spawn/bruno/other?flavor=cpu",
    "/hub/spawn?flavor=cpu&next=/hub/home",
    "/hub/user/bruno/lab?flavor=cpu",
    "/user/bruno/lab",
    "/hub/user-redirect/lab?flavor=cpu",
    "/hub/spawn-pending/bruno?flavor=cpu",
    "/hub/arcetri/new?name=other",
    "/hub/arcetri/offers?flavor=cpu",
    "/hub/arcetri/stop/bruno",
    "/hub/api/users/bruno/server",
]


@pytest.mark.parametrize("path", GETS)
def test_no_get_starts_anything(bruno: httpx.Client, path: str) -> None:
    answer = bruno.get(path, follow_redirects=True)
    assert answer.status_code in (200, 403, 404, 405, 424)


def test_a_link_preselects(bruno: httpx.Client) -> None:
    page = bruno.get(f"/hub/spawn?flavor=t4&environment=ml&size=medium&group={VIRGO}")
    chosen = [checked(page, name) for name in ("flavor", "environment", "size", "group")]
    assert chosen == [["t4"], ["ml"], ["medium"], [VIRGO]]


@pytest.mark.parametrize("path", ["/hub/spawn", "/hub/arcetri/stop/bruno"])
def test_a_form_without_its_token_is_refused(bruno: httpx.Client, path: str) -> None:
    assert bruno.post(path, data={"flavor": "cpu"}).status_code == 403


@pytest.mark.parametrize(
    "name", ["../x", "a%2Fb", "x" * 300, "é", "%3Cb%3E", "a%20b", "%00", "user%3Fx"]
)
def test_a_name_that_is_none_makes_no_server(bruno: httpx.Client, name: str) -> None:
    answer = bruno.post(
        f"/hub/api/users/bruno/servers/{name}", json={"flavor": "cpu"}, headers=xsrf(bruno)
    )
    assert answer.status_code in (400, 403, 404)
    assert "_xsrf" not in answer.text
    token = action(bruno.get("/hub/spawn")).partition("?")[2]
    page = bruno.post(f"/hub/spawn/bruno/{name}?{token}", data={"flavor": "cpu"})
    assert page.status_code in (400, 403, 404)
    assert "<b>" not in page.text


def test_another_persons_pages_are_closed(bruno: httpx.Client) -> None:
    token = action(bruno.get("/hub/spawn")).partition("?")[2]
    for path in ("/hub/spawn/alice", "/hub/arcetri/offers?user=alice", "/hub/spawn-pending/alice"):
        assert bruno.get(path).status_code in (403, 404)
    for path in ("/hub/spawn/alice", "/hub/arcetri/stop/alice", "/hub/arcetri/remove/alice/x"):
        assert bruno.post(f"{path}?{token}", data={"flavor": "cpu"}).status_code in (403, 404)
    answer = bruno.post("/hub/api/users/alice/server", json={}, headers=xsrf(bruno))
    assert answer.status_code in (403, 404)
    assert set(answer.json()) == {"status", "code", "message", "remedy"}


COUNTED: list[tuple[str, dict[str, Any]]] = [
    ("flavor_not_granted", {"json": {"flavor": "h100"}}),
    ("invalid_options", {"json": {"flavor": ["cpu"]}}),
    ("invalid_options", {"content": "no JSON"}),
    ("invalid_options", {"json": {"flavor": "cpu"}, "params": {"flavor": "t4"}}),
    ("body_too_large", {"json": {"flavor": "x" * BODY_LIMIT}}),
]


@pytest.mark.parametrize(("code", "request_"), COUNTED)
def test_refusals_are_counted(
    shared_platform: Platform, bruno: httpx.Client, code: str, request_: dict[str, Any]
) -> None:
    def counted() -> float:
        with shared_platform.login("dario") as admin:
            text = admin.get("/hub/metrics").text
        wanted = f'arcetri_request_refuse_total{{code="{code}"}} '
        return next(float(line.split()[1]) for line in text.splitlines() if wanted in line)

    before = counted()
    answer = bruno.post("/hub/api/users/bruno/server", headers=xsrf(bruno), **request_)
    assert answer.json()["code"] == code
    assert counted() == before + 1


def test_the_live_numbers_are_those_of_the_page(bruno: httpx.Client) -> None:
    answer = bruno.get("/hub/arcetri/offers")
    page = bruno.get("/hub/spawn").text
    assert json.loads(answer.text)["refusals"] == []
    for offer in answer.json()["offers"]:
        assert offer["free"] == f"{offer['startable']} of {offer['total']} free for you now"
        assert offer["free"] in page
