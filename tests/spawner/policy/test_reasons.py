from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.model import Reason, ReasonKind
from arcetri_spawner.policy.names import is_account_name, is_server_name, shown
from arcetri_spawner.policy.wording import group_name, listed
from tests.support.builders import ASTRO, CMS, live_session

_HOSTILE = "<script>alert(1)</script>{{7*7}}\x00\u202e" + "x" * 5000
_VALUES: dict[str, Any] = {
    "problem": "size is a list, not a string",
    "name": _HOSTILE,
    "site": "AI platform",
    "mine": (CMS,),
    "members": (ASTRO,),
    "others": (GroupPath("/lab/x"),),
    "server_name": _HOSTILE,
    "held": (live_session(), live_session(server_name="")),
    "asked": (live_session(),),
    "limit": 2,
    "offered": ("t4", "cpu"),
    "flavor": _HOSTILE,
    "grantors": (CMS, ASTRO),
    "title": "NVIDIA T4",
    "until": datetime(2026, 12, 1, tzinfo=UTC),
    "message": _HOSTILE,
    "alternative": "CPU only",
    "borrow": 0,
    "lacking": (_HOSTILE, "torch"),
    "group": GroupPath("/" + _HOSTILE),
    "environment": _HOSTILE,
    "size": _HOSTILE,
    "fitting": ("python",),
    "used": 2,
    "quota": 2,
    "total": 2,
}
_BUILDERS = [
    builder
    for name, builder in inspect.getmembers(reasons, inspect.isfunction)
    if builder.__module__ == reasons.__name__
    and not name.startswith("_")
    and inspect.signature(builder).return_annotation == "Reason"
]


def _build(builder: Any, **others: Any) -> Reason:
    names = inspect.signature(builder).parameters
    reason: Reason = builder(**{name: {**_VALUES, **others}[name] for name in names})
    return reason


def test_every_code_has_its_builder_and_every_builder_its_code() -> None:
    assert {_build(builder).code for builder in _BUILDERS} == set(reasons.ALL_CODES)
    assert len(set(reasons.ALL_CODES)) == len(reasons.ALL_CODES)


@pytest.mark.parametrize("builder", _BUILDERS, ids=lambda builder: builder.__name__)
def test_every_refusal_has_the_status_of_its_code(builder: Any) -> None:
    reason = _build(builder)
    error = (reasons.busy if reason.kind is ReasonKind.WAIT else reasons.denied)(reason)
    other = {"invalid_options": 400, "identity_unknown": 503}
    usual = 409 if reason.kind is ReasonKind.WAIT else 403
    assert error.status == reasons.STATUSES[reason.code] == other.get(reason.code, usual)


@pytest.mark.parametrize("builder", _BUILDERS, ids=lambda builder: builder.__name__)
def test_every_reason_is_a_sentence_with_something_to_do(builder: Any) -> None:
    reason = _build(builder)
    waits = reason.code in reasons.WAITING_CODES
    assert reason.kind is (ReasonKind.WAIT if waits else ReasonKind.REFUSE)
    assert re.fullmatch(r"[a-z_]+", reason.code)
    for text in (reason.sentence, reason.remedy):
        assert text[0].isupper() or text[0] in '"/�'
        assert text.endswith(".")
        assert not text.endswith("..")
        assert "  " not in text
    assert not re.search(r"contact|ask (your|an|the) admin", reason.remedy, re.IGNORECASE)


@pytest.mark.parametrize("builder", _BUILDERS, ids=lambda builder: builder.__name__)
def test_what_was_sent_is_bounded_and_clean_in_it(builder: Any) -> None:
    reason = _build(builder)
    assert len(reason.sentence) < 500
    assert len(reason.remedy) < 700
    assert (reason.sentence + reason.remedy).isprintable()


@pytest.mark.parametrize("builder", _BUILDERS, ids=lambda builder: builder.__name__)
def test_none_promises_a_start_that_comes_by_itself(builder: Any) -> None:
    reason = _build(builder)
    assert not re.search(r"\bit (starts|will start)\b", reason.sentence + reason.remedy, re.I)


@pytest.mark.parametrize(
    "builder",
    [
        reasons.session_limit,
        reasons.request_limit,
        reasons.flavor_limit,
        reasons.maintenance,
        reasons.no_environment,
        reasons.no_size,
        reasons.busy_quota,
        reasons.capacity_unknown,
        reasons.capacity_none,
        reasons.no_node,
        reasons.no_node_at_all,
        reasons.busy_capacity,
        reasons.busy_room,
        reasons.no_room,
    ],
    ids=lambda builder: builder.__name__,
)
def test_what_one_does_oneself_is_no_edit_and_no_other_flavour(builder: Any) -> None:
    reason = _build(builder)
    assert reason.own in reason.remedy or reason.own.rstrip(".") in reason.remedy
    assert "profiles.yaml" not in reason.own
    assert " instead" not in reason.own
    assert not reason.own or reason.own.endswith(".")


