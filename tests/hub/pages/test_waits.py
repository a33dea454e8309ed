"""What a request's user is told while it waits, in words and as JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from arcetri_hub.pages.waits import NO_ESTIMATE, NO_ESTIMATES, ordinal, wait_json, wait_page
from arcetri_spawner.backends.base import Position
from arcetri_spawner.estimates.model import ExpectedWait
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import offers, queueing, reasons
from arcetri_spawner.policy.model import Reason, ReasonKind, Standing
from arcetri_spawner.policy.queueing import QUEUE_CODES
from arcetri_spawner.policy.reasons import WAITING_CODES
from arcetri_spawner.policy.sizes import in_size
from arcetri_spawner.waiting import Wait
from arcetri_spawner.waiting.why import UNTIL, Until, remedy, waits_for
from tests.support.builders import CMS, NOW, catalog, grant, identity, inventory, live_session


def a_wait(*, have: tuple[int, int] = (0, 2), **changes: Any) -> Wait:
    """Bob's request for a T4 of a group that may hold two of them."""
    asked = grant(flavor="t4", group=CMS, request_id=UUID(int=7), server_name="")
    counts = {"t4": have, "rtx": (1, 1), "cpu": 4}
    held = [live_session(flavor="t4", group=CMS, account_id="other", server_name="x")]
    offered = offers(catalog(), identity(CMS), inventory(counts), held, NOW)
    offer = next(one for one in offered.offers if one.flavor == "t4")
    values: dict[str, Any] = {
        "grant": asked,
        "asked": NOW - timedelta(minutes=3),
        "stage": "waiting",
        "position": Position(1),
        "offer": offer,
        "reasons": offer.reasons,
        "alternatives": tuple(one for one in offered.offers if one.startable),
        "expected": None,
        "trouble": None,
        "hold_until": None,
        **changes,
    }
    return Wait(**values)


def page(**changes: Any) -> Any:
    return wait_page(a_wait(**changes), catalog(), NOW)


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"),
     (21, "21st"), (102, "102nd"), (111, "111th")],
)  # fmt: skip
def test_places_are_said_as_people_do(number: int, said: str) -> None:
    assert ordinal(number) == said


def test_the_place_is_told_and_whether_it_is_sure() -> None:
    assert page().place == "2nd in line"
    assert page().ahead.startswith("1 earlier request of ")
    assert "provisional" not in page().ahead
    assert "provisional" in page(position=Position(1, provisional=True)).ahead
    assert page(position=Position(0)).ahead.startswith("Nobody of ")
    assert "other" not in page(position=Position(0)).ahead
    assert "1 earlier request of another group" in page(position=Position(0, others=1)).ahead
    assert "3 earlier requests of other groups" in page(position=Position(0, others=3)).ahead
    assert (page(position=None).place, page(position=None).ahead) == ("", "")


def test_what_the_wait_is_for() -> None:
    assert page().why.startswith("All 2 NVIDIA T4 are in use; ")
    assert page(have=(0, 1)).why.startswith("The only NVIDIA T4 is in use; ")
    assert page(have=(1, 2)).why.startswith("1 of 2 NVIDIA T4 is free; ")
    assert page(offer=None).why == ""
    # What the sentence does not say is said besides.
    other = Reason("no_room_for_size", ReasonKind.WAIT, "No node has room.")
    (said,) = page(reasons=(*a_wait().reasons, other)).reasons
    assert (said.code, said.sentence) == (other.code, other.sentence)


def test_what_can_be_done_is_said_unless_it_is_to_wait() -> None:
    def told(*found: Reason) -> tuple[list[str], bool]:
        shown = page(reasons=found)
        return [one.own for one in shown.reasons], shown.stuck

    (smaller,), stuck = told(queueing.size("NVIDIA T4"))
    assert (smaller, stuck) == ("Your place is kept. A smaller size may start sooner.", False)
    assert told(queueing.behind(CMS, "NVIDIA T4")) == ([""], False)
    (opened,), stuck = told(queueing.closed(CMS))
    assert ("when an operator opens the queue again" in opened, stuck) == (True, False)
    for never in (
        queueing.no_flavor(CMS, "NVIDIA T4"),
        queueing.too_large(CMS, "NVIDIA T4"),
        queueing.set_aside(),
        reasons.capacity_none("t4", "NVIDIA T4", None),
        reasons.group_not_yours(CMS, ()),
    ):
        (mended,), stuck = told(never)
        assert mended
        assert stuck
    # A maintenance refuses who asks, and is over some day for who waits.
    later = reasons.maintenance("t4", "NVIDIA T4", NOW, "", None)
    assert told(later) == ([""], False)


