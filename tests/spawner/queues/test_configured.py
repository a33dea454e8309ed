"""Kueue's own configuration, held against what sessions need of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcetri_spawner.catalog import check
from arcetri_spawner.queues.configured import Configured, Needs, unread
from arcetri_spawner.queues.findings import Finding
from tests.cluster.kueue import CONFIGURATION, MANAGED
from tests.spawner.queues.catalogs import EXAMPLE, catalog

SESSIONS = {"kubernetes.io/metadata.name": "sessions"}
NEEDS = Needs("sessions", SESSIONS, timedelta(minutes=10), timedelta(minutes=3), lends=True)
V1BETA1 = "config.kueue.x-k8s.io/v1beta1"


def said(needs: Needs = NEEDS, **sections: Any) -> dict[str, Finding]:
    """What is found in a configuration with these sections, by its code."""
    text = yaml.safe_dump({"apiVersion": "config.kueue.x-k8s.io/v1beta2", **sections})
    found = {one.code: one for one in Configured.of(text, "kueue-system").findings(needs)}
    assert all(bool(one.remedy) is one.wrong for one in found.values())
    return found


def wrong(needs: Needs = NEEDS, **sections: Any) -> set[str]:
    return {code for code, one in said(needs, **sections).items() if one.wrong}


def test_what_the_tests_cluster_is_told_will_do() -> None:
    assert set(said(**CONFIGURATION)) == {
        "pods_left_alone",
        "jobs_left_alone",
        "fair_sharing",
        "ready_in_time",
    }
    needs = replace(NEEDS, labels={MANAGED: "true"})
    found = said(needs, **CONFIGURATION)
    assert not wrong(needs, **CONFIGURATION)
    assert found["jobs_managed"].sentence == "Batch jobs in sessions can wait in its queues."


def test_of_an_empty_one_what_kueue_takes_for_granted_is_known() -> None:
    """Kueue v0.19's apis/config/v1beta2/defaults.go."""
    assert set(said()) == {
        "pods_left_alone",
        "jobs_managed",
        "fair_sharing_off",
        "ready_in_time",
    }
    assert "30m; hold and start_timeout are 13m together" in said()["ready_in_time"].sentence
    needs = replace(NEEDS, labels={"kubernetes.io/metadata.name": "kueue-system"})
    assert "jobs_left_alone" in said(needs)
    assert "jobs_managed" in said(needs, managedJobsNamespaceSelector={})


@pytest.mark.parametrize(
    ("framework", "selector", "code"),
    [
        ("pod", None, "pods_managed"),
        ("deployment", {}, "pods_managed"),
        ("pod", {"matchLabels": {MANAGED: "true"}}, "pods_left_alone"),
        ("pod", {"matchLabels": SESSIONS}, "pods_managed"),
        (
            "pod",
            {"matchExpressions": [{"key": MANAGED, "operator": "DoesNotExist"}]},
            "pods_managed",
        ),
        ("jobset.x-k8s.io/jobset", None, "pods_left_alone"),
    ],
)
def test_pods_that_it_looks_at_are_told(
    framework: str, selector: Mapping[str, Any] | None, code: str
) -> None:
    frameworks = {"frameworks": ["batch/job", framework]}
    found = said(integrations=frameworks, managedJobsNamespaceSelector=selector)
    assert found[code].wrong is (code == "pods_managed")
    if code == "pods_managed":
        assert f"integrations.frameworks has {framework}" in found[code].sentence


@pytest.mark.parametrize(
    ("groups", "lends"),
    [
        ([{"quota": 2}], False),
        ([{"quota": 2, "borrow": 1}], True),
        ([{"quota": 2}, {}], False),
        ([{"quota": 2}, {}, {}], True),  # two share what the quota leaves
        ([{}, {}], False),
    ],
)
def test_fair_sharing_matters_where_groups_have_what_is_anothers(
    tmp_path: Path, groups: list[dict[str, int]], lends: bool
) -> None:
    named = {f"/g{number}": {"flavors": {"t4": one}} for number, one in enumerate(groups)}
    needs = Needs.of(catalog(tmp_path, groups=named), timedelta(minutes=3), "sessions", SESSIONS)
    assert needs.hold == timedelta(minutes=10)
    assert ("fair_sharing_off" in wrong(needs)) is lends
    assert ("fair_sharing_idle" in said(needs)) is not lends


def test_fair_sharing_is_on_where_it_is_named_and_in_v1beta1_where_it_is_enabled() -> None:
    assert not wrong(fairSharing={})
    assert wrong(apiVersion=V1BETA1, fairSharing={"enable": False}) == {"fair_sharing_off"}
    assert not wrong(apiVersion=V1BETA1, fairSharing={"enable": True})


@pytest.mark.parametrize(
    ("timeout", "code"),
    [
        ("13m", "ready_in_time"),
        ("12m59.5s", "ready_too_soon"),
        ("1h", "ready_in_time"),
        ("800s", "ready_in_time"),
        ("500ms", "ready_too_soon"),
        ("0s", "ready_in_time"),  # Kueue then takes its own
    ],
)
def test_the_time_it_gives_a_start_is_compared_with_ours(timeout: str, code: str) -> None:
    found = said(waitForPodsReady={"timeout": timeout}, fairSharing={})
    assert found[code].wrong is (code == "ready_too_soon")
    assert "13m together" in found[code].sentence


def test_a_start_that_holds_up_all_others_is_told_and_none_where_it_waits_for_none() -> None:
    assert "ready_blocks" in wrong(waitForPodsReady={"blockAdmission": True})
    assert "ready_no_matter" in said(featureGates={"DisableWaitForPodsReady": True})
    # It blocks there unless told otherwise, and is off unless told otherwise.
    assert "ready_no_matter" in said(apiVersion=V1BETA1)
    old = wrong(apiVersion=V1BETA1, waitForPodsReady={"enable": True})
    assert {"ready_blocks", "ready_too_soon"} <= old


def test_a_namespace_whose_labels_are_not_known_is_not_judged() -> None:
    found = said(replace(NEEDS, labels=None), integrations={"frameworks": ["pod"]})
    assert not found["namespace_unknown"].wrong
    assert not {"pods_managed", "jobs_managed"} & set(found)


@pytest.mark.parametrize("text", ["", "- a", "a: [", "waitForPodsReady: {timeout: soon}", "[]"])
def test_what_is_no_configuration_is_not_judged(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is n|no duration"):
        Configured.of(text, "kueue-system")
    assert not unread("it is not written as Kueue reads it.", "kueue-system").wrong


def test_the_catalog_that_comes_with_it_needs_what_kueue_gives_anyway() -> None:
    made = check(EXAMPLE).catalog
    assert made is not None
    needs = Needs.of(made.catalog, timedelta(seconds=180), "sessions", SESSIONS)
    assert wrong(needs, fairSharing={}) == set()


def test_the_page_has_every_word_for_what_is_wrong() -> None:
    page = EXAMPLE.parents[3] / "docs" / "explanation" / "queues.md"
    everything = said(
        integrations={"frameworks": ["pod"]},
        waitForPodsReady={"timeout": "1s", "blockAdmission": True},
    )
    codes = {code for code, one in everything.items() if one.wrong}
    assert codes == {"pods_managed", "fair_sharing_off", "ready_too_soon", "ready_blocks"}
    text = page.read_text(encoding="utf-8")
    assert [code for code in codes if f"| `{code}` |" not in text] == []
