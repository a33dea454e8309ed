"""The ledger on a real PostgreSQL that waits for its disk, against the same work by hand.

``by hand`` stages a batch with COPY and does the rest in SQL: insert on conflict, compare hashes,
add up and upsert both roll-ups and the watermark, in one transaction. It reads the same JSON with
the standard library, hashes each record, and checks nothing. Beside it, the database's part alone:
both are then given what was read beforehand.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date
from typing import Any

import psycopg
from sqlalchemy import text

from arcetri_accounting.contract.units import QUARTER_MS
from arcetri_accounting.contract.usage import Allocation
from arcetri_accounting.ledger import delivery, ingest
from arcetri_accounting.ledger.app import tune_process
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.reports import access, service
from arcetri_accounting.reports.params import Params
from benchmarks.stats import interleave, ratio_of_medians
from tests.support.postgres import PostgresServer

T0 = 1_774_000_000_000 // QUARTER_MS * QUARTER_MS
SLICES = 56
SEGMENT_MS = 300_000
BATCH = 1000
SESSION = 288
"""Segments of a session: a day."""
PAIRS = 30
WEEK = 7 * 288
BACKLOG_NODES = 50
"""A week of these is 5.6 million segments."""
USERS = 1000


def run() -> dict[str, Any]:
    """Measure everything."""
    tune_process()
    server = PostgresServer(durable=True)
    try:
        return {
            "ingest": _ingest(server),
            "backlog": _backlog(server),
        }
    finally:
        server.close()


def _allocation(node: int, slice_: int, session: int) -> Allocation:
    user = (node * SLICES + slice_ + session * 7919) % USERS
    return Allocation.model_validate(
        {
            "session": f"{node}-{slice_}-{session}",
            "device": f"MIG-{node}-{slice_}",
            "account": f"account-{user}",
            "group": f"/lab/g{user % 40}",
            "flavor": "h100-1g",
            "flavor_type": "gpu",
            "share": "1/7",
            "catalog": "c" * 64,
            "model": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            "millicores": 2000,
            "memory": 2**33,
        }
    )


def _records(
    node: int, first: int, count: int
) -> tuple[list[dict[str, Any]], dict[str, Allocation]]:
    """Numbered segments of a node's slices, one slice after the other in each five minutes."""
    records = []
    known: dict[tuple[int, int], tuple[str, Allocation]] = {}
    for seq in range(first, first + count):
        step, slice_ = divmod(seq - 1, SLICES)
        place = (slice_, step // SESSION)
        if place not in known:
            one = _allocation(node, *place)
            known[place] = (one.key(), one)
        records.append(
            {
                "type": "segment",
                "seq": seq,
                "allocation": known[place][0],
                "t0": T0 + step * SEGMENT_MS,
                "dur_ms": SEGMENT_MS,
                "b0": step * SEGMENT_MS,
                "util_ms": SEGMENT_MS,
                "used_u": 1440 * (seq * 7919 % SEGMENT_MS),
                "occupied_ms": SEGMENT_MS - 1,
                "unobserved_ms": 0,
                "energy_mj": 30_000_000,
                "energy_method": "split",
                "mem_peak": 3 * 2**30,
            }
        )
    return records, dict(known.values())


def _body(node: int, first: int, count: int = BATCH) -> bytes:
    records, known = _records(node, first, count)
    batch = {
        "v": 1,
        "node": f"node-{node}",
        "boot": "boot",
        "epoch": "epoch",
        "heartbeat": first,
        "sent_at": T0,
        "people": {one.account: one.account for one in known.values()},
        "allocations": {key: one.model_dump(mode="json") for key, one in known.items()},
        "records": records,
    }
    return json.dumps(batch).encode()


def _week(node: int) -> list[bytes]:
    """A node's deliveries of a week."""
    count = WEEK * SLICES
    return [_body(node, at, min(BATCH, count + 1 - at)) for at in range(1, count + 1, BATCH)]


def _spread(seconds: list[float]) -> dict[str, float]:
    found = sorted(one * 1000 for one in seconds)
    at = {"median": len(found) // 2, "95 %": len(found) * 95 // 100, "slowest": -1}
    return {name: round(found[place], 1) for name, place in at.items()}


def _store(database: Database, body: bytes) -> None:
    """What the ledger's service does with a delivery."""
    with database.turn():
        read = delivery.read(body)
        database.write(lambda session: ingest.store(session, read, None, T0))


def _ingest(server: PostgresServer) -> dict[str, Any]:
    ours = Database.open(server.new_database())
    by_hand = _ByHand(server.new_database())
    copied = _ByHand(server.new_database())
    for each in (by_hand, copied):
        each.begin()
    places = {"ours": 1, "hand": 1, "copy": 1}

    def first() -> float:
        body = _body(1, places["ours"])
        places["ours"] += BATCH
        return _timed(lambda: _store(ours, body))

    def first_read() -> float:
        read = delivery.read(_body(1, places["ours"]))
        places["ours"] += BATCH
        return _timed(lambda: ours.write(lambda session: ingest.store(session, read, None, T0)))

    def hand() -> float:
        body = by_hand.known(places["hand"])
        places["hand"] += BATCH
        return _timed(lambda: by_hand.store(by_hand.rows(body)))

    def hand_read() -> float:
        rows = by_hand.rows(by_hand.known(places["hand"]))
        places["hand"] += BATCH
        return _timed(lambda: by_hand.store(rows))

    def copy() -> float:
        rows = copied.rows(copied.known(places["copy"]))
        places["copy"] += BATCH
        return _timed(lambda: copied.copy(rows))

    def again() -> float:
        body = _body(1, random.randrange(0, places["ours"] // BATCH) * BATCH + 1)  # noqa: S311
        return _timed(lambda: _store(ours, body))

    def parsed() -> float:
        body = _body(1, places["ours"])
        return _timed(lambda: delivery.read(body))

    against_hand = ratio_of_medians(*interleave(first, hand, pairs=PAIRS))
    database_alone = ratio_of_medians(*interleave(first_read, hand_read, pairs=PAIRS))
    against_copy = ratio_of_medians(*interleave(first, copy, pairs=PAIRS))
    redelivery = ratio_of_medians(*interleave(again, first, pairs=PAIRS))
    reading = sorted(parsed() for _ in range(PAIRS))[PAIRS // 2]
    bytes_ = _bytes_a_segment(ours)
    ours.close()
    by_hand.close()
    copied.close()
    return {
        "batch": BATCH,
        "rows_a_second": round(BATCH / against_hand.ours),
        "by_hand_rows_a_second": round(BATCH / against_hand.reference),
        "copy_rows_a_second": round(BATCH / against_copy.reference),
        "redelivery_rows_a_second": round(BATCH / redelivery.ours),
        "time_to_read_and_check_a_batch_ms": round(reading * 1000, 2),
        "time_against_by_hand": against_hand.to_json(),
        "time_of_the_database_part_against_by_hand": database_alone.to_json(),
        "time_of_redelivery_against_first": redelivery.to_json(),
        "rate_against_by_hand": round(1 / against_hand.ratio, 3),
        "rate_of_the_database_part_against_by_hand": round(1 / database_alone.ratio, 3),
        **bytes_,
    }


def _backlog(server: PostgresServer) -> dict[str, Any]:
    """A week's backlog drains while a month's report is read, by one process with two threads."""
    database = Database.open(server.new_database())
    by_hand = psycopg.connect(
        str(database.url.render_as_string(hide_password=False)).replace("+psycopg", "")
    )
    count = WEEK * SLICES
    begun_with = BACKLOG_NODES // 10 + 1
    # Made beforehand, by other processes: what the agents do must not compete with the ledger here.
    with ProcessPoolExecutor(2) as makers:
        backlog = list(makers.map(_week, range(1, BACKLOG_NODES + 1)))

    def drain(bodies: list[bytes]) -> None:
        while bodies:
            _store(database, bodies.pop(0))

    params = Params.model_validate({"from": date(2026, 3, 1), "to": date(2026, 3, 31)})

    def report() -> float:
        def work(session: Any) -> None:
            found = service.context(session, access.OPERATOR, T0 + 7 * 86_400_000)
            service.report(session, found, params.asked(found, "user"))

        return _timed(lambda: database.read(work))

    first, after = date(2026, 3, 1).toordinal(), date(2026, 3, 31).toordinal()

    def hand() -> float:
        def work() -> None:
            with by_hand.transaction():
                by_hand.execute(_MONTH, (first, after)).fetchall()

        return _timed(work)

    for bodies in backlog[:begun_with]:
        drain(bodies)
    done = threading.Event()
    busy: list[float] = []

    def paced() -> float:
        # As far apart at rest as beside the backlog: one that follows at once finds all it needs
        # in the processor's caches, and the slowest would be of another kind of report.
        time.sleep(0.2)
        return report()

    def read() -> None:
        while not done.is_set():
            busy.append(paced())

    reader = threading.Thread(target=read)
    reader.start()
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        works = [pool.submit(drain, bodies) for bodies in backlog[begun_with:]]
        for work in works:
            work.result()
    seconds = time.perf_counter() - begun
    done.set()
    reader.join()
    at_rest = [paced() for _ in busy]
    large = ratio_of_medians(*interleave(report, hand, pairs=PAIRS))
    # The same roll-ups over a tenth of the raw data.
    by_hand.autocommit = True
    by_hand.execute("DELETE FROM usage_segment WHERE seq % 10 <> 0")
    by_hand.execute("VACUUM FULL usage_segment")
    small = ratio_of_medians(*interleave(report, hand, pairs=PAIRS))
    total = BACKLOG_NODES * count
    drained = total - begun_with * count
    database.close()
    by_hand.close()
    return {
        "segments": total,
        "scale": f"{BACKLOG_NODES} of 50 nodes x {SLICES} slices x 7 days",
        "rows_a_second_while_reading": round(drained / seconds),
        "whole_backlog_takes_minutes": round(50 * count * seconds / drained / 60, 1),
        "reports_while_draining": len(busy),
        "report_while_draining_ms": _spread(busy),
        "report_at_rest_ms": _spread(at_rest),
        "report_against_by_hand": large.to_json(),
        "report_ms_with_a_tenth_of_the_raw_data": round(small.ours * 1000, 2),
        "report_ms_with_all": round(large.ours * 1000, 2),
    }


_MONTH = """
SELECT p.name, sum(alloc_u), sum(used_u), sum(util_u), sum(occupied_u), sum(unobserved_u),
    sum(core_ms), sum(energy_mj)
FROM usage_day JOIN usage_dimensions d ON d.id = dimensions_id
    JOIN usage_person p ON p.id = person_id
WHERE day BETWEEN %s AND %s AND NOT simulated GROUP BY 1 ORDER BY 2 DESC
"""


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _bytes_a_segment(database: Database) -> dict[str, Any]:
    def sizes(session: Any) -> tuple[int, int, int]:
        session.execute(text("ANALYZE"))
        count = session.execute(text("SELECT count(*) FROM usage_segment")).scalar_one()
        of = "SELECT pg_total_relation_size('usage_segment')"
        rollups = (
            "SELECT pg_total_relation_size('usage_quarter') + pg_total_relation_size('usage_day')"
        )
        return (
            count,
            session.execute(text(of)).scalar_one(),
            session.execute(text(rollups)).scalar_one(),
        )

    count, raw, rollups = database.write(sizes)
    each = (raw + rollups) / count
    return {
        "bytes_a_segment_with_indexes": round(raw / count, 1),
        "bytes_of_rollups_a_segment": round(rollups / count, 1),
        "days_of_a_node_of_56_slices_in_1_GB": round(2**30 / each / (SLICES * 288), 1),
    }


class _ByHand:
    """The same tables, filled by SQL that was written for nothing else."""

    def __init__(self, url: str) -> None:
        Database.open(url).close()
        self.connection = psycopg.connect(url)
        self._ids: dict[str, int] = {}

    def close(self) -> None:
        self.connection.close()

    def begin(self) -> None:
        """Make the node's stream, its watermark and a staging table."""
        with self.connection.transaction():
            run = self.connection.execute
            run("INSERT INTO usage_stream (node, epoch, boot) VALUES ('node-1', 'epoch', 'boot')")
            run(
                "INSERT INTO usage_watermark (writer, epoch, contiguous, beyond, updated_at)"
                " VALUES ('agent:node-1', 'epoch', 0, '[]', 0)"
            )
            run("CREATE TEMP TABLE staged (LIKE usage_segment) ON COMMIT DELETE ROWS")

    def known(self, first: int) -> bytes:
        """A batch's body, with its allocations made beforehand."""
        body = _body(1, first)
        for key, one in delivery.read(body).allocations.items():
            if key not in self._ids:
                self._ids[key] = self._allocation(key, one)
        return body

    def rows(self, body: bytes) -> list[tuple[Any, ...]]:
        """The body's rows, each with the hash of what it says."""
        return [
            (
                *(1, one["seq"], self._ids[one["allocation"]], one["t0"], one["dur_ms"]),
                *(one["b0"], one["util_ms"], one["used_u"], one["occupied_ms"]),
                *(one["unobserved_ms"], one["energy_mj"], one["energy_method"] == "split"),
                one["mem_peak"],
                hashlib.sha256(json.dumps(one, sort_keys=True).encode()).digest(),
            )
            for one in json.loads(body)["records"]
        ]

    def _allocation(self, key: str, one: Allocation) -> int:
        with self.connection.transaction():
            run = self.connection.execute
            run(
                "INSERT INTO usage_person (account, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (one.account, one.account),
            )
            run(
                'INSERT INTO usage_dimensions (site, person_id, "group", flavor, flavor_type, kind,'
                " provenance, simulated) SELECT '', id, %s, %s, 'gpu', 'notebook', 'agent', false"
                " FROM usage_person WHERE account = %s ON CONFLICT DO NOTHING",
                (one.group, one.flavor, one.account),
            )
            found = run(
                "INSERT INTO usage_allocation (key, dimensions_id, session, node, device,"
                " generation, model, share_u, shared, millicores, memory, catalog, first, last)"
                " SELECT %s, d.id, %s, 'node-1', %s, 1, '', 1440, false, 2000, 0, '', 0, 0"
                " FROM usage_dimensions d JOIN usage_person p ON p.id = d.person_id"
                ' WHERE p.account = %s AND d."group" = %s RETURNING id',
                (key, one.session, one.device, one.account, one.group),
            ).fetchone()
        assert found is not None  # noqa: S101
        return int(found[0])

    def store(self, rows: list[tuple[Any, ...]]) -> None:
        """One batch, as the module says."""
        run = self.connection.execute
        with self.connection.transaction():
            run("SELECT contiguous FROM usage_watermark WHERE id = 1 FOR UPDATE")
            with self.connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            run(_INSERT_AND_ROLL_UP)
            run(
                "SELECT s.seq FROM staged s JOIN usage_segment u USING (stream_id, seq)"
                " WHERE s.sha256 <> u.sha256"
            ).fetchall()
            run("UPDATE usage_watermark SET contiguous = %s WHERE id = 1", (rows[-1][1],))

    def copy(self, rows: list[tuple[Any, ...]]) -> None:
        """Rows alone."""
        with (
            self.connection.transaction(),
            self.connection.cursor() as cursor,
            cursor.copy("COPY usage_segment FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)


_INSERT_AND_ROLL_UP = f"""
WITH fresh AS (
    INSERT INTO usage_segment SELECT * FROM staged ON CONFLICT DO NOTHING RETURNING *
), summed AS (
    SELECT f.allocation_id, f.t0 / {QUARTER_MS} AS quarter, a.dimensions_id,
        sum(a.share_u * f.dur_ms)::bigint AS alloc_u, sum(f.used_u)::bigint AS used_u,
        sum(a.share_u * f.util_ms)::bigint AS util_u,
        sum(a.share_u * f.occupied_ms)::bigint AS occupied_u,
        sum(a.share_u * f.unobserved_ms)::bigint AS unobserved_u,
        sum(a.millicores * f.dur_ms)::bigint AS core_ms, sum(f.energy_mj)::bigint AS energy_mj,
        sum(f.dur_ms)::bigint AS dur_ms, max(f.mem_peak) AS mem_peak
    FROM fresh f JOIN usage_allocation a ON a.id = f.allocation_id
    GROUP BY 1, 2, 3
), quarters AS (
    INSERT INTO usage_quarter AS q (allocation_id, quarter, alloc_u, used_u, util_u, occupied_u,
        unobserved_u, core_ms, energy_mj, dur_ms, mem_peak, version)
    SELECT allocation_id, quarter, alloc_u, used_u, util_u, occupied_u, unobserved_u, core_ms,
        energy_mj, dur_ms, mem_peak, 1 FROM summed ORDER BY 1, 2
    ON CONFLICT (allocation_id, quarter) DO UPDATE SET alloc_u = q.alloc_u + excluded.alloc_u,
        used_u = q.used_u + excluded.used_u, util_u = q.util_u + excluded.util_u,
        occupied_u = q.occupied_u + excluded.occupied_u,
        unobserved_u = q.unobserved_u + excluded.unobserved_u,
        core_ms = q.core_ms + excluded.core_ms, energy_mj = q.energy_mj + excluded.energy_mj,
        dur_ms = q.dur_ms + excluded.dur_ms,
        mem_peak = greatest(q.mem_peak, excluded.mem_peak), version = q.version + 1
)
INSERT INTO usage_day AS d (day, dimensions_id, alloc_u, used_u, util_u, occupied_u, unobserved_u,
    core_ms, energy_mj, version)
SELECT 719163 + quarter / 96, dimensions_id, sum(alloc_u), sum(used_u), sum(util_u),
    sum(occupied_u), sum(unobserved_u), sum(core_ms), sum(energy_mj), 1
FROM summed GROUP BY 1, 2 ORDER BY 1, 2
ON CONFLICT (day, dimensions_id) DO UPDATE SET alloc_u = d.alloc_u + excluded.alloc_u,
    used_u = d.used_u + excluded.used_u, util_u = d.util_u + excluded.util_u,
    occupied_u = d.occupied_u + excluded.occupied_u,
    unobserved_u = d.unobserved_u + excluded.unobserved_u, core_ms = d.core_ms + excluded.core_ms,
    energy_mj = d.energy_mj + excluded.energy_mj, version = d.version + 1
"""  # noqa: S608 - constants
