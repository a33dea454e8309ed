"""What a person is offered, and what a start is granted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from arcetri_spawner.catalog.models import Catalog, LoadedCatalog
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.policy import reasons
from arcetri_spawner.policy.flavors import FlavorCase
from arcetri_spawner.policy.model import (
    Grant,
    GroupOffer,
    Identity,
    Inventory,
    LiveSession,
    Offer,
    Offers,
    Options,
    Reason,
)
from arcetri_spawner.policy.situation import Situation
from arcetri_spawner.policy.volumes import volumes_of


def offers(
    catalog: Catalog,
    identity: Identity,
    inventory: Inventory | None,
    sessions: Sequence[LiveSession],
    now: datetime,
    *,
    server_name: str = "",
    ignoring: UUID | None = None,
) -> Offers:
    """Return every flavour that the person's groups grant, with what would start now.

    Args:
        catalog: What is granted to whom.
        identity: The person.
        inventory: What there is; None leaves capacity out, as ``explain`` does.
        sessions: All live ones, of everybody.
        now: When this is asked.
        server_name: The server that would be started; empty for the default one.
        ignoring: A request that would be given up for what is chosen, and does not count.
    """
    situation = Situation(
        catalog, identity, inventory, sessions, now, server_name=server_name, ignoring=ignoring
    )
    return offers_of(situation)


def offers_of(situation: Situation) -> Offers:
    """Return the offers of a situation."""
    return Offers(
        offers=tuple(_offer(situation, flavor) for flavor in situation.offered),
        refusals=situation.refusals,
    )


def authorize(
    loaded: LoadedCatalog,
    identity: Identity,
    options: Options,
    inventory: Inventory | None,
    sessions: Sequence[LiveSession],
    now: datetime,
    *,
    request_id: UUID,
    server_name: str,
) -> Grant:
    """Decide about a start, and freeze what it is granted.

    A request may be decided again under its own id: it does not count against itself. Quota and
    capacity are not looked at; ``waiting_reason`` says whether the grant could start now.

    Raises:
        Denied: The first reason that refuses, as the offers show it.
    """
    catalog = loaded.catalog
    situation = Situation(
        catalog, identity, inventory, sessions, now, server_name=server_name, ignoring=request_id
    )
    for reason in situation.refusals:
        raise reasons.denied(reason)
    flavor = _flavor(situation, options)
    group = _group(situation, flavor, options)
    case = situation.case(flavor)
    for reason in case.refusals:
        raise reasons.denied(reason)
    limit = case.limit_refusal(group)
    if limit:
        raise reasons.denied(limit)
    environment = _environment(situation, case, options)
    size = _size(situation, case, options)

    entry = catalog.flavors[flavor]
    entitled = case.entitlement(group)
    shape = catalog.sizes[size]
    software = catalog.environments[environment]
    return Grant(
        request_id=request_id,
        account_id=identity.account_id,
        username=identity.name,
        server_name=server_name,
        group=group,
        flavor=flavor,
        flavor_type=entry.type,
        share=entry.share,
        environment=environment,
        size=size,
        cpu=shape.cpu,
        memory=shape.memory,
        shm=shape.shm,
        image=software.image,
        interpreter=software.local,
        volumes=volumes_of(catalog, situation.groups, group, identity.name),
        groups=situation.groups,
        catalog_digest=loaded.digest,
        decided_at=now,
        idle=catalog.defaults.idle,
        lifetime=catalog.defaults.lifetime,
        grace=catalog.defaults.grace,
        stop=catalog.defaults.stop,
        quota=entitled.quota if entitled else None,
        user_limit=entitled.limit if entitled else None,
        sessions_limit=catalog.limits.sessions,
        requests_limit=catalog.limits.requests,
        flavor_title=entry.title,
    )


def waiting_reason(
    catalog: Catalog,
    grant: Grant,
    inventory: Inventory | None,
    sessions: Sequence[LiveSession],
    now: datetime | None = None,
) -> Reason | None:
    """Return why a granted request would wait now, or None when it could start.

    The quota is the grant's own. ``now`` decides which alternatives are under maintenance; absent,
    it is when the grant was decided.
    """
    situation = Situation(
        catalog,
        Identity(grant.account_id, grant.username, frozenset(grant.groups)),
        inventory,
        sessions,
        now or grant.decided_at,
        server_name=grant.server_name,
        ignoring=grant.request_id,
        granted=True,
    )
    found = situation.case(grant.flavor).waiting(grant.group, grant.quota)
    return found[0] if found else None


def _offer(situation: Situation, flavor: str) -> Offer:
    case = situation.case(flavor)
    entry = situation.catalog.flavors[flavor]
    groups = tuple([_group_offer(situation, case, group) for group in situation.offered[flavor]])
    startable = max([group.startable for group in groups])
    have = case.have
    return Offer(
        flavor=flavor,
        title=entry.title,
        description=entry.description,
        type=entry.type,
        memory=entry.memory,
        share=entry.share,
        simulated=have.simulated if have else False,
        total=have.total if have else 0,
        free=have.startable if have else 0,
        startable=startable,
        groups=groups,
        environments=case.environments,
        sizes=case.sizes,
        reasons=() if startable else _together(groups),
        alternative=None if startable else case.alternative,
        rooms=have.rooms if have else {},
    )


def _group_offer(situation: Situation, case: FlavorCase, group: GroupPath) -> GroupOffer:
    entry = situation.catalog.groups.get(group)
    entitled = entry.flavors.get(case.flavor) if entry else None
    return GroupOffer(
        group=group,
        title=(entry.title if entry else "") or ("Everyone" if group == EVERYONE else group),
        quota=entitled.quota if entitled else None,
        in_use=case.in_use(group),
        limit=entitled.limit if entitled else None,
        mine=len(case.held(group)),
        startable=case.startable(group),
        reasons=case.why_not(group),
        waiting=case.waiting_of(group),
        others=case.waiting_of_others(group),
        borrow=case.borrow(group),
        shares=case.shares(group),
    )


def _together(groups: tuple[GroupOffer, ...]) -> tuple[Reason, ...]:
    """The reasons of all groups, each once; most often they are the very same ones."""
    shared = groups[0].reasons
    if all(group.reasons is shared for group in groups):
        return shared
    return tuple(dict.fromkeys(reason for group in groups for reason in group.reasons))


def _flavor(situation: Situation, options: Options) -> str:
    if options.flavor is None:
        raise reasons.denied(reasons.flavor_required(situation.offered))
    if options.flavor not in situation.offered:
        raise reasons.denied(reasons.flavor_not_granted(options.flavor, situation.offered))
    return options.flavor


def _group(situation: Situation, flavor: str, options: Options) -> GroupPath:
    grantors = situation.offered[flavor]
    title = situation.catalog.flavors[flavor].title
    if options.group is None:
        if len(grantors) > 1:
            raise reasons.denied(reasons.group_required(title, grantors))
        return grantors[0]
    if options.group in grantors:
        return options.group
    if options.group == EVERYONE or options.group in situation.identity.groups:
        raise reasons.denied(reasons.group_does_not_grant(options.group, flavor, title, grantors))
    raise reasons.denied(reasons.group_not_yours(options.group, grantors))


def _environment(situation: Situation, case: FlavorCase, options: Options) -> str:
    fitting = case.environments
    chosen = options.environment
    if chosen is None:
        return fitting[0]
    if chosen in fitting:
        return chosen
    if chosen not in situation.catalog.environments:
        raise reasons.denied(reasons.environment_unknown(chosen, fitting))
    if chosen in situation.index.environments[case.flavor]:
        raise reasons.denied(reasons.environment_unavailable(chosen, fitting))
    raise reasons.denied(reasons.environment_not_for_flavor(chosen, case.title, fitting))


def _size(situation: Situation, case: FlavorCase, options: Options) -> str:
    fitting = case.sizes
    chosen = options.size
    if chosen is None:
        return fitting[0]
    if chosen in fitting:
        return chosen
    if chosen not in situation.catalog.sizes:
        raise reasons.denied(reasons.size_unknown(chosen, fitting))
    raise reasons.denied(reasons.size_not_for_flavor(chosen, case.title, fitting))
