"""What is offered and what is refused can never disagree, whatever the situation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from arcetri_spawner.errors import Denied
from arcetri_spawner.groups import EVERYONE, normalize_groups
from arcetri_spawner.policy import authorize, explain, offers, reasons, waiting_reason
from arcetri_spawner.policy.model import (
    FlavorInventory,
    Grant,
    GroupOffer,
    Offers,
    Options,
    Reason,
    ReasonKind,
)
from arcetri_spawner.policy.sides import charged_to
from arcetri_spawner.policy.sizes import goes_with, in_size
from tests.spawner.policy.strategies import GROUPS, STRANGE_GROUPS, Case, case_of, cases
from tests.support.builders import live_session, loaded

_many = settings(max_examples=300, deadline=None)


def _offers(case: Case) -> Offers:
    return offers(
        case.catalog,
        case.identity,
        case.inventory,
        case.sessions,
        case.now,
        server_name=case.server_name,
    )


def _decide(case: Case, options: Options) -> Grant:
    return authorize(
        loaded(case.catalog),
        case.identity,
        options,
        case.inventory,
        case.sessions,
        case.now,
        request_id=uuid4(),
        server_name=case.server_name,
    )


def _waits(case: Case, grant: Grant) -> Reason | None:
    return waiting_reason(case.catalog, grant, case.inventory, case.sessions, case.now)


def _choices(case: Case) -> Iterator[tuple[GroupOffer, Options]]:
    for offer in _offers(case).offers:
        for group in offer.groups:
            for environment in offer.environments or (None,):
                for size in offer.sizes or (None,):
                    yield group, Options(offer.flavor, group.group, environment, size)


def _outcome(case: Case, options: Options) -> Grant | tuple[str, str, str]:
    """The grant, or the code, sentence and remedy of the refusal."""
    try:
        return _decide(case, options)
    except Denied as error:
        return error.code, error.message, error.remedy


@_many
@given(cases)
def test_each_offer_is_what_a_start_would_be_told(case: Case) -> None:
    for group, options in _choices(case):
        refusing = [r for r in group.reasons if r.kind is ReasonKind.REFUSE]
        waiting = [r for r in group.reasons if r.kind is ReasonKind.WAIT]
        outcome = _outcome(case, options)
        if refusing:
            first = refusing[0]
            assert outcome == (first.code, first.sentence, first.remedy)
            assert group.startable == 0
            continue
        assert isinstance(outcome, Grant)
        assert _waits(case, outcome) == (waiting[0] if waiting else None)
        assert (group.startable > 0) == (not waiting)


@_many
@given(cases)
def test_startable_is_how_many_more_would_start(case: Case) -> None:
    for group, options in _choices(case):
        now = case
        for number in range(group.startable):
            granted = _decide(now, options)
            assert _waits(now, granted) is None
            now = _after(now, granted, number)
        outcome = _outcome(now, options)
        assert not isinstance(outcome, Grant) or _waits(now, outcome) is not None


def _after(case: Case, granted: Grant, number: int) -> Case:
    """The situation when the grant has started."""
    flavors = dict(case.inventory.flavors)
    have = flavors[granted.flavor]
    rooms = {size: max(room - 1, 0) for size, room in have.rooms.items()}
    flavors[granted.flavor] = FlavorInventory(have.total, have.free - 1, rooms=rooms)
    started = live_session(
        granted.flavor,
        granted.group,
        name=granted.username,
        server_name=granted.server_name,
    )
    return replace(
        case,
        inventory=replace(case.inventory, flavors=flavors, as_of=case.now, stale=False),
        sessions=(*case.sessions, started),
        server_name=f"new-{number}",
    )


@_many
@given(cases)
def test_a_card_says_why_exactly_when_nothing_starts(case: Case) -> None:
    result = _offers(case)
    startable = {offer.flavor for offer in result.offers if offer.startable}
    for offer in result.offers:
        assert offer.startable == max(group.startable for group in offer.groups)
        assert (offer.startable == 0) == bool(offer.reasons)
        if offer.startable:
            assert offer.alternative is None
        else:
            others = startable - {offer.flavor}
            assert offer.alternative in others if others else offer.alternative is None
        for group in offer.groups:
            assert (group.startable == 0) == bool(group.reasons)
    assert not result.refusals or not startable


@_many
@given(cases)
def test_in_a_size_as_many_would_start_as_have_room(case: Case) -> None:
    result = _offers(case)
    for size in case.catalog.sizes:
        sized = in_size(result, case.catalog, size)
        able = {offer.flavor for offer in sized.offers if offer.startable}
        for before, offer in zip(result.offers, sized.offers, strict=True):
            room = before.startable
            if before.rooms and before.sizes:
                room = before.rooms[goes_with(before, size)]
            assert offer.startable == min(before.startable, room)
            assert offer.startable == max(group.startable for group in offer.groups)
            assert (offer.startable == 0) == bool(offer.reasons)
            assert all((group.startable == 0) == bool(group.reasons) for group in offer.groups)
            assert offer.alternative is None or offer.alternative in able
            assert bool(offer.alternative) == (not offer.startable and bool(able))


@_many
@given(cases)
def test_charged_to_a_group_as_many_would_start_as_that_group_may(case: Case) -> None:
    result = _offers(case)
    for group in {side.group for offer in result.offers for side in offer.groups}:
        charged = charged_to(result, case.catalog, group)
        able = {offer.flavor for offer in charged.offers if offer.startable}
        for before, offer in zip(result.offers, charged.offers, strict=True):
            side = next((one for one in before.groups if one.group == group), None)
            assert offer.startable == (before if side is None else side).startable
            assert (offer.startable == 0) == bool(offer.reasons)
            assert bool(offer.alternative) == (not offer.startable and bool(able))
            assert offer.alternative is None or offer.alternative in able
            assert offer.groups == before.groups


@_many
@given(cases)
def test_nothing_is_granted_that_is_not_offered(case: Case) -> None:
    options = case.options
    offered = {offer.flavor: offer for offer in _offers(case).offers}
    granted = _outcome(case, options)
    if not isinstance(granted, Grant):
        return
    catalog, groups = case.catalog, case.identity.groups
    offer = offered[granted.flavor]
    assert granted.group in {group.group for group in offer.groups}
    assert granted.environment in offer.environments
    assert granted.size in offer.sizes
    assert granted.flavor == options.flavor
    assert options.group in (None, granted.group)
    assert options.environment in (None, granted.environment)
    assert options.size in (None, granted.size)
    if granted.group == EVERYONE:
        assert granted.flavor in catalog.everyone.flavors
    else:
        assert granted.group in groups
        assert granted.flavor in catalog.groups[granted.group].flavors
    assert groups & catalog.allowed_groups()
    assert set(granted.groups) == groups & catalog.groups.keys()
    granting = [catalog.groups[group].volumes for group in granted.groups]
    allowed = set(catalog.everyone.volumes).union(*granting)
    assert {volume.name for volume in granted.volumes} <= allowed


@_many
@given(cases, st.sets(st.sampled_from((*GROUPS, *STRANGE_GROUPS))))
def test_more_groups_never_take_away(case: Case, more: set[str]) -> None:
    groups = case.identity.groups | normalize_groups(more)
    identity = replace(case.identity, groups=groups)
    wider = replace(case, identity=identity)
    before = {offer.flavor for offer in _offers(case).offers}
    assert before <= {offer.flavor for offer in _offers(wider).offers}
    granted = _outcome(case, case.options)
    if not isinstance(granted, Grant):
        return
    again = _decide(wider, replace(case.options, group=granted.group))
    assert (again.flavor, again.group, again.quota, again.user_limit) == (
        granted.flavor,
        granted.group,
        granted.quota,
        granted.user_limit,
    )


@_many
@given(cases)
def test_explain_shows_the_same_offers_and_all_the_rest(case: Case) -> None:
    case = replace(case, server_name="")
    explained = explain(
        case.catalog,
        case.identity,
        now=case.now,
        inventory=case.inventory,
        sessions=case.sessions,
    )
    assert replace(explained, not_offered=()) == _offers(case)
    shown = [offer.flavor for offer in explained.offers]
    missing = [entry.flavor for entry in explained.not_offered]
    assert sorted(shown + missing) == sorted(case.catalog.flavors)
    for entry in explained.not_offered:
        if explained.refusals:
            continue
        refusal = entry.reason.code, entry.reason.sentence
        outcome = _outcome(case, Options(flavor=entry.flavor))
        assert isinstance(outcome, tuple)
        assert outcome[:2] == refusal


@_many
@given(cases)
def test_a_request_that_is_decided_again_does_not_stand_in_its_own_way(case: Case) -> None:
    granted = _outcome(case, case.options)
    if not isinstance(granted, Grant):
        return
    own = live_session(
        granted.flavor,
        granted.group,
        name=granted.username,
        server_name=granted.server_name,
        session_id=granted.request_id,
    )
    again = authorize(
        loaded(case.catalog),
        case.identity,
        case.options,
        case.inventory,
        (*case.sessions, own),
        case.now,
        request_id=granted.request_id,
        server_name=case.server_name,
    )
    assert again == granted
    with_own = replace(case, sessions=(*case.sessions, own))
    assert _waits(with_own, granted) == _waits(case, granted)


def test_the_cases_meet_every_answer() -> None:
    """Without this, the tests above could pass by never seeing a grant."""
    met: Counter[str] = Counter()
    for seed in range(3000):
        case = case_of(seed)
        outcome = _outcome(case, case.options)
        if isinstance(outcome, Grant):
            waits = _waits(case, outcome)
            met[waits.code if waits else "starts"] += 1
        else:
            met[outcome[0]] += 1
    queued = {"queue_closed", "queue_kept"}
    assert met.keys() == {*reasons.ALL_CODES, *queued, "starts"} - {"invalid_options"}
    assert met["starts"] > 100
