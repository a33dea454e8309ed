"""What is kept of Workloads, whichever comes first: news, or the answer to one's own change."""

from __future__ import annotations

from typing import Any, cast

from arcetri_spawner.backends.kubernetes.kueue.following import Following
from kueue_client import Workload


def workload(version: str, uid: str = "first") -> Workload:
    metadata = {"name": "one", "namespace": "n", "uid": uid, "resourceVersion": version}
    return Workload.from_wire({"metadata": metadata, "spec": {"queueName": "cms"}})


def followed() -> tuple[Following[Workload], list[str]]:
    told: list[str] = []

    def changed(_before: Workload | None, after: Workload | None) -> None:
        told.append(after.metadata.resource_version if after is not None else "gone")

    return Following[Workload](cast("Any", None), "n", "", changed), told


def test_an_answer_that_comes_after_the_news_is_no_news() -> None:
    copy, told = followed()
    copy.put(workload("9"))
    # Admitted meanwhile: of that nobody tells again.
    copy._take(workload("12"))
    copy.newer(workload("10"))
    copy.put(workload("9"))
    assert copy.there["one"].metadata.resource_version == "12"
    assert told == ["9", "12"]


def test_an_answer_that_comes_first_is_not_undone_by_older_news() -> None:
    copy, told = followed()
    copy.put(workload("9"))
    copy.newer(workload("12"))
    copy._take(workload("10"))
    assert told == ["9", "12"]
    copy._take(workload("13"))
    assert told == ["9", "12", "13"]


def test_another_of_the_same_name_is_taken_however_it_counts() -> None:
    copy, told = followed()
    copy.put(workload("9"))
    copy.put(workload("3", uid="second"))
    # What is said of the one before it is over.
    copy.newer(workload("10"))
    assert told == ["9", "3"]
    copy.drop("one")
    copy.newer(workload("4", uid="second"))
    assert copy.there == {}
