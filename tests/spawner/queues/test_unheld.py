"""Sessions that run without a place."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from arcetri_accounting.contract import podmarks
from arcetri_spawner.queues.unheld import unheld
from kueue_client import Workload
from tests.kueue_client.workloads import ADMISSION, ADMITTED, RESERVED

SESSION = UUID(int=7)


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"session-{SESSION}", "labels": {podmarks.SESSION: str(SESSION)}},
        "spec": {"nodeName": "node-7"},
        "status": {"phase": "Running", **status},
    }


def place(*conditions: dict[str, Any], **status: Any) -> Workload:
    labels = {podmarks.SESSION: str(SESSION), podmarks.FLAVOR: "t4"}
    metadata = {"name": f"request-{SESSION}", "namespace": "n", "labels": labels}
    return Workload.from_wire(
        {
            "metadata": {**metadata, "annotations": {podmarks.GROUP: "/cms"}},
            "spec": {"queueName": "cms"},
            "status": {"conditions": list(conditions), **status},
        }
    )


HELD = place(RESERVED, ADMITTED, admission=ADMISSION)


def test_a_session_with_its_place_is_nothing_to_tell() -> None:
    assert list(unheld([pod()], [HELD])) == []


@pytest.mark.parametrize(
    ("workloads", "code", "words", "remedy"),
    [
        ([], "no_place", "has no Workload: somebody deleted it", "The hub makes it anew"),
        ([place()], "place_given_away", "its Workload waits in line", "Nothing: it runs on"),
    ],
)
def test_one_without_is_told_with_what_to_do(
    workloads: list[Workload], code: str, words: str, remedy: str
) -> None:
    (found,) = unheld([pod()], workloads)
    assert (found.request, found.code) == (SESSION, code)
    assert f"Its session runs (pod session-{SESSION}, node node-7)" in found.sentence
    assert words in found.sentence
    assert found.remedy.startswith(remedy)


def test_what_ends_or_is_nobodys_needs_no_place() -> None:
    ending = pod()
    ending["metadata"]["deletionTimestamp"] = "2026-11-28T10:00:00Z"
    other = pod()
    other["metadata"]["labels"] = {}
    assert list(unheld([ending, other, pod(phase="Succeeded")], [])) == []
