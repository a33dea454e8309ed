"""Hostile requests to the running platform: each is refused with a code and leaves nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.platform import Platform

pytestmark = [pytest.mark.component, pytest.mark.timeout(600)]

VALID = {"flavor": "t4", "group": "/arcetri/cms", "environment": "python", "size": "small"}
"""What alice may start; the generator spoils one field of it, or more."""

REUSE = 6
"""Seconds after which no answer of IAM serves again."""

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


@pytest.fixture(scope="module")
def alice(shared_platform: Platform) -> Iterator[httpx.Client]:
    with shared_platform.api("alice") as client:
        yield client


def nothing_remains(platform: Platform) -> None:
    assert platform.leases() == []
    assert platform.sessions() == {}
    assert platform.rows("select id from arcetri_request where state != 'ended'") == []


def is_refusal(answer: httpx.Response) -> bool:
    """Refused, with a code and a sentence."""
    body = answer.json()
    return bool(answer.status_code in (400, 403, 413) and body["code"] and body["message"])


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(choice=hostile())
def test_a_hostile_choice_is_refused_and_leaves_nothing(
    shared_platform: Platform, alice: httpx.Client, choice: Any
) -> None:
    answer = alice.post("/users/alice/server", json=choice)

    assert is_refusal(answer), (answer.status_code, answer.text, choice)
    nothing_remains(shared_platform)


def test_ten_megabytes_are_refused_unread(shared_platform: Platform, alice: httpx.Client) -> None:
    answer = alice.post("/users/alice/server", json=VALID | {"size": "x" * 10_000_000})

    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    nothing_remains(shared_platform)


def test_a_token_of_another_opens_nothing(shared_platform: Platform, alice: httpx.Client) -> None:
    for path in ("/users/bruno/server", "/users/bruno/servers/second"):
        assert alice.post(path, json=VALID).status_code in (403, 404)
    nothing_remains(shared_platform)


def test_a_named_server_evades_no_limit_and_two_never_take_one_device(platform: Platform) -> None:
    """The catalog lets alice hold one T4 through her group: of many starts at once, one runs."""
    with platform.api("alice") as alice:
        paths = ["/users/alice/server", *(f"/users/alice/servers/n{n}" for n in range(4))]
        with ThreadPoolExecutor(len(paths)) as pool:
            answers = list(pool.map(lambda path: alice.post(path, json=VALID), paths))
        accepted = [a for a in answers if a.status_code in (201, 202)]

        assert len(platform.leases()) == 1, [a.text for a in answers]
        assert len(platform.rows("select id from arcetri_request where state != 'ended'")) == 1
        assert all(a.json()["code"] for a in answers if a not in accepted)


def test_a_start_after_iam_revoked_access_is_refused_whoever_asks(platform: Platform) -> None:
    settings_file = json.loads((platform.state / "settings.json").read_text(encoding="utf-8"))
    with platform.api("alice") as alice:
        httpx.patch(
            f"{settings_file['iam']['issuer']}dev/api/users/alice",
            json={"active": False},
            trust_env=False,
        ).raise_for_status()
        time.sleep(REUSE)
        answer = alice.post("/users/alice/server", json=VALID)

    assert answer.status_code == 403
    assert answer.json()["code"] in ("not_admitted", "not_allowed"), answer.text
    nothing_remains(platform)
