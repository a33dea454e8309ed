"""Hostile requests to the running platform: each is refused with a code and leaves nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from threading import Barrier
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcetri_hub.up.prepare import DEMO_CATALOG
from tests.hub.pages.web import untouched
from tests.support.platform import Platform, running, until, xsrf

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

VALID = {"flavor": "t4", "group": "/arcetri/cms", "environment": "python", "size": "small"}
"""What alice may start; the generator spoils one field of it, or more."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NASTY = [
    "", " t4", "t4 ", "T4", "v70", "t4\x00", "t4\n", "../t4", "{{7*7}}", "<script>1</script>",
    "/arcetri/virgo", "/arcetri", "/arcetri/cms/", "arcetri/cms/..", "/arcetri/cmss", "everyone",
    "' or 1=1 --", "%2e%2e", "\u202et4", "t4" * 5000, "null", "constructor", "__class__",
]  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NOT_A_STRING = JSON.filter(lambda value: value is not None and not isinstance(value, str))
# A group may be written without its leading slash or with one at its end: those are no trespass.
UNKNOWN = (st.sampled_from(NASTY) | st.text(max_size=40)).filter(
    lambda text: text.strip(" ").strip("/") not in {"", "arcetri/cms", "medium", *VALID.values()}
)


@st.composite
def hostile(draw: st.DrawFn) -> Any:
    """A choice that must be refused: at least half are valid but for one field."""
    match draw(st.integers(0, 5)):
        case 0 | 1:
            return VALID | {draw(st.sampled_from(sorted(VALID))): draw(UNKNOWN)}
        case 2 | 3:
            return VALID | {draw(st.sampled_from(sorted(VALID))): draw(NOT_A_STRING)}
        case 4:
            key = draw(st.text(min_size=1, max_size=20).filter(lambda name: name not in VALID))
            return VALID | {key: draw(JSON)}
        case _:
            return draw(
                st.lists(JSON, min_size=1, max_size=3) | st.integers() | st.text(min_size=1)
            )


def written(value: Any) -> list[str]:
    """A choice's value as a form's or an address's fields can write it."""
    if isinstance(value, list):
        return [text for item in value for text in written(item)]
    return [value if isinstance(value, str) else json.dumps(value)]


@st.composite
def hostile_fields(draw: st.DrawFn) -> list[tuple[str, str]]:
    """The same for fields, which are all texts: most are valid but for one."""
    match draw(st.integers(0, 5)):
        case 0 | 1 | 2:
            name = draw(st.sampled_from(sorted(VALID)))
            spoiled = draw(
                UNKNOWN
                | NOT_A_STRING.flatmap(
                    lambda value: st.sampled_from(written(value) or ["[]"])
                ).filter(lambda text: text not in {"", *VALID.values()})
            )
            fields = [*(VALID | {name: spoiled}).items()]
        case 3:
            name = draw(st.sampled_from(sorted(VALID)))
            fields = [*VALID.items(), (name, draw(UNKNOWN | st.just(VALID[name])))]
        case _:
            known = {*VALID, "_xsrf", "next"}
            name = draw(st.text(min_size=1, max_size=20).filter(lambda text: text not in known))
            fields = [*VALID.items(), (name, draw(st.text(min_size=1, max_size=20)))]
    return draw(st.permutations(fields))


@pytest.fixture(scope="module")
def alice(shared_platform: Platform) -> Iterator[httpx.Client]:
    with shared_platform.api("alice") as client:
        yield client


@pytest.fixture(scope="module")
def at_the_page(shared_platform: Platform) -> Iterator[httpx.Client]:
    """Alice at her browser."""
    with shared_platform.login("alice") as client:
        yield client


def nothing_remains(platform: Platform) -> None:
    """No lease, no process, no request, no folder, and no server of JupyterHub's."""
    untouched(platform)
    assert [path.name for path in (platform.state / "sessions").glob("*")] == []


def is_refusal(answer: httpx.Response) -> bool:
    """Refused, with a code, a sentence, and what to do."""
    body = answer.json()
    refused = answer.status_code in (400, 403, 413)
    return bool(refused and body["code"] and body["message"] and body["remedy"])


def is_refusal_on_the_page(page: httpx.Response) -> bool:
    """The same as a person reads it: a code, what is wrong, and what to do."""
    shown = re.findall(r'role="alert"[^>]*data-code="\w+"[^>]*>(.*?)</div>', page.text, re.DOTALL)
    words = [re.sub(r"<[^>]+>|\s+", " ", text) for text in shown]
    return page.status_code in (400, 403, 413) and any(text.count(".") > 1 for text in words)


