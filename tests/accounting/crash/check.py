"""What is in the ledger, read in plain SQL, against what is true."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from sqlalchemy import text

from arcetri_accounting.ledger.database import Database
from tests.accounting.crash.site import INTERVAL, Site
from tests.accounting.crash.truth import BUSY, Session

_QUARTERS = """
    SELECT a.session, a.device, d.provenance, a.share_u,
           SUM(q.dur_ms), SUM(q.alloc_u), SUM(q.core_ms), SUM(q.used_u), SUM(q.util_u),
           SUM(q.occupied_u), SUM(q.unobserved_u)
    FROM usage_quarter q
    JOIN usage_allocation a ON a.id = q.allocation_id
    JOIN usage_dimensions d ON d.id = a.dimensions_id
    GROUP BY a.session, a.device, d.provenance, a.share_u
"""
_SEGMENTS = """
    SELECT a.session, a.device, SUM(s.dur_ms)
    FROM usage_segment s JOIN usage_allocation a ON a.id = s.allocation_id
    GROUP BY a.session, a.device
"""


class Books:
    """A ledger's database, as anybody can read it."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        found = self._database.read(lambda session: session.execute(text(statement)).all())
        return [tuple(row) for row in found]

    def number(self, statement: str) -> int:
        return int(self.rows(statement)[0][0] or 0)

    def segments(self) -> dict[tuple[str, str], int]:
        """Milliseconds that agents told of, by session and device."""
        return {(session, device): int(ms) for session, device, ms in self.rows(_SEGMENTS)}

    def close(self) -> None:
        self._database.close()


def delivered(books: Books, site: Site) -> bool:
    """Whether the agent's account of every session has the length it should have."""
    told = books.segments()
    return all(
        told.get(key) == sums[0]
        for session in site.hub.sessions
        if session.began > site.outages[0][1]
        for key, sums in session.allocated().items()
        if sums[0]
    )


def totals(books: Books, site: Site) -> None:
    """Every allocated millisecond once, in quarters and in days; nothing else."""
    expected: dict[tuple[str, str], tuple[int, int, int]] = {}
    for session in site.hub.sessions:
        expected |= {key: sums for key, sums in session.allocated().items() if sums[0]}
    for name, milliseconds in site.past.sessions.items():
        expected[name, "GPU-past"] = (milliseconds, 10_080 * milliseconds, 2000 * milliseconds)
    found: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    imported = Counter[str]()
    for session, device, provenance, _share, dur, alloc, core, *rest in books.rows(_QUARTERS):
        used, util, occupied, unobserved = map(int, rest)
        assert 0 <= used <= util <= int(alloc), (session, device)
        assert occupied >= 0, (session, device)
        assert unobserved >= 0, (session, device)
        assert occupied + unobserved <= int(alloc), (session, device)
        to = imported if provenance == "imported" else found[session, device]
        to.update({"dur": int(dur), "alloc": int(alloc), "core": int(core)})
    sums = {
        key: (one["dur"], one["alloc"], one["core"])
        for key, one in found.items()
        if any(one.values())
    }
    differing = {key: (sums.get(key), one) for key, one in expected.items() if sums.get(key) != one}
    assert not differing, f"session and device: in the ledger, in truth: {differing}"
    assert sums.keys() == expected.keys()
    assert imported["alloc"] == 10_080 * site.past.imported
    days = "SELECT SUM(alloc_u) FROM usage_day"
    truth = sum(one[1] for one in expected.values()) + 10_080 * site.past.imported
    assert books.number(days) == truth


def clean(books: Books, site: Site) -> None:
    """Nothing is left over, closed without need, in doubt, or set aside but what had to be."""
    assert books.number("SELECT COUNT(*) FROM usage_quarantine") == site.set_aside
    assert books.rows("SELECT DISTINCT code FROM usage_quarantine") in ([], [("conflict",)])
    for table in ("usage_open", "usage_discrepancy"):
        assert books.rows(f"SELECT * FROM {table}") == [], table  # noqa: S608 - named above
    # What ran before the agent's first start it leaves to the witness; all else it counted itself.
    before = {one.id for one in site.hub.sessions if one.began <= site.outages[0][1]}
    closed = {name for (name,) in books.rows("SELECT session FROM usage_reconciled")}
    assert closed <= before
    # A machine may set its clock while a test runs; nothing else may be noted.
    codes = {code for (code,) in books.rows("SELECT DISTINCT code FROM usage_gap")}
    assert codes <= {"clock", "suspended"}


def used(books: Books) -> None:
    """The devices' known load, of what was measured: whole units are never made up."""
    for session, device, _from, _share, _dur, _alloc, _core, used, util, *_ in books.rows(
        _QUARTERS
    ):
        assert int(used) * 100 <= int(util) * BUSY, (session, device)
        assert int(used) * 100 > int(util) * BUSY - 100 * 1000, (session, device)


def unobserved(books: Books, site: Site) -> tuple[int, int, float]:
    """What was not observed is no more than the agent's absences account for.

    Returns:
        Milliseconds not observed, those allocated, of devices that can be; and the largest part of
        what was allowed that a session needed.
    """
    kept = Counter[tuple[str, str]]()
    for session, device, _from, share, *rest in books.rows(_QUARTERS):
        if share:
            kept[session, device] += int(rest[-1]) // share
    missed = whole = 0
    worst = 0.0
    for one in site.hub.sessions:
        if one.offer.simulated or one.offer.flavor_type != "gpu":
            continue
        allowed = _allowed(site, one)
        for device in one.devices:
            if not one.duration:
                continue
            count = kept[one.id, device]
            assert count <= allowed, (one, count, allowed, _hits(site, one))
            missed, whole = missed + count, whole + one.duration
            worst = max(worst, count / allowed)
    return missed, whole, worst


def _hits(site: Site, one: Session) -> list[tuple[int, int]]:
    """The agent's absences that touch a session.

    An agent that has come back first has to find the driver and its devices.
    """
    finding = 3 * int(INTERVAL * 1000)
    back = [(since, until + finding) for since, until in site.outages]
    return [(a, b) for a, b in back if a < one.ended and b > one.began]


def _allowed(site: Site, one: Session) -> int:
    """For each absence its length and an interval, and one where a session begins and ends.

    The agent gives a device two intervals more to answer, and a machine that is short of time gives
    the agent less.
    """
    each = 3 * int(INTERVAL * 1000)
    hits = _hits(site, one)
    stalls = sum(late for at, late in site.ticker.stalls if one.began - each <= at <= one.ended)
    return 2 * each + sum(b - a + each for a, b in hits) + stalls
