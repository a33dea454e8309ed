"""The management page, as a browser without scripts uses it."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.iam import DevIam

pytestmark = pytest.mark.component


def press(iam: DevIam, form: str, /, **fields: str | list[str]) -> httpx.Response:
    """Send a form of the page, with its token, and return the page that follows."""
    page = iam.http.get(iam.issuer).text
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token is not None
    data: dict[str, str | list[str]] = {**fields, "form_token": token.group(1)}
    return iam.http.post(iam.url(form), data=data, follow_redirects=True)


def test_ticks_are_memberships_inherited_upwards(iam: DevIam) -> None:
    person = f"manage/people/{iam.sub('chiara')}"
    page = press(iam, person, action="groups", group=["arcetri/virgo"])
    assert 'role="status"' in page.text
    assert iam.user("chiara")["groups"] == ["arcetri", "arcetri/virgo"]
    press(iam, person, action="groups", group=["arcetri", "arcetri/virgo", "arcetri/cms/leads"])
    assert "arcetri/cms" in iam.user("chiara")["groups"]
    ticks = ["arcetri", "arcetri/virgo", "arcetri/cms/leads"]
    press(iam, person, action="groups", group=ticks)
    assert iam.user("chiara")["groups"] == ["arcetri", "arcetri/virgo"]
    press(iam, person, action="groups")
    assert iam.user("chiara")["groups"] == []


def test_every_button_of_a_person(iam: DevIam) -> None:
    sub = iam.sub("alice")
    person = f"manage/people/{sub}"
    press(iam, person, action="suspend")
    assert not iam.user(sub)["active"]
    press(iam, person, action="enable")
    assert iam.user(sub)["active"]
    press(iam, person, action="ask")
    assert not iam.user(sub)["policy_signed"]
    press(iam, person, action="sign")
    assert iam.user(sub)["policy_signed"]
    press(iam, person, action="rename", username="alicia")
    assert iam.user(sub)["username"] == "alicia"
    press(iam, person, action="delete")
    assert sub not in {user["sub"] for user in iam.state()["users"]}


def test_people_and_groups_can_be_added_and_the_demonstration_put_back(iam: DevIam) -> None:
    press(iam, "manage/directory", action="person", username="gina", display_name="Gina Galli")
    press(iam, "manage/directory", action="group", path="/arcetri/theory")
    assert "arcetri/theory" in iam.state()["groups"]
    assert iam.tokens("gina")["access_token"]
    iam.delete("alice")
    press(iam, "manage/directory", action="reset")
    assert iam.user("alice")["groups"] == ["arcetri", "arcetri/cms"]


def test_a_client_and_the_faults_can_be_changed(iam: DevIam) -> None:
    press(iam, f"manage/clients/{iam.client_id}", profile="wlcg", rotate="on", consent="on")
    client = iam.state()["clients"][0]
    assert (client["profile"], client["rotate_refresh_tokens"], client["consent"]) == (
        "wlcg",
        True,
        True,
    )
    press(
        iam,
        "manage/faults",
        action="fault",
        kind="error",
        path="/token",
        seconds="5",
        status="503",
        times="",
    )
    assert iam.state()["faults"] == [
        {"kind": "error", "path": "/token", "status": 503, "seconds": 5.0, "times": None}
    ]
    press(iam, "manage/faults", action="behave")
    assert iam.state()["faults"] == []
    kid = iam.state()["kid"]
    press(iam, "manage/keys", action="new")
    assert iam.state()["kid"] != kid


@pytest.mark.parametrize(
    ("path", "fields", "says"),
    [
        ("manage/people/nobody", {"action": "suspend"}, "no user"),
        ("manage/people/{alice}", {"action": "rename", "username": "bruno"}, "taken"),
        ("manage/people/{alice}", {"action": "rename", "username": " "}, "1 to 128"),
        ("manage/people/{alice}", {"action": "fly"}, "no such button"),
        ("manage/directory", {"action": "group", "path": "a//b"}, "no group path"),
        ("manage/clients/nobody", {"profile": "iam"}, "no such client"),
        ("manage/faults", {"kind": "error", "status": "200"}, "status"),
        ("manage/faults", {"kind": "dance"}, "kind"),
    ],
)
def test_a_mistake_is_a_sentence_on_the_page(
    iam: DevIam, path: str, fields: dict[str, str], says: str
) -> None:
    page = press(iam, path.format(alice=iam.sub("alice")), **fields)
    assert page.status_code in (409, 422)
    alert = re.search(r'role="alert">([^<]+)<', page.text)
    assert alert is not None
    assert says in alert.group(1)
