"""Generated histories: what was held, what agents told of it, and how it was delivered."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from arcetri_accounting.contract.usage import Allocation
from tests.accounting.ledger.builders import allocation, batch, ended, seen, segment, started
from tests.accounting.oracle import GRAIN, QUARTER, WHOLE, Told, Truth

SHARES = {"t4": WHOLE, "a100-1g": WHOLE // 7, "a30": WHOLE // 4, "h100-3g": 3 * WHOLE // 7}
GROUPS = ("/g", "/g/cms", "/ga")


@dataclass
class History:
    """What was, what was told of it, and the deliveries that tell it."""

    truths: list[Truth]
    told: list[Told]
    deliveries: list[dict[str, Any]]
    testimony: list[dict[str, Any]]


def held(truth: Truth) -> Allocation:
    """The allocation of a truth, as its agent tells it."""
    share = Fraction(truth.share, WHOLE)
    return allocation(
        truth.session,
        truth.device,
        account=truth.account,
        group=truth.group,
        flavor=truth.flavor,
        share=share,
        millicores=0,
    )


@st.composite
def truths(draw: st.DrawFn, base: int) -> list[Truth]:
    """Sessions on a few devices, one after the other on each."""
    found = []
    for device in range(draw(st.integers(1, 3))):
        at = base + GRAIN * draw(st.integers(0, 10))
        for number in range(draw(st.integers(1, 3))):
            end = at + GRAIN * draw(st.integers(1, 50))
            flavor = draw(st.sampled_from(sorted(SHARES)))
            found.append(
                Truth(
                    f"s{device}-{number}",
                    f"GPU-{device}",
                    draw(st.sampled_from(["a-alice", "a-bob"])),
                    draw(st.sampled_from(GROUPS)),
                    flavor,
                    SHARES[flavor],
                    at,
                    end,
                )
            )
            at = end + GRAIN * draw(st.integers(0, 5))
    return found


@st.composite
def _told(draw: st.DrawFn, truth: Truth, *, complete: bool) -> list[Told]:
    """What an agent told of a truth: cut anywhere and at quarter hours, with holes."""
    found = []
    at = truth.start
    while at < truth.end:
        quarter_end = (at // QUARTER + 1) * QUARTER
        end = min(at + GRAIN * draw(st.integers(1, 8)), quarter_end, truth.end)
        if complete or draw(st.integers(0, 4)):
            dur = end - at
            unobserved = draw(st.integers(0, dur))
            util = draw(st.integers(0, dur - unobserved))
            used = draw(st.integers(0, truth.share * util))
            occupied = draw(st.integers(0, dur - unobserved))
            found.append(
                Told(truth.session, truth.device, at, end, util, used, occupied, unobserved)
            )
        at = end
    return found


@st.composite
def histories(draw: st.DrawFn, base: int, *, complete: bool = False) -> History:
    """A history, its numbered records in batches: reordered, repeated, and cut otherwise."""
    known = draw(truths(base))
    told = [span for truth in known for span in draw(_told(truth, complete=complete))]
    by_key = {(truth.session, truth.device): held(truth) for truth in known}
    records = []
    for number, span in enumerate(told, 1):
        of = by_key[span.session, span.device]
        records.append(
            segment(
                number,
                of,
                span.start,
                span.end - span.start,
                util_ms=span.util,
                used_u=span.used if span.util else None,
                occupied_ms=span.occupied,
                unobserved_ms=span.unobserved,
            )
        )
    chunks = []
    rest = records
    while rest:
        size = draw(st.integers(1, 6))
        chunks.append(rest[:size])
        rest = rest[size:]
    again = draw(st.lists(st.sampled_from(records), max_size=6)) if records else []
    chunks += [[one] for one in again]
    order = draw(st.permutations(chunks))
    deliveries = [
        batch(chunk, *by_key.values(), heartbeat=number) for number, chunk in enumerate(order, 1)
    ]
    events = []
    for truth in known:
        changes = {
            "account": truth.account,
            "group": truth.group,
            "flavor": truth.flavor,
            "share": str(Fraction(truth.share, WHOLE)),
            "cpu": 0,
        }
        one = started(0, truth.session, truth.start, (truth.device,), **changes)
        events += [one, ended(0, truth.session, truth.end)]
    for number, event in enumerate(draw(st.permutations(events)), 1):
        event["seq"] = number
    return History(known, told, deliveries, [seen(*events)])
