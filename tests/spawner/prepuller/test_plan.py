"""What is done about a namespace's DaemonSets, and what is left alone."""

from __future__ import annotations

import copy
from typing import Any

from arcetri_spawner.prepuller.plan import Applied, Steps, altered_by_others, plan
from arcetri_spawner.prepuller.wanted import MANAGER, Prepulling, wanted
from tests.support.builders import catalog

RELEASE = "farm"
WANTED = wanted(catalog(), Prepulling(namespace="arcetri", release=RELEASE))
NAME = next(iter(WANTED))


def there(manifest: Any, **metadata: Any) -> dict[str, Any]:
    """A manifest as the API server has it."""
    found: dict[str, Any] = copy.deepcopy(dict(manifest))
    found["metadata"] |= {"uid": f"uid-{found['metadata']['name']}", "generation": 1, **metadata}
    return found


ALL = [there(one) for one in WANTED.values()]
APPLIED = {
    one["metadata"]["name"]: Applied(one["metadata"]["uid"], 1, WANTED[one["metadata"]["name"]])
    for one in ALL
}


def names(objects: Any) -> list[str]:
    return [each["metadata"]["name"] for each in objects]


def test_what_stands_is_left_alone() -> None:
    assert plan(WANTED, ALL, APPLIED, RELEASE) == Steps()


def test_what_is_missing_is_made() -> None:
    assert names(plan(WANTED, [], {}, RELEASE).apply) == list(WANTED)
    assert names(plan(WANTED, ALL[1:], APPLIED, RELEASE).apply) == [NAME]


def test_a_process_that_starts_applies_everything_once() -> None:
    assert names(plan(WANTED, ALL, {}, RELEASE).apply) == list(WANTED)


def test_what_others_have_changed_is_repaired() -> None:
    for change in (
        {"generation": 2},
        {"uid": "another"},
        {"annotations": {}},
    ):
        found = [there(WANTED[NAME], **change), *ALL[1:]]
        assert names(plan(WANTED, found, APPLIED, RELEASE).apply) == [NAME], change


def test_what_others_have_added_besides_is_no_change() -> None:
    labels = {**WANTED[NAME]["metadata"]["labels"], "team": "ops"}
    found = [there(WANTED[NAME], labels=labels), *ALL[1:]]
    assert plan(WANTED, found, APPLIED, RELEASE) == Steps()


def test_what_is_wanted_otherwise_is_applied_again() -> None:
    settings = Prepulling(namespace="arcetri", release=RELEASE, pull_secrets=("registry",))
    assert names(plan(wanted(catalog(), settings), ALL, APPLIED, RELEASE).apply) == list(WANTED)


def test_what_is_wanted_no_longer_is_removed() -> None:
    less = {name: one for name, one in WANTED.items() if name != NAME}
    assert names(plan(less, ALL, APPLIED, RELEASE).delete) == [NAME]
    going = [there(WANTED[NAME], deletionTimestamp="2026-11-27T18:00:00Z"), *ALL[1:]]
    assert plan(less, going, APPLIED, RELEASE) == Steps()


def test_what_is_not_ours_is_never_touched() -> None:
    theirs = [
        there(WANTED[NAME], name="logging", labels={"app": "logging"}),
        there(WANTED[NAME], name="other", labels={
            **WANTED[NAME]["metadata"]["labels"], "app.kubernetes.io/instance": "another",
        }),
        there(WANTED[NAME], name="by-hand", labels={
            **WANTED[NAME]["metadata"]["labels"], "app.kubernetes.io/managed-by": "Helm",
        }),
    ]  # fmt: skip
    assert plan({}, theirs, {}, RELEASE) == Steps()


def test_a_name_that_somebody_else_has_is_theirs() -> None:
    found = [there(WANTED[NAME], labels={"app": "logging"}), *ALL[1:]]
    assert plan(WANTED, found, APPLIED, RELEASE) == Steps(taken=(NAME,))


def managed(*entries: dict[str, Any]) -> dict[str, Any]:
    own = {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}}
    return {"metadata": {"managedFields": [own, *entries]}}


def test_it_is_known_whether_others_own_a_part_of_it() -> None:
    status = {"manager": "kcm", "subresource": "status", "fieldsV1": {"f:status": {}}}
    label = {"manager": "kubectl-label", "fieldsV1": {"f:metadata": {"f:labels": {}}}}
    spec = {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:template": {}}}}
    assert not altered_by_others(managed(status, label))
    assert altered_by_others(managed(status, spec))
