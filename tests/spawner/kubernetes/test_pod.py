"""What policy demands of a pod, one demand at a time; see test_traits for all of them at once."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.manifest import BadManifest, JsonObject
from arcetri_spawner.backends.kubernetes.marks import read_marks
from arcetri_spawner.backends.kubernetes.plan import Person, Rules
from arcetri_spawner.backends.kubernetes.pod import ShapedPod, shape_pod
from arcetri_spawner.policy.model import MountedVolume, ScratchSpace
from tests.spawner.kubernetes.plans import (
    DATA,
    HOME,
    SCRATCH,
    SESSION,
    TOKEN,
    cluster_catalog,
    manifest,
    plan,
)
from tests.spawner.kubernetes.restricted import devices, violations
from tests.support.builders import GIB


def notebook(shaped: ShapedPod) -> JsonObject:
    found: JsonObject = shaped.manifest["spec"]["containers"][0]
    return found


def env(shaped: ShapedPod) -> dict[str, Any]:
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom"))
        for entry in notebook(shaped)["env"]
    }


def paths(shaped: ShapedPod) -> set[str]:
    return {entry.path for entry in shaped.overruled}


def test_the_stock_pod_asks_for_nothing_that_is_overruled() -> None:
    before = manifest()
    untouched = deepcopy(before)
    shaped = shape_pod(before, plan())
    assert shaped.overruled == ()
    assert before == untouched
    assert violations(shaped.manifest) == []
    assert shape_pod(before, plan()).manifest == shaped.manifest


def test_a_gpu_session_is_tied_to_its_nodes_and_has_one_device() -> None:
    spec = shape_pod(manifest(), plan()).manifest["spec"]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "Tesla-T4"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
    }


@pytest.mark.parametrize(
    ("flavor", "resource"), [("a100-1g", "nvidia.com/mig-1g.5gb"), ("v70", "amd.com/v70")]
)
def test_a_slice_and_an_fpga_go_by_their_exact_names(flavor: str, resource: str) -> None:
    shaped = shape_pod(manifest(), plan(flavor))
    assert devices(shaped.manifest) == {
        ("notebook", "requests", resource): "1",
        ("notebook", "limits", resource): "1",
    }


def test_a_cpu_session_sees_no_device_whatever_its_image_says() -> None:
    shaped = shape_pod(manifest(), plan("cpu"))
    assert devices(shaped.manifest) == {}
    assert env(shaped)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "nodeSelector" not in shaped.manifest["spec"]
    # With a device granted the device plugin sets it, and a value of ours would win over it.
    assert "NVIDIA_VISIBLE_DEVICES" not in env(shape_pod(manifest(), plan("t4")))
    assert env(shape_pod(manifest(), plan("v70")))["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_no_device_slips_in_beside_the_flavours() -> None:
    side = {"name": "side", "resources": {"limits": {"nvidia.com/gpu": 4}}}
    made = manifest(
        initContainers=[{"name": "first", "resources": {"requests": {"nvidia.com/mig-1g.5gb": 1}}}],
        resources={"limits": {"nvidia.com/gpu": 8}},
        resourceClaims=[{"name": "gpu", "resourceClaimName": "any"}],
    )
    made["spec"]["containers"].append(side)
    own = made["spec"]["containers"][0]
    own["resources"] = {
        "limits": {"nvidia.com/gpu": "8", "nvidia.com/gpu.shared": 1, "squat.ai/fuse": 1},
        "requests": {"nvidia.com/gpu": "8"},
        "claims": [{"name": "gpu"}],
    }
    own["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"})
    shaped = shape_pod(made, plan())
    assert set(devices(shaped.manifest).values()) == {"1"}
    assert {key[0] for key in devices(shaped.manifest)} == {"notebook"}
    assert notebook(shaped)["resources"]["limits"]["squat.ai/fuse"] == 1
    assert "resourceClaims" not in shaped.manifest["spec"]
    assert paths(shaped) == {
        "spec.resources",
        "spec.resourceClaims",
        "spec.containers[notebook].resources.claims",
        "spec.containers[notebook].resources.limits[nvidia.com/gpu]",
        "spec.containers[notebook].resources.limits[nvidia.com/gpu.shared]",
        "spec.containers[notebook].resources.requests[nvidia.com/gpu]",
        "spec.initContainers[first].resources.requests[nvidia.com/mig-1g.5gb]",
        "spec.containers[side].resources.limits[nvidia.com/gpu]",
        "spec.containers[notebook].env[NVIDIA_VISIBLE_DEVICES]",
    }


def test_the_size_wins_over_the_sites_amounts_and_jupyterhubs_variables_agree() -> None:
    made = manifest()
    made["spec"]["containers"][0]["resources"] = {
        "limits": {"cpu": 16.0, "memory": 64 * GIB, "ephemeral-storage": "10Gi"},
        "requests": {"cpu": 2.0, "memory": "8Gi"},
    }
    shaped = shape_pod(made, plan())
    assert notebook(shaped)["resources"]["limits"] == {
        "cpu": "2", "memory": "8Gi", "ephemeral-storage": "10Gi", "nvidia.com/gpu": "1",
    }  # fmt: skip
    assert paths(shaped) == {
        "spec.containers[notebook].resources.limits[cpu]",
        "spec.containers[notebook].resources.limits[memory]",
    }
    assert env(shaped)["MEM_LIMIT"] == str(8 * GIB)
    assert env(shaped)["CPU_LIMIT"] == "2.0"


def test_the_sites_placement_is_obeyed_where_it_narrows() -> None:
    dedicated = {"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user"}
    made = manifest(
        nodeSelector={"pool": "users", "nvidia.com/gpu.product": "A100"},
        nodeName="node7",
        tolerations=[
            dedicated,
            {"operator": "Exists"},
            {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "operator": "Exists"},
        ],
    )
    shaped = shape_pod(made, plan())
    spec = shaped.manifest["spec"]
    assert spec["nodeSelector"] == {"pool": "users", "nvidia.com/gpu.product": "Tesla-T4"}
    assert [entry["key"] for entry in spec["tolerations"]] == [
        "nvidia.com/gpu", "hub.jupyter.org/dedicated", "node.kubernetes.io/unreachable",
    ]  # fmt: skip
    assert "nodeName" not in spec
    assert paths(shaped) == {
        "spec.nodeName",
        "spec.nodeSelector[nvidia.com/gpu.product]",
        "spec.tolerations[1]",
        "spec.tolerations[2]",
    }


def test_a_taint_of_the_catalog_is_for_flavours_that_name_it() -> None:
    made = manifest(tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists"}])
    shaped = shape_pod(made, plan("cpu"))
    assert "tolerations" not in shaped.manifest["spec"]
    assert paths(shaped) == {"spec.tolerations[0]"}


def test_a_ticket_pins_its_session() -> None:
    one = shape_pod(manifest(nodeSelector={"kubernetes.io/hostname": "b"}), plan(nodes=("a",)))
    assert one.manifest["spec"]["nodeSelector"]["kubernetes.io/hostname"] == "a"
    assert paths(one) == {"spec.nodeSelector[kubernetes.io/hostname]"}


def test_several_nodes_bound_every_one_of_the_sites_alternatives() -> None:
    pool = {"key": "pool", "operator": "Exists"}
    terms = [{"matchExpressions": [pool]}, {"matchFields": []}, {}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    shaped = shape_pod(manifest(affinity={"nodeAffinity": required}), plan("cpu", nodes=("a", "b")))
    found = shaped.manifest["spec"]["affinity"]["nodeAffinity"]
    only = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["a", "b"]}
    assert found["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] == [
        {"matchExpressions": [pool, only]},
        {"matchFields": [], "matchExpressions": [only]},
        {},
    ]
    alone = shape_pod(manifest(), plan("cpu", nodes=("a", "b"))).manifest["spec"]["affinity"]
    assert alone["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == {
        "nodeSelectorTerms": [{"matchExpressions": [only]}]
    }


def test_a_claim_is_one_volume_and_each_folder_a_mount() -> None:
    shaped = shape_pod(manifest(), plan(grant={"volumes": (HOME, DATA, SCRATCH)}))
    claims = [
        volume for volume in shaped.manifest["spec"]["volumes"] if "persistentVolumeClaim" in volume
    ]
    assert [volume["persistentVolumeClaim"] for volume in claims] == [
        {"claimName": "shared"},
        {"claimName": "fast.local"},
    ]
    shared, fast = (volume["name"] for volume in claims)
    mounts = {mount["mountPath"]: mount for mount in notebook(shaped)["volumeMounts"]}
    assert mounts["/home/alice"] == {
        "name": shared, "mountPath": "/home/alice", "subPath": "home/alice",
    }  # fmt: skip
    assert mounts["/data/cms"] == {
        "name": shared, "mountPath": "/data/cms", "subPath": "groups/cms",
        "readOnly": True, "recursiveReadOnly": "IfPossible",
    }  # fmt: skip
    assert mounts["/scratch"] == {"name": fast, "mountPath": "/scratch"}
    assert notebook(shaped)["workingDir"] == "/home/alice"


def test_scratch_is_the_pods_own() -> None:
    node = MountedVolume(
        "scratch", "", "/scratch", "", "", read_only=False, scratch=ScratchSpace(64 << 20)
    )
    fast = ScratchSpace(1 << 40, "local-nvme")
    nvme = MountedVolume("nvme", "", "/nvme", "", "", read_only=False, scratch=fast)
    shaped = shape_pod(manifest(), plan(grant={"volumes": (HOME, node, nvme)}))
    volumes = {one["name"]: one for one in shaped.manifest["spec"]["volumes"]}
    mounts = {one["mountPath"]: one["name"] for one in notebook(shaped)["volumeMounts"]}
    assert volumes[mounts["/scratch"]]["emptyDir"] == {"sizeLimit": "64Mi"}
    template = volumes[mounts["/nvme"]]["ephemeral"]["volumeClaimTemplate"]
    assert template["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local-nvme",
        "resources": {"requests": {"storage": "1Ti"}},
    }
    labels = template["metadata"]["labels"].items()
    assert labels <= shaped.manifest["metadata"]["labels"].items()
    assert (podmarks.SESSION, str(SESSION)) in labels
    assert "fsGroup" not in shaped.manifest["spec"]["securityContext"]
    assert violations(shaped.manifest) == []
    given = replace(nvme, scratch=replace(fast, fsgroup=True))
    context = shape_pod(manifest(), plan(grant={"volumes": (HOME, given)})).manifest["spec"]
    assert context["securityContext"]["fsGroup"] == 200001
    assert context["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_a_session_can_write_somewhere_whatever_becomes_of_its_home() -> None:
    shaped = shape_pod(manifest(), plan())
    (runtime,) = [
        one for one in shaped.manifest["spec"]["volumes"] if one["name"] == "arcetri-runtime"
    ]
    assert runtime["emptyDir"] == {"sizeLimit": "64Mi"}
    assert {"name": "arcetri-runtime", "mountPath": "/run/arcetri"} in notebook(shaped)[
        "volumeMounts"
    ]
    assert env(shaped)["JUPYTER_RUNTIME_DIR"] == "/run/arcetri/jupyter"


def test_what_is_made_in_a_group_folder_is_its_members_to_change() -> None:
    shaped = shape_pod(manifest(), plan())
    text = shaped.manifest["metadata"]["annotations"][podmarks.JUPYTER]
    before = os.umask(0o022)
    try:
        exec(compile(text, "jupyter_config.py", "exec"), {})  # noqa: S102 - as Jupyter would
        assert os.umask(before) == 0o007
    finally:
        os.umask(before)
    assert {
        "name": "arcetri-identity", "mountPath": "/etc/jupyter/jupyter_config.py",
        "subPath": "jupyter_config.py", "readOnly": True,
    } in notebook(shaped)["volumeMounts"]  # fmt: skip


def test_jupyterlab_is_given_the_extension_that_tells_of_ends() -> None:
    shaped = shape_pod(manifest(), plan())
    said = shaped.manifest["metadata"]["annotations"]
    package = json.loads(said[podmarks.LAB_PACKAGE])
    place = f"/usr/local/share/jupyter/labextensions/{package['name']}"
    mounts = {one["mountPath"]: one.get("subPath") for one in notebook(shaped)["volumeMounts"]}
    assert mounts[f"{place}/package.json"] == "lab-package.json"
    assert mounts[f"{place}/{package['jupyterlab']['_build']['load']}"] == "lab-script.js"
    assert "jupyter-config-data" in said[podmarks.LAB_SCRIPT]
    # All of a pod's annotations together may have 256 KiB.
    assert sum(map(len, said.values())) < 32 * 1024


def test_shared_memory_is_a_part_of_the_memory() -> None:
    spec = shape_pod(manifest(), plan()).manifest["spec"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "arcetri-shm"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    without = shape_pod(manifest(), plan(grant={"shm": None})).manifest["spec"]
    assert all(volume["name"] != "arcetri-shm" for volume in without["volumes"])


def test_who_has_no_home_volume_gets_a_folder_unless_the_site_gives_one() -> None:
    bare = plan(grant={"volumes": ()})
    shaped = shape_pod(manifest(), bare)
    assert {"name": "arcetri-home", "mountPath": "/home/alice"} in notebook(shaped)["volumeMounts"]
    made = manifest(volumes=[{"name": "own", "persistentVolumeClaim": {"claimName": "claim-a"}}])
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "own", "mountPath": "/home/alice/"}]
    kept = shape_pod(made, bare)
    assert kept.overruled == ()
    assert "arcetri-home" not in {mount["name"] for mount in notebook(kept)["volumeMounts"]}


def test_the_sites_volumes_are_obeyed_but_for_host_secrets_and_the_catalogs_claims() -> None:
    made = manifest(
        volumes=[
            {"name": "conf", "configMap": {"name": "site"}},
            {"name": "host", "hostPath": {"path": "/"}},
            {"name": "keys", "secret": {"secretName": "tls"}},
            {"name": "all", "persistentVolumeClaim": {"claimName": "shared"}},
            {
                "name": "mixed",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "t"}},
                        {"configMap": {"name": "a"}},
                    ]
                },
            },
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {"name": "arcetri-shm", "emptyDir": {}},
        ]
    )
    made["spec"]["containers"][0]["volumeMounts"] = [
        {"name": name, "mountPath": f"/mnt/{name}"}
        for name in ("conf", "host", "keys", "all", "mixed", "token", "arcetri-shm")
    ] + [{"name": "conf", "mountPath": "/home/alice/"}]
    shaped = shape_pod(made, plan())
    kept = {volume["name"] for volume in shaped.manifest["spec"]["volumes"]}
    assert {"conf", "mixed"} <= kept
    assert not {"host", "keys", "all", "token"} & kept
    mounted = {mount["mountPath"] for mount in notebook(shaped)["volumeMounts"]}
    assert {path for path in mounted if path.startswith("/mnt")} == {"/mnt/conf", "/mnt/mixed"}
    assert {f"spec.volumes[{name}]" for name in ("host", "keys", "all", "arcetri-shm")} <= paths(
        shaped
    )
    assert "spec.volumes[mixed].projected.sources[0].serviceAccountToken" in paths(shaped)
    assert "spec.containers[notebook].volumeMounts[/home/alice/]" in paths(shaped)


def test_the_sessions_own_certificates_may_be_mounted() -> None:
    made = manifest(volumes=[{"name": "certs", "secret": {"secretName": "jupyter-alice"}}])
    assert shape_pod(made, plan(certificates="jupyter-alice")).overruled == ()
    assert paths(shape_pod(made, plan())) == {"spec.volumes[certs]"}


def test_the_token_is_moved_into_a_secret_that_goes_with_the_pod() -> None:
    shaped = shape_pod(manifest(), plan())
    assert TOKEN not in str(shaped.manifest)
    assert TOKEN not in repr(shaped)
    reference = {"name": f"session-{SESSION}", "key": "JUPYTERHUB_API_TOKEN"}
    assert env(shaped)["JUPYTERHUB_API_TOKEN"] == {"secretKeyRef": reference}
    assert env(shaped)["JUPYTERHUB_USER"] == "alice"
    secret = shaped.secret("uid-1")
    assert secret is not None
    assert secret["stringData"] == {"JUPYTERHUB_API_TOKEN": TOKEN, "JPY_API_TOKEN": TOKEN}
    assert secret["metadata"]["name"] == reference["name"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    assert secret["metadata"]["labels"] == {
        key: value
        for key, value in shaped.manifest["metadata"]["labels"].items()
        if key.startswith("arcetri.dev/")
    }


def test_what_looks_secret_is_moved_with_its_references_filled_in() -> None:
    made = manifest()
    made["spec"]["containers"][0]["env"] += [
        {"name": "REGION", "value": "eu"},
        {"name": "S3_SECRET_KEY", "value": "k-$(REGION)-$$(REGION)-$(NOWHERE)"},
        {"name": "STORE", "value": "postgres://alice:pw@db/x"},
        {"name": "KEYBOARD", "value": "qwerty"},
    ]
    made["spec"]["containers"].append(
        {"name": "side", "env": [{"name": "API_TOKEN", "value": "sides"}]}
    )
    shaped = shape_pod(made, plan())
    assert shaped.values["S3_SECRET_KEY"] == "k-eu-$(REGION)-$(NOWHERE)"
    assert shaped.values["STORE"] == "postgres://alice:pw@db/x"
    assert shaped.values["side.API_TOKEN"] == "sides"
    assert env(shaped)["KEYBOARD"] == "qwerty"
    assert shaped.overruled == ()


def test_the_hubs_own_secrets_and_other_secrets_stay_away() -> None:
    made = manifest()
    made["spec"]["containers"][0] |= {
        "env": [
            {"name": "JUPYTERHUB_CRYPT_KEY", "value": "hubs"},
            {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "tls", "key": "k"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "site"}}],
    }
    shaped = shape_pod(made, plan())
    assert "hubs" not in str(shaped.manifest) + str(shaped.values)
    assert env(shaped)["POD_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert notebook(shaped)["envFrom"] == [{"configMapRef": {"name": "site"}}]
    assert paths(shaped) == {
        "spec.containers[notebook].env[JUPYTERHUB_CRYPT_KEY]",
        "spec.containers[notebook].env[OTHER]",
        "spec.containers[notebook].envFrom[0].secretRef",
    }
    assert shaped.secret("uid") is None


def test_a_session_runs_as_its_person_and_the_kubelet_changes_no_owner() -> None:
    context = {"fsGroup": 100, "supplementalGroups": [0, 300009], "runAsUser": 1000}
    made = manifest(securityContext=context)
    made["spec"]["containers"][0]["securityContext"] = {"runAsUser": 0, "privileged": True}
    shaped = shape_pod(made, plan())
    assert shaped.manifest["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 200001,
        "runAsGroup": 200001,
        "supplementalGroups": [300001, 300002],
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert violations(shaped.manifest) == []
    assert {entry.path.rpartition(".")[2] for entry in shaped.overruled} == {
        "fsGroup", "supplementalGroups", "runAsUser", "privileged",
    }  # fmt: skip
    # Where none of the catalog's volumes is mounted it harms nobody.
    alone = shape_pod(made, plan(grant={"volumes": ()}))
    assert alone.manifest["spec"]["securityContext"]["fsGroup"] == 100


def test_where_nodes_can_an_image_gives_no_further_groups() -> None:
    rules = Rules.of(cluster_catalog(), namespace="s", instance="i", strict_groups=True)
    context = shape_pod(manifest(), plan(rules=rules)).manifest["spec"]["securityContext"]
    assert context["supplementalGroupsPolicy"] == "Strict"


def test_the_person_has_a_name_in_the_session() -> None:
    shaped = shape_pod(manifest(), plan())
    said = shaped.manifest["metadata"]["annotations"]
    assert "alice:x:200001:200001::/home/alice:/bin/bash\n" in said[podmarks.PASSWD]
    assert (
        "alice:x:200001:\nlab-cms:x:300001:alice\nlab-astro:x:300002:alice\n"
        in (said[podmarks.GROUPS])
    )
    (volume,) = [
        volume
        for volume in shaped.manifest["spec"]["volumes"]
        if volume["name"] == "arcetri-identity"
    ]
    assert [item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]] == [
        "metadata.annotations['arcetri.dev/passwd']",
        "metadata.annotations['arcetri.dev/groups']",
        "metadata.annotations['arcetri.dev/jupyter']",
        "metadata.annotations['arcetri.dev/lab-package']",
        "metadata.annotations['arcetri.dev/lab-script']",
    ]
    assert {
        "name": "arcetri-identity", "mountPath": "/etc/passwd", "subPath": "passwd",
        "readOnly": True,
    } in notebook(shaped)["volumeMounts"]  # fmt: skip


def test_no_annotation_gives_a_session_a_device() -> None:
    made = manifest()
    name = "cdi.k8s.io/gpus"
    made["metadata"].setdefault("annotations", {})[name] = "nvidia.com/gpu=all"
    shaped = shape_pod(made, plan())
    assert name not in shaped.manifest["metadata"]["annotations"]
    assert f"metadata.annotations[{name}]" in {one.path for one in shaped.overruled}


def test_marks_are_read_back_and_nobody_else_sets_them() -> None:
    made = manifest()
    made["metadata"]["labels"] |= {
        "arcetri.dev/session": "another's",
        "arcetri.dev/extra": "x",
        "kueue.x-k8s.io/queue-name": "q",
        "site": "kept",
    }
    asked = plan(grant={"group": "/Lab/Ünïcode " + "x" * 300, "share": Fraction(1, 7)})
    shaped = shape_pod(made, asked)
    labels = shaped.manifest["metadata"]["labels"]
    assert labels["site"] == "kept"
    assert "arcetri.dev/extra" not in labels
    assert "kueue.x-k8s.io/queue-name" not in labels
    assert len(paths(shaped)) == 3
    marks = read_marks(shaped.manifest)
    assert marks is not None
    assert marks.session == SESSION
    assert marks.group == asked.grant.group
    assert marks.username == "alice"
    said = shaped.manifest["metadata"]["annotations"]
    assert said[podmarks.SHARE] == "1/7"
    assert said["kueue.x-k8s.io/podset-required-topology"] == "kubernetes.io/hostname"
    assert read_marks({"metadata": {"labels": {"app": "x"}}}) is None
    assert read_marks({}) is None


def test_a_session_ends_as_the_catalog_says() -> None:
    made = manifest(terminationGracePeriodSeconds=1, automountServiceAccountToken=True)
    made["spec"]["restartPolicy"] = "Always"
    shaped = shape_pod(made, plan(grant={"stop": timedelta(seconds=29.5)}))
    spec = shaped.manifest["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert paths(shaped) == {
        "spec.restartPolicy",
        "spec.terminationGracePeriodSeconds",
        "spec.automountServiceAccountToken",
    }


def test_the_environments_image_wins_and_without_one_the_sites_stays() -> None:
    assert notebook(shape_pod(manifest(), plan()))["image"].startswith("registry.example/torch@")
    shaped = shape_pod(manifest(), plan(grant={"image": None}))
    assert notebook(shaped)["image"] == env(shaped)["JUPYTER_IMAGE"] == "registry.example/stock:1"


@pytest.mark.parametrize(
    ("made", "where"),
    [
        ({"spec": {"containers": []}}, "no notebook"),
        ({"spec": {"containers": "x"}}, "spec.containers"),
        ({"spec": []}, "spec is not"),
        (manifest(volumes=["x"]), "spec.volumes"),
        (manifest(securityContext=3), "spec.securityContext"),
    ],
)
def test_what_is_no_pod_is_refused_with_its_place(made: JsonObject, where: str) -> None:
    with pytest.raises(BadManifest, match=where):
        shape_pod(made, plan())


@pytest.mark.parametrize("ids", [(0, 5), (5, 0), (-1, 5), (2**31, 5)])
def test_the_systems_ids_are_nobodys(ids: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be the id"):
        Person(*ids)
    with pytest.raises(ValueError, match="cannot be the id"):
        Person(5, 5, {"/a": 0})
