"""What a catalog wants pulled, and where."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from arcetri_hub.cli import main
from arcetri_spawner.backends.kubernetes.demand import demand_of
from arcetri_spawner.prepuller.wanted import ENVIRONMENTS, IMAGE, Prepulling, labels_of, wanted
from tests.spawner.kubernetes.restricted import violations
from tests.support.builders import catalog
from tests.support.catalogs import SHIPPED

SETTINGS = Prepulling(namespace="arcetri", release="farm")
T4 = {"nvidia.com/gpu.product": "Tesla-T4"}
RTX = {"nvidia.com/gpu.product": "Quadro-RTX-5000"}


def flavor(**more: Any) -> dict[str, Any]:
    return {"title": "x", "type": "cpu", **more}


def sets(
    flavors: dict[str, Any], environments: dict[str, Any], settings: Prepulling = SETTINGS
) -> list[dict[str, Any]]:
    named = {name: {"title": name, **entry} for name, entry in environments.items()}
    sizes = {"small": {"cpu": 1.0, "memory": 2**30}}
    of = catalog(
        flavors=flavors, environments=named, sizes=sizes, groups={}, everyone={"flavors": ()}
    )
    return list(wanted(of, settings).values())


def pod(daemonset: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = daemonset["spec"]["template"]["spec"]
    return spec


def image_of(daemonset: dict[str, Any]) -> str:
    image: str = pod(daemonset)["containers"][0]["image"]
    return image


def nodes_of(daemonset: dict[str, Any]) -> list[dict[str, str]] | None:
    affinity = pod(daemonset).get("affinity")
    if affinity is None:
        return None
    required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [
        {one["key"]: one["values"][0] for one in term["matchExpressions"]}
        for term in required["nodeSelectorTerms"]
    ]


def test_an_image_goes_to_the_nodes_of_the_flavours_it_may_be_used_with() -> None:
    flavors = {
        "t4": flavor(nodes=T4),
        "rtx": flavor(nodes=RTX),
        "other": flavor(nodes={"a": "b"}),
    }
    (one,) = sets(flavors, {"torch": {"image": "r.example/torch:1", "flavors": ("t4", "rtx")}})
    assert nodes_of(one) == [RTX, T4]
    assert "tolerations" not in pod(one)


def test_a_flavour_without_nodes_may_run_anywhere() -> None:
    flavors = {"t4": flavor(nodes=T4), "cpu": flavor()}
    (one,) = sets(flavors, {"python": {"image": "r.example/python:1"}})
    assert nodes_of(one) is None


def test_what_asks_for_more_labels_than_another_adds_nothing() -> None:
    flavors = {"t4": flavor(nodes=T4), "t4-north": flavor(nodes={**T4, "zone": "north"})}
    (one,) = sets(flavors, {"torch": {"image": "r.example/torch:1"}})
    assert nodes_of(one) == [T4]


def test_taints_are_tolerated_only_on_the_nodes_of_flavours_that_name_them() -> None:
    flavors = {
        "cpu": flavor(),
        "t4": flavor(nodes=T4, tolerations=("gpu",)),
        "rtx": flavor(nodes=RTX, tolerations=("gpu",)),
    }
    plain, tainted = sets(flavors, {"python": {"image": "r.example/python:1"}})
    assert nodes_of(plain) is None
    assert "tolerations" not in pod(plain)
    assert nodes_of(tainted) == [RTX, T4]
    assert pod(tainted)["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert image_of(plain) == image_of(tainted)


def test_two_environments_with_one_image_pull_it_once() -> None:
    flavors = {"t4": flavor(nodes=T4), "rtx": flavor(nodes=RTX)}
    (one,) = sets(
        flavors,
        {
            "course": {"image": "r.example/torch:1", "flavors": ("t4",)},
            "torch": {"image": "r.example/torch:1", "flavors": ("rtx",)},
        },
    )
    assert nodes_of(one) == [RTX, T4]
    assert one["metadata"]["annotations"][ENVIRONMENTS] == "course, torch"


def test_an_environment_without_an_image_pulls_nothing() -> None:
    assert sets({"cpu": flavor()}, {"python": {"local": "default"}}) == []


LONG = "registry.example/" + "/".join(["x" * 60] * 4) + "/image:" + "y" * 128
DIGEST = "registry.example/arcetri/torch:2026.11@sha256:" + "0" * 64


@pytest.mark.parametrize("image", [LONG, DIGEST, "a", "registry.example:5000/a_b__c.d:_X"])
def test_whatever_an_image_is_called_the_names_are_valid(image: str) -> None:
    settings = Prepulling(
        namespace="arcetri", release="a-very-long-release-name-of-fifty-three-letters-in-all"
    )
    (one,) = sets({"cpu": flavor()}, {"python": {"image": image}}, settings)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", one["metadata"]["name"])
    assert image_of(one) == image
    assert one["metadata"]["annotations"][IMAGE] == image
    for value in one["metadata"]["labels"].values():
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


def test_images_that_look_alike_have_names_of_their_own() -> None:
    images = ["r.example/a/b:1", "r.example/a-b:1", "r.example/a/b:1@sha256:" + "1" * 64, "b:1"]
    environments = {f"e{number}": {"image": image} for number, image in enumerate(images)}
    names = [each["metadata"]["name"] for each in sets({"cpu": flavor()}, environments)]
    assert len(set(names)) == len(images)


def test_what_the_site_demands_holds_besides() -> None:
    settings = Prepulling(
        namespace="arcetri",
        release="farm",
        nodes={"pool": "hub"},
        tolerations=("reserved",),
        pull_secrets=("registry",),
        owner={"kind": "Deployment", "uid": "1"},
    )
    flavors = {"t4": flavor(nodes=T4, tolerations=("gpu",))}
    (one,) = sets(flavors, {"torch": {"image": "r.example/torch:1"}}, settings)
    assert nodes_of(one) == [{"pool": "hub", **T4}]
    assert [each["key"] for each in pod(one)["tolerations"]] == ["gpu", "reserved"]
    assert pod(one)["imagePullSecrets"] == [{"name": "registry"}]
    assert one["metadata"]["ownerReferences"] == [{"kind": "Deployment", "uid": "1"}]


def test_its_pods_are_restricted_and_hold_no_device_and_no_token() -> None:
    for one in wanted(catalog(), SETTINGS).values():
        assert one["metadata"]["labels"].items() >= labels_of("farm").items()
        assert one["spec"]["template"]["metadata"]["labels"] == one["metadata"]["labels"]
        manifest = {**one["spec"]["template"], "kind": "Pod"}
        assert violations(manifest) == []
        assert pod(one)["automountServiceAccountToken"] is False
        void = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}
        assert pod(one)["containers"][0]["env"] == [void]
        demand = demand_of({"spec": pod(one)})
        assert demand.keys() <= {"cpu", "memory"}
        assert not any("/" in name for name in demand)


def test_the_same_catalog_gives_the_same_whatever_the_order() -> None:
    flavors = {
        "t4": flavor(nodes=T4),
        "rtx": flavor(nodes=RTX),
        "cpu": flavor(tolerations=("a", "b")),
    }
    environments = {"x": {"image": "r.example/x:1"}, "y": {"image": "r.example/y:1"}}
    turned = sets(dict(reversed(flavors.items())), dict(reversed(environments.items())))
    by_name = {each["metadata"]["name"]: each for each in turned}
    assert by_name == {each["metadata"]["name"]: each for each in sets(flavors, environments)}


def test_the_command_shows_the_same() -> None:
    options = ["--profiles", str(SHIPPED / "example.yaml"), "--namespace=arcetri", "--release=farm"]
    shown = CliRunner().invoke(main, ["prepull", "show", *options, "--node", "pool=hub"])
    assert shown.exit_code == 0, shown.output
    made = list(yaml.safe_load_all(shown.stdout))
    assert {image_of(each) for each in made} == {
        f"registry.example/{image}"
        for image in (
            "arcetri/minimal:2026.11",
            "arcetri/science:2026.11",
            "arcetri/torch:2026.11",
            "fpga/vitis-ai:3.5",
        )
    }
    assert "&id" not in shown.stdout


def test_the_command_says_what_is_wrong() -> None:
    options = ["--profiles", "nowhere.yaml", "--namespace=arcetri", "--release=farm"]
    shown = CliRunner().invoke(main, ["prepull", "show", *options])
    assert shown.exit_code == 1
    assert "nowhere.yaml" in shown.stderr
    assert "Traceback" not in shown.output
    shown = CliRunner().invoke(main, ["prepull", "show", *options, "--node", "pool"])
    assert shown.exit_code == 2
    assert "KEY=VALUE" in shown.stderr