@pytest.mark.parametrize("said", [None, queueing.closed(CMS)])
def test_who_is_in_line_waits_on_while_iam_is_silent(said: Reason | None) -> None:
    of, who = catalog(), replace(identity(CMS), standing=Standing.UNKNOWN)
    mine = grant(flavor="t4", group=CMS)
    held = [live_session("t4", CMS, name="carla")]
    full = inventory({"t4": (0, 2), "cpu": 4})
    found = offers(of, who, full, held, NOW, ignoring=mine.request_id)
    why = waits_for(mine, said, in_size(found, of, "small"), of)
    assert [one.code for one in why] == ["queue_closed" if said else "busy_capacity"]
    # Where nothing else is in the way, it is told what it waits for.
    free = offers(of, who, inventory(), [], NOW, ignoring=mine.request_id)
    (silent,) = waits_for(mine, None, in_size(free, of, "small"), of)
    assert silent.code == "identity_unknown"
    assert remedy(silent) == "It starts by itself as soon as IAM answers."


def test_a_script_is_not_told_to_wait_in_line_either() -> None:
    for reason in wait_json(a_wait(), catalog(), lambda *parts: "/".join(parts))["reasons"]:
        assert reason["remedy"] == queueing.WAIT


def test_no_estimate_is_never_invented() -> None:
    assert (page().expected, page().confidence) == ("", NO_ESTIMATE)
    said = ExpectedWait(*(timedelta(minutes=m) for m in (20, 45, 90)), confidence=0.8, sessions=37)
    shown = page(expected=said)
    assert shown.expected.replace("\N{NO-BREAK SPACE}", " ") == "20 min to 1 h 30 min"
    assert shown.confidence.startswith("80% of such waits")
    assert "37 earlier sessions" in shown.confidence


def no_estimate(*codes: str) -> str:
    reasons = tuple(Reason(code, ReasonKind.WAIT, "It waits.") for code in codes)
    said: str = page(reasons=reasons).confidence
    return said.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("queue_closed",), "this wait does not end when somebody else's session does."),
        (("queue_lent",), "have 5 min to save their work, and end then."),
        (("queue_size",), "where enough becomes free for this size."),
        (("queue_reserved",), "where enough becomes free for this size."),
        (("busy_room",), "where enough becomes free for this size."),
        (("queue_uncounted",), "nobody knows how long it stays."),
        (("queue_kept",), "more than the length of others' sessions decides here."),
        # Those of a maintenance may end or not: it is none of theirs.
        (("maintenance", "busy_capacity"), "does not end when somebody else's session does."),
        (("busy_quota", "queue_kept"), "more than the length of others' sessions decides here."),
    ],
)
def test_why_there_is_no_estimate_is_true_of_what_it_waits_for(
    codes: tuple[str, ...], said: str
) -> None:
    assert no_estimate(*codes).startswith("There is no estimate: ")
    assert no_estimate(*codes).endswith(said)


def test_of_every_reason_to_wait_it_is_known_what_ends_it() -> None:
    of_plain_queues = {"busy", "no_room_for_size"}
    assert set(UNTIL) == {*QUEUE_CODES, *WAITING_CODES, *of_plain_queues}
    assert set(NO_ESTIMATES) == set(Until)


