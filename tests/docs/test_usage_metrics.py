"""Every metric of the ledger is documented, and nothing else is."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from arcetri_accounting.contract.usage import Batch
from arcetri_accounting.ledger.database import Database
from arcetri_accounting.ledger.delivery import read
from arcetri_accounting.ledger.ingest import store
from arcetri_accounting.ledger.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "usage-metrics.md"


def _names(registry: CollectorRegistry) -> set[str]:
    text = generate_latest(registry).decode()
    return {
        name
        for name in re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE)
        # Prometheus' client writes a gauge beside each counter: when it was made.
        if not name.endswith("_created")
    }


def _documented(prefix: str) -> set[str]:
    rows = re.findall(r"^\| `(arcetri_\w+)` \|", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert len(rows) == len(set(rows))
    return {name for name in rows if name.startswith(prefix)}


def test_the_ledgers_metrics_are_those_documented(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    try:
        batch = Batch(node="n1", boot="b", epoch="e", heartbeat=1, sent_at=1)
        delivery = read(batch.model_dump_json().encode())
        database.write(lambda session: store(session, delivery, None, 1))
        assert _names(Metrics(database).registry) == _documented("arcetri_ledger_")
    finally:
        database.close()
