from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

from arcetri_hub.pages.admin.rows import flavor_lines, session_lines
from arcetri_spawner.backends.base import Session
from arcetri_spawner.live import LiveRow
from tests.support.builders import NOW, catalog, device, grant, inventory

ASKED = NOW - timedelta(minutes=1)


def row(state: str = "running", **changes: object) -> LiveRow:
    granted = grant(request_id=uuid4(), **changes)  # type: ignore[arg-type] - a test's builder
    session = Session(
        id=granted.request_id,
        username=granted.username,
        server_name=granted.server_name,
        url="http://127.0.0.1:1",
        devices=(device(3),),
        started=NOW,
    )
    return LiveRow(granted, state, session if state == "running" else None, ASKED)


def test_a_running_session_says_what_it_holds_since_when_and_how_idle_it_is() -> None:
    running = row(server_name="train")
    idle = {running.grant.request_id: timedelta(minutes=12)}
    (line,) = session_lines([running], catalog(), idle)
    assert (line.username, line.server_name, line.group) == ("alice", "train", "/lab/cms")
    assert line.flavor_title == "NVIDIA T4"
    assert [d.uuid for d in line.devices] == ["SIM-00000003"]
    assert (line.since, line.idle_for) == (NOW, timedelta(minutes=12))


def test_a_starting_session_cannot_be_ended_and_counts_from_its_request() -> None:
    (line,) = session_lines([row("starting")], catalog(), {})
    assert (line.since, line.idle_for) == (ASKED, None)
    assert line.devices == ()


def test_a_flavour_gone_from_the_catalog_keeps_its_name() -> None:
    (line,) = session_lines([row(flavor="retired")], catalog(), {})
    assert line.flavor_title == "retired"


def test_flavours_come_in_the_catalogs_order_also_those_there_are_none_of() -> None:
    lines = flavor_lines(catalog(), inventory({"rtx": (1, 3), "t4": (0, 2)}))
    assert [(f.flavor, f.free, f.total) for f in lines] == [
        ("t4", 0, 2),
        ("rtx", 1, 3),
        ("a100-1g", 0, 0),
        ("cpu", 0, 0),
    ]


def test_both_are_plain_json() -> None:
    running = row()
    (line,) = session_lines([running], catalog(), {running.grant.request_id: timedelta(0)})
    told = json.loads(json.dumps(line.as_json()))
    assert told["share"] == "1"
    assert told["idle_seconds"] == 0
    assert told["devices"] == [{"uuid": "SIM-00000003", "model": "Tesla T4", "simulated": True}]
    assert json.loads(json.dumps(flavor_lines(catalog(), inventory())[0].as_json()))["free"] == 4
