"""Generated histories: what was held, what agents told of it, and how it was delivered."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from arcetri_accounting.contract.usage import Allocation
from tests.accounting.ledger.builders import (
    BOOT,
    allocation,
    batch,
    ended,
    seen,
    segment,
    started,
)
from tests.accounting.oracle import WHOLE, Told, Truth

SHARES = {"t4": WHOLE, "a100-1g": WHOLE // 7, "a30": WHOLE // 4, "h100-3g": 3 * WHOLE // 7}
GROUPS = ("/g", "/g/cms", "/ga")
LONGEST = 2_500_000
SHORTEST = 2_000
"""Milliseconds; two clocks are taken to agree within half of it."""


@dataclass
class History:
    """What was, what was told of it, and the deliveries that tell it."""

    truths: list[Truth]
    told: list[Told]
    names: list[tuple[str, int]]
    """Epoch and number of each of them."""
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
        at = base + draw(st.integers(0, 500_000))
        for number in range(draw(st.integers(1, 3))):
            end = at + draw(st.integers(SHORTEST, LONGEST))
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
            at = end + draw(st.sampled_from([0, 1, 250_001]))
    return found


@st.composite
def _told(draw: st.DrawFn, truth: Truth, *, complete: bool) -> list[Told]:
    """What an agent told of a truth: cut anywhere, also across quarter hours, with holes."""
    found = []
    at = truth.start
    while at < truth.end:
        end = at + draw(st.integers(SHORTEST, LONGEST))
        if truth.end - end < SHORTEST:
            end = truth.end
        if complete or draw(st.integers(0, 4)):
            dur = end - at
            unobserved = draw(st.integers(0, dur))
            util = draw(st.integers(0, dur - unobserved))
            used = draw(st.integers(0, truth.share * util))
            occupied = draw(st.integers(0, dur - unobserved))
            energy = draw(st.one_of(st.none(), st.integers(0, 300 * dur)))
            found.append(
                Told(truth.session, truth.device, at, end, util, used, occupied, unobserved, energy)
            )
        at = end
    return found


def _record(seq: int, of: Allocation, span: Told, base: int) -> dict[str, Any]:
    return segment(
        seq,
        of,
        span.start,
        span.end - span.start,
        b0=span.start - base + 1_000_000,
        util_ms=span.util,
        used_u=span.used if span.util else None,
        occupied_ms=span.occupied,
        unobserved_ms=span.unobserved,
        energy_mj=span.energy,
        energy_method=None if span.energy is None else "split",
    )


@st.composite
def histories(draw: st.DrawFn, bases: st.SearchStrategy[int], *, complete: bool = False) -> History:
    """A history, its numbered records in batches: reordered, repeated, and cut otherwise.

    An agent that lost its spool goes on in another epoch, and after a reboot in another boot. Each
    batch has a tail, which no later one may complete: its agent was killed.
    """
    base = draw(bases)
    known = draw(truths(base))
    told = [span for truth in known for span in draw(_told(truth, complete=complete))]
    told.sort(key=lambda span: (span.start, span.device))
    by_key = {(truth.session, truth.device): held(truth) for truth in known}
    losses = draw(st.sets(st.integers(0, max(0, len(told) - 1)), max_size=2))
    reboots = draw(st.sets(st.sampled_from(sorted(losses)))) if losses else set()
    names: list[tuple[str, int]] = []
    lives: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    epoch = boot = seq = 0
    for number, span in enumerate(told):
        if number in losses:
            epoch, seq = epoch + 1, 0
            boot += number in reboots
        seq += 1
        names.append((f"e{epoch}", seq))
        life = (f"e{epoch}", f"{BOOT}{boot or ''}")
        lives[life].append(_record(seq, by_key[span.session, span.device], span, base))
    chunks = [(life, chunk) for life, records in lives.items() for chunk in draw(_chunks(records))]
    deliveries = []
    for number, ((epoch_, boot_), chunk) in enumerate(draw(st.permutations(chunks)), 1):
        tail = {name: one for name, one in chunk[-1].items() if name not in ("type", "seq")}
        deliveries.append(
            batch(chunk, *by_key.values(), epoch=epoch_, boot=boot_, heartbeat=number, open=[tail])
        )
    return History(known, told, names, deliveries, [draw(_testimony(known))])


@st.composite
def _chunks(draw: st.DrawFn, records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Some records at a time, and some of them once more."""
    chunks = []
    rest = records
    while rest:
        size = draw(st.integers(1, 6))
        chunks.append(rest[:size])
        rest = rest[size:]
    return chunks + [[one] for one in draw(st.lists(st.sampled_from(records), max_size=4))]


@st.composite
def _testimony(draw: st.DrawFn, known: list[Truth]) -> dict[str, Any]:
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
    return seen(*events)