TRIED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@TRIED
@given(choice=hostile())
def test_a_hostile_choice_by_rest_is_refused_and_leaves_nothing(
    shared_platform: Platform, alice: httpx.Client, choice: Any
) -> None:
    answer = alice.post("/users/alice/server", json=choice)

    assert is_refusal(answer), (answer.status_code, answer.text, choice)
    nothing_remains(shared_platform)


@TRIED
@given(fields=hostile_fields())
def test_a_hostile_form_is_refused_and_leaves_nothing(
    shared_platform: Platform, at_the_page: httpx.Client, fields: list[tuple[str, str]]
) -> None:
    page = at_the_page.post(
        "/hub/spawn", content=urlencode(fields), headers=xsrf(at_the_page) | FORM
    )

    assert is_refusal_on_the_page(page), (page.status_code, page.text, fields)
    nothing_remains(shared_platform)


@TRIED
@given(fields=hostile_fields() | st.just([*VALID.items()]), data=st.data())
def test_no_address_starts_anything_whatever_it_says(
    shared_platform: Platform,
    alice: httpx.Client,
    at_the_page: httpx.Client,
    fields: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    query = urlencode(fields)
    where = data.draw(st.sampled_from(["/hub/spawn", "/hub/spawn/alice", "/hub/spawn/alice/other"]))

    page = at_the_page.get(f"{where}?{query}")
    assert page.status_code == 200, (page.text, fields)
    assert "Start" in page.text
    # Neither does an address of a request that may start something, be its body empty or valid.
    body = data.draw(st.sampled_from([{}, VALID]))
    page = at_the_page.post(
        f"{where}?{query}", content=urlencode(body), headers=xsrf(at_the_page) | FORM
    )
    assert is_refusal_on_the_page(page), (page.status_code, page.text, fields)
    answer = alice.post(f"/users/alice/server?{query}", json=body)
    assert is_refusal(answer), (answer.status_code, answer.text, fields)
    nothing_remains(shared_platform)


def test_no_choice_is_not_the_choice_of_last_time(
    shared_platform: Platform, alice: httpx.Client
) -> None:
    shared_platform.start_session("alice", flavor="cpu")
    assert alice.delete("/users/alice/server").status_code in (202, 204)
    until(lambda: not shared_platform.server(alice, "alice"), "it has ended")
    until(lambda: not shared_platform.sessions(), "nothing of it runs")

    for body in (b"", b"{}", b'{"user_options": null}', b'{"display_name": "x"}'):
        answer = alice.post("/users/alice/server", content=body)

        assert is_refusal(answer), answer.text
        assert answer.json()["code"] == "flavor_required"
        for key in ("flavor", "t4", "cpu"):
            assert key in answer.json()["remedy"]
    untouched(shared_platform)


def test_ten_megabytes_are_refused_and_never_kept(
    shared_platform: Platform, alice: httpx.Client
) -> None:
    for _again in range(20):
        answer = alice.post("/users/alice/server", json=VALID | {"size": "x" * 10_000_000})

        assert is_refusal(answer)
        assert answer.status_code == 413
        assert answer.json()["code"] == "body_too_large"
    untouched(shared_platform)


def test_a_token_of_another_opens_nothing(shared_platform: Platform, alice: httpx.Client) -> None:
    for path in ("/users/bruno/server", "/users/bruno/servers/second"):
        answer = alice.post(path, json=VALID)
        assert answer.status_code in (403, 404)
        assert answer.json()["code"]
        assert answer.json()["remedy"]
    untouched(shared_platform)


def test_a_named_server_evades_no_limit(platform: Platform) -> None:
    """The catalog lets alice hold one T4 through her group: of many starts at once, one runs."""
    with platform.api("alice") as alice:
        paths = ["/users/alice/server", *(f"/users/alice/servers/n{n}" for n in range(4))]
        with ThreadPoolExecutor(len(paths)) as pool:
            answers = list(pool.map(lambda path: alice.post(path, json=VALID), paths))
        accepted = [a for a in answers if a.status_code in (201, 202)]

        assert len(platform.leases()) == 1, [a.text for a in answers]
        assert len(platform.rows("select id from arcetri_request where state != 'ended'")) == 1
        assert all(a.json()["code"] for a in answers if a not in accepted)


def test_two_people_never_take_one_device(tmp_path: Path) -> None:
    """Alice and bruno, of one group that has the quota for both, ask for the only T4 at once.

    One has it, the other one waits, and has it when the first has ended.
    """
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(DEMO_CATALOG.read_text().replace("    t4: 2\n", "    t4: 1\n"))
    with (
        running(tmp_path / "state", "--profiles", str(profiles)) as platform,
        platform.api("alice") as alice,
        platform.api("bruno") as bruno,
    ):
        people = {"alice": alice, "bruno": bruno}
        for turn in range(4):
            together = Barrier(2)

            def ask(name: str, api: httpx.Client, together: Barrier = together) -> Any:
                together.wait(30)
                return api.post(f"/users/{name}/server", json=VALID)

            with ThreadPoolExecutor(2) as pool:
                asked = {name: pool.submit(ask, name, api) for name, api in people.items()}
                answers = {name: future.result() for name, future in asked.items()}
            for name, api in people.items():
                until(
                    lambda name=name, api=api: not platform.server(api, name).get("pending"),
                    "it is decided",
                )
            winners = {row[0] for row in platform.rows(HOLDS)}
            assert len(winners) == 1, {name: a.text for name, a in answers.items()}
            assert platform.leases() == ["SIM-t4-1"]
            assert len(platform.sessions()) == 1
            (loser,) = set(answers) - winners
            said = answers[loser].json()
            assert (answers[loser].status_code, said["state"]) == (202, "queued"), turn
            assert said["place"] == 1

            (winner,) = winners
            people[winner].delete(f"/users/{winner}/server")
            until(lambda loser=loser: runs(platform, loser), "the other one starts by itself")
            assert platform.leases() == ["SIM-t4-1"]
            people[loser].delete(f"/users/{loser}/server")
            until(lambda: not platform.sessions() and not platform.leases(), "it has ended")
            until(
                lambda: not platform.rows("select id from spawners where server_id is not null"),
                "and JupyterHub knows",
            )


HOLDS = "select username from arcetri_request where state in ('admitted', 'starting', 'running')"


def runs(platform: Platform, name: str) -> bool:
    """Whether a person's session runs, and JupyterHub has it."""
    with platform.api(name) as api:
        return bool(platform.server(api, name).get("ready"))


def suspend(platform: Platform, name: str) -> None:
    """What an administrator of IAM does."""
    settings_file = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
    httpx.patch(
        f"{settings_file['iam']['issuer']}dev/api/users/{name}",
        json={"active": False},
        trust_env=False,
    ).raise_for_status()


@contextmanager
def service(platform: Platform) -> Iterator[httpx.Client]:
    """A service of JupyterHub's, with a token of its own."""
    token = token_urlsafe()
    with platform.api("dario") as admin:
        made = admin.post("/services/robot", json={"api_token": token, "admin": True})
        assert made.status_code == 201, made.text
    headers = {"Authorization": f"token {token}"}
    with httpx.Client(base_url=f"{platform.url}/hub/api", headers=headers, timeout=60) as client:
        yield client


def test_whoever_starts_it_nobody_starts_whom_iam_no_longer_admits(platform: Platform) -> None:
    with platform.api("alice") as alice, platform.api("dario") as admin, service(platform) as robot:
        # All of them may, until then: by the last one, to the very moment.
        for asker in (alice, admin, robot):
            answer = asker.post("/users/alice/server", json={"flavor": "cpu"})
            assert answer.status_code in (201, 202), answer.text
            until(lambda: platform.server(alice, "alice").get("ready"), "it is ready")
            asker.delete("/users/alice/server")
            until(
                lambda: not platform.rows("select id from spawners where server_id is not null"),
                "it has ended",
            )
        suspend(platform, "alice")

        for asker in (robot, admin, alice):
            answer = asker.post("/users/alice/server", json={"flavor": "cpu"})
            assert answer.status_code == 403, answer.text
            assert answer.json()["code"] == "not_admitted"
            assert is_refusal(answer)
            assert '"alice"' in answer.json()["message"]
    untouched(platform)


def test_whom_an_admin_made_is_told_to_log_in_first(platform: Platform) -> None:
    with platform.api("dario") as admin:
        admin.post("/users/zoe").raise_for_status()
        answer = admin.post("/users/zoe/server", json={"flavor": "cpu"})
    assert (answer.status_code, answer.json()["code"]) == (403, "never_logged_in")
    assert '"zoe" has never logged in' in answer.json()["message"]
    assert "log in" in answer.json()["remedy"]
    untouched(platform)