def test_what_is_missing_is_told_from_what_is_not_listed() -> None:
    missing = reasons.no_environment("t4", "NVIDIA T4", ("python", "torch"), "No accelerator")
    assert missing.sentence == "No environment that goes with NVIDIA T4 is installed here."
    assert 'Choose "No accelerator" instead' in missing.remedy
    assert "gives python or torch, under environments in profiles.yaml, a local" in missing.remedy
    assert missing.own == "Try again when one is installed."

    unlisted = reasons.no_environment("t4", "NVIDIA T4", (), None)
    assert unlisted.sentence == "No environment goes with NVIDIA T4."
    assert "lists t4 in the flavors of an environment" in unlisted.remedy
    assert "local" not in unlisted.remedy
    assert unlisted.own
    assert reasons.no_size("t4", "NVIDIA T4", None).own


@pytest.mark.parametrize("builder", [reasons.never_logged_in, reasons.not_admitted])
def test_what_an_admin_reads_of_somebody_else_names_them(builder: Any) -> None:
    reason = builder("zoe")
    assert '"zoe"' in reason.sentence
    assert not re.search(r"\byour?\b", reason.sentence)


def test_waiting_reasons_name_who_or_what_is_busy() -> None:
    quota = reasons.busy_quota("t4", "NVIDIA T4", CMS, 2, 2, None)
    assert quota.sentence == "/lab/cms uses 2 of its 2 NVIDIA T4."
    assert reasons.busy_capacity("NVIDIA T4", 2, None).sentence == "All 2 NVIDIA T4 are in use."
    assert reasons.busy_capacity("NVIDIA A30", 1, None).sentence == "The only NVIDIA A30 is in use."


def test_a_group_without_quota_is_told_so_and_where_to_raise_it() -> None:
    reason = reasons.busy_quota("t4", "NVIDIA T4", CMS, 0, 0, None)
    assert "groups./lab/cms.flavors.t4.quota" in reason.remedy


def test_an_alternative_comes_first_and_in_quotes() -> None:
    reason = reasons.busy_capacity("NVIDIA T4", 2, "No accelerator")
    assert reason.remedy.startswith('Choose "No accelerator" instead: it would start now.')


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (datetime(2026, 12, 1, tzinfo=UTC), "until 1 December 2026:"),
        (datetime(2026, 12, 1, 8, 30, tzinfo=UTC), "until 08:30 on 1 December 2026:"),
        (None, "is under maintenance: new firmware."),
    ],
)
def test_a_maintenance_says_until_when(until: datetime | None, words: str) -> None:
    reason = reasons.maintenance("t4", "NVIDIA T4", until, "new firmware.", None)
    assert words in reason.sentence


def test_long_lists_are_cut() -> None:
    names = [f"/lab/{number}" for number in range(20)]
    assert listed(names) == ", ".join(names[:8]) + " and 12 more"
    assert listed(["a", "b", "c"], last="and") == "a, b and c"
    assert listed([]) == ""


def test_who_may_join_which_groups_is_said_without_listing_a_thousand() -> None:
    others = [GroupPath(f"/lab/{number}") for number in range(1000)]
    remedy = reasons.not_allowed("AI platform", (), (), others).remedy
    assert "one of the 1000 groups below /lab" in remedy
    remedy = reasons.not_allowed("AI platform", (), (CMS,), others).remedy
    assert "Join /lab/cms in IAM" in remedy


def test_the_charged_group_of_everyone_has_words() -> None:
    assert group_name(EVERYONE) == "everyone's share"


@given(st.text(max_size=200), st.integers(2, 80))
def test_shown_is_printable_and_bounded(text: str, limit: int) -> None:
    result = shown(text, limit)
    assert result.isprintable()
    assert len(result) <= limit
    assert result == text or not text.isprintable() or len(text) > limit


@pytest.mark.parametrize("name", ["", "lab", "A.b_c-9", "x" * 40])
def test_names_of_servers(name: str) -> None:
    assert is_server_name(name)


@pytest.mark.parametrize("name", ["..", "-x", "a/b", "a b", "x" * 41, "é", "a\n", "."])
def test_names_that_no_server_has(name: str) -> None:
    assert not is_server_name(name)
    assert not is_account_name(name)
