from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.ledger import rollups
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.rollups import Piece
from arcetri_accounting.ledger.tables import AllocationRow, DayRow, Dimensions, Person, QuarterRow


@st.composite
def _pieces(draw: st.DrawFn) -> tuple[int, Piece]:
    share = draw(st.integers(1, 10_080))
    dur = draw(st.integers(0, 5 * QUARTER_MS))
    unobserved = draw(st.integers(0, dur))
    util = draw(st.integers(0, dur - unobserved))
    return share, Piece(
        allocation_id=1,
        t0=draw(st.integers(0, 4 * QUARTER_MS)),
        dur_ms=dur,
        util_ms=util,
        used_u=draw(st.integers(0, share * util)),
        occupied_ms=draw(st.integers(0, dur - unobserved)),
        unobserved_ms=unobserved,
        energy_mj=draw(st.integers(0, 10**9)),
    )


@given(_pieces())
def test_parts_add_up_and_stay_possible(drawn: tuple[int, Piece]) -> None:
    share, piece = drawn
    parts = [part for _, part in rollups.split(piece)]
    for place in range(2, 8):
        assert sum(part[place] for part in parts) == piece[place]
    begin = piece.t0
    for quarter, part in rollups.split(piece):
        assert part.t0 == begin
        begin += part.dur_ms
        assert quarter * QUARTER_MS <= part.t0
        assert part.t0 + part.dur_ms <= (quarter + 1) * QUARTER_MS
        assert min(part[2:8]) >= 0
        assert part.used_u <= share * part.util_ms
        assert part.util_ms + part.unobserved_ms <= part.dur_ms
        assert part.occupied_ms + part.unobserved_ms <= part.dur_ms


def _allocation(db: Session) -> int:
    person = Person(account="a", name="alice")
    db.add(person)
    db.flush()
    dimensions = Dimensions(
        site="s", person_id=person.id, group="/g", flavor="t4", flavor_type="gpu",
        kind="notebook", provenance="agent", simulated=False,
    )  # fmt: skip
    db.add(dimensions)
    db.flush()
    row = AllocationRow(
        key="k", dimensions_id=dimensions.id, session="s", node="n", device="GPU-1",
        generation=1, model="T4", share_u=1440, shared=False, millicores=2000, memory=1,
        catalog="", first=0, last=0,
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row.id


def test_what_is_added_and_taken_away_leaves_zero_and_a_higher_version(database: Database) -> None:
    allocation = database.write(_allocation)
    piece = Piece(allocation, 800_000, 200_000, 100_000, 7, 50_000, 60_000, 9, 11)
    database.write(lambda db: rollups.apply(db, [piece]))
    rows = database.read(lambda db: db.scalars(select(QuarterRow).order_by("quarter")).all())
    assert [(row.quarter, row.dur_ms, row.alloc_u, row.core_ms, row.version) for row in rows] == [
        (0, 100_000, 144_000_000, 200_000_000, 1),
        (1, 100_000, 144_000_000, 200_000_000, 1),
    ]
    assert [row.mem_peak for row in rows] == [11, 11]
    day = database.read(lambda db: db.scalars(select(DayRow)).one())
    assert (day.day, day.alloc_u, day.used_u, day.energy_mj) == (719_163, 288_000_000, 7, 9)
    database.write(lambda db: rollups.apply(db, [piece._replace(sign=-1)]))
    rows = database.read(lambda db: db.scalars(select(QuarterRow)).all())
    assert {(row.dur_ms, row.alloc_u, row.used_u, row.version) for row in rows} == {(0, 0, 0, 2)}
    assert database.read(lambda db: db.scalars(select(DayRow)).one()).alloc_u == 0