def test_an_alternative_keeps_of_the_choice_what_goes_with_it() -> None:
    wait = a_wait()
    chosen = replace(wait.grant, environment="torch", size="large")
    shown = wait_page(replace(wait, grant=chosen), catalog(), NOW)
    by_flavor = {one.flavor: one for one in shown.alternatives}
    assert (by_flavor["rtx"].environment, by_flavor["rtx"].size) == ("torch", "large")
    assert by_flavor["rtx"].group == CMS
    assert by_flavor["rtx"].otherwise == ""
    # Policy's own choice where the asker's does not go with it, and said.
    cpu = by_flavor["cpu"]
    assert (cpu.environment, cpu.size) == ("python", "small")
    assert cpu.otherwise.startswith("Not as you asked: ")
    assert all(part in cpu.otherwise for part in cpu.detail.split(", "))


def test_an_alternative_is_of_a_size_that_has_room() -> None:
    wait = a_wait()
    asked = replace(wait.grant, size="large", cpu=8.0, memory=32 << 30)
    rtx, cpu = wait.alternatives
    cramped = replace(rtx, rooms={"small": 1, "large": 0})
    shown = wait_page(replace(wait, grant=asked, alternatives=(cramped, cpu)), catalog(), NOW)
    found = shown.alternatives[0]
    assert (found.flavor, found.size) == ("rtx", "small")
    assert found.otherwise == "Not as you asked: Small."
    assert found.free == "1 of 1 free for you now"


def test_an_alternative_says_who_would_be_charged() -> None:
    wait = a_wait()
    rtx = next(one for one in wait.alternatives if one.flavor == "rtx")
    theirs = replace(rtx, groups=tuple(replace(one, group="/lab/atlas") for one in rtx.groups))
    (shown,) = page(alternatives=(theirs,)).alternatives
    assert shown.group == "/lab/atlas"
    assert shown.otherwise == f"Not as you asked: charged to {shown.charged}."


def test_the_same_flavour_charged_to_another_group_is_an_alternative() -> None:
    wait = a_wait(have=(1, 2))
    t4 = wait.offer
    assert t4 is not None
    busy = replace(t4.groups[0], startable=0)
    theirs = replace(t4.groups[0], group=GroupPath("/lab/atlas"), startable=1)
    # A third one would have more of it: what is told is of the one that would be charged.
    more = replace(theirs, group=GroupPath("/lab/lhcb"), startable=2)
    two = replace(t4, groups=(busy, theirs, more), startable=2)
    alike = replace(wait, alternatives=(two, *wait.alternatives[1:]))
    shown = wait_page(alike, catalog(), NOW).alternatives[0]
    assert (shown.flavor, shown.group, shown.free) == (
        "t4",
        "/lab/atlas",
        "1 of 2 free for you now",
    )
    assert shown.otherwise == "Not as you asked: charged to /lab/atlas."
    # And a script is told what to ask for.
    said = wait_json(alike, catalog(), lambda *_: "")
    assert said["instead"][0] == {
        "flavor": "t4",
        "group": "/lab/atlas",
        "environment": "python",
        "size": "small",
    }
    assert "t4" not in said["alternatives"]


def test_an_admitted_one_says_until_when_it_is_kept_and_why() -> None:
    trouble = Reason("identity_unknown", ReasonKind.WAIT, "IAM does not answer.")
    kept = NOW + timedelta(minutes=10)
    shown = page(stage="admitted", position=None, trouble=trouble, hold_until=kept)
    assert shown.admitted
    assert (shown.why, shown.kept, shown.trouble) == ("", "11:10", trouble)


def test_json_says_the_same() -> None:
    def url(*parts: str) -> str:
        return "/hub/" + "/".join(part for part in parts if part)

    said = wait_json(a_wait(), catalog(), url)
    assert (said["state"], said["place"], said["provisional"]) == ("queued", 2, False)
    assert said["ahead_of_other_groups"] == 0
    assert said["page"] == f"/hub/waiting/{a_wait().grant.username}"
    assert said["url"] == f"/hub/api/arcetri/requests/{UUID(int=7)}"
    assert said["alternatives"] == ["rtx", "cpu"]
    assert said["instead"] == [
        {"flavor": "rtx", "group": CMS, "environment": "python", "size": "small"},
        {"flavor": "cpu", "group": EVERYONE, "environment": "python", "size": "small"},
    ]
    assert said["expected"] is None
    unknown = wait_json(a_wait(position=None), catalog(), url)
    assert (unknown["place"], unknown["provisional"]) == (None, None)
