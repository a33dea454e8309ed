"""The rights that the chart gives are those that are listed, and those that the pages show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.cluster.hub import ROOT
from tests.helm import connections
from tests.helm.matrix import MATRIX
from tests.helm.rights import RIGHTS, rules_of
from tests.support import helm

PAGES = {
    ("hub-rights.yaml", "hub-queues-rights.yaml"): {"hub"},
    ("accounting-rights.yaml",): {"agent", "ledger"},
    ("prepuller-rights.yaml",): {"prepuller"},
    ("provisioner.yaml",): {"provisioner"},
    ("queues-rights.yaml",): {"queues"},
}
KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def _component(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["labels"]["app.kubernetes.io/component"])


def _rendered() -> list[helm.Json]:
    objects = helm.render(connections.everything())
    return [one for one in objects if one["kind"] in KINDS]


@pytest.mark.parametrize("pages", PAGES, ids=" ".join)
def test_pages_show_what_the_chart_makes(pages: tuple[str, ...]) -> None:
    texts = [(ROOT / "docs" / "reference" / page).read_text(encoding="utf-8") for page in pages]
    objects = [one for text in texts for one in yaml.safe_load_all(text)]
    shown = [one for one in objects if one["kind"] in KINDS]
    made = [one for one in _rendered() if _component(one) in PAGES[pages]]
    assert _bare(shown) == _bare(made)


def _bare(objects: list[helm.Json]) -> dict[tuple[str, str], Any]:
    """Objects by kind and name, without labels."""
    return {
        (one["kind"], one["metadata"]["name"]): {
            **one,
            "metadata": {key: value for key, value in one["metadata"].items() if key != "labels"},
        }
        for one in objects
    }


def test_each_component_has_the_rights_that_are_listed_and_no_others() -> None:
    found: dict[str, dict[str, set[Any]]] = {name: {} for name in RIGHTS}
    homes = {name: namespace for name, (namespace, _) in connections.pods().items()}
    for one in _rendered():
        if one["kind"] in ("Role", "ClusterRole"):
            component = _component(one)
            place = {
                None: "cluster",
                homes[component]: "own",
                homes["session"]: "sessions",
                homes["pulled image"]: "images",
            }
            where = place[one["metadata"].get("namespace")]
            found[component].setdefault(where, set()).update(rules_of(one["rules"], helm.RELEASE))
    assert found == RIGHTS


@pytest.mark.parametrize("name", MATRIX)
def test_no_rule_is_wild_and_nobody_is_bound_but_accounts_of_ours(name: str) -> None:
    for one in helm.render(MATRIX[name]):
        if one["kind"] in ("Role", "ClusterRole"):
            assert "*" not in str(one["rules"])
        if one["kind"].endswith("Binding"):
            (subject,) = one["subjects"]
            assert subject["kind"] == "ServiceAccount"
            assert one["roleRef"]["name"].startswith(helm.RELEASE)


def test_two_releases_share_no_right() -> None:
    values = connections.everything()
    names = [
        {
            (one["kind"], one["metadata"]["name"])
            for one in helm.render(values, release=release, namespace=namespace)
            if one["kind"].startswith("ClusterRole")
        }
        for release, namespace in (("a", "a"), ("a", "b"), ("b", "a"))
    ]
    assert len(set.union(*names)) == sum(map(len, names))
