"""Whatever a site's traits of KubeSpawner ask, the pod keeps what policy demands.

The manifests come from KubeSpawner's own ``make_pod``, fed with hostile values of the arguments
that its traits become, sanitized as its client would send them.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyterhub.objects import Hub, Server
from kubernetes_asyncio.client import ApiClient
from kubespawner.objects import make_pod
from kubespawner.spawner import KubeSpawner
from structlog.testing import capture_logs
from traitlets.config import Config

from arcetri_accounting.contract import podmarks
from arcetri_spawner.backends.kubernetes.manifest import JsonObject
from arcetri_spawner.backends.kubernetes.plan import PodPlan
from arcetri_spawner.backends.kubernetes.pod import ShapedPod, shape_pod
from arcetri_spawner.backends.kubernetes.sample import site_of
from arcetri_spawner.backends.kubernetes.site import Need, Site
from arcetri_spawner.kubespawner import IN_VAIN, ArcetriKubeSpawner, in_vain, sample_pod
from tests.spawner.kubernetes.plans import DATA, HOME, TOKEN, plan
from tests.spawner.kubernetes.restricted import containers, devices, secrets_named, violations

SHM = "/dev/shm"  # noqa: S108 - the very folder
FLAVORS = ("t4", "a100-1g", "v70", "cpu")
RESOURCES = ("nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "nvidia.com/gpu.shared", "amd.com/v70")
STOLEN = "s3cr3t-of-the-hub"


def made_by_kubespawner(**traits: Any) -> JsonObject:
    """What KubeSpawner would send for these arguments."""
    pod = make_pod(
        name="jupyter-alice",
        cmd=["jupyterhub-singleuser"],
        port=8888,
        image="registry.example/jupyterhub/singleuser:5",
        **traits,
    )
    return sanitized(pod)


def sanitized(model: object) -> JsonObject:
    """A model of the client library as JSON; making a client needs no loop, using one does."""
    found: JsonObject = ApiClient.sanitize_for_serialization(ApiClient.__new__(ApiClient), model)
    return found


def known_to_the_api(kind: str, sent: JsonObject) -> JsonObject:
    """An object without what the API's own models do not know."""
    client = ApiClient.__new__(ApiClient)
    model = client.deserialize(SimpleNamespace(data=json.dumps(sent)), kind)
    return sanitized(model)


def spelled(value: Any) -> Any:
    """The same with numbers as text: the API takes amounts as either."""
    if isinstance(value, dict):
        return {key: spelled(own) for key, own in value.items()}
    if isinstance(value, list):
        return [spelled(own) for own in value]
    return value if isinstance(value, bool) else str(value)


def reached(method: str) -> set[str]:
    """What KubeSpawner's method looks at of itself, also through its other methods."""
    looked: set[str] = set()
    todo = [method]
    while todo:
        code = vars(KubeSpawner).get(todo.pop())
        if isinstance(code, FunctionType):
            found = set(re.findall(r"self\.(\w+)", inspect.getsource(code)))
            todo += found - looked
            looked |= found
    return looked


USED_ELSEWHERE = {
    "hub_connect_ip", "hub_connect_port", "ip",  # by JupyterHub, for what a session is told
    "modify_pod_hook",  # by our own spawner
    "namespace",  # which is the platform's own setting, and overruled where it is another
    "pvc_name_template",  # in the names of a site's own volumes
}  # fmt: skip


def test_each_trait_of_kubespawner_makes_the_pod_or_is_said_to_be_in_vain() -> None:
    traits = set(KubeSpawner.class_own_traits(config=True))
    makes = traits & reached("get_pod_manifest")

    assert traits - makes - USED_ELSEWHERE == traits & set(IN_VAIN)
    assert not makes & set(IN_VAIN)


async def test_what_a_site_sets_in_vain_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda *_: None)
    monkeypatch.setattr(ArcetriKubeSpawner, "_told", set())
    config = Config()
    config.KubeSpawner.services_enabled = False
    config.KubeSpawner.delete_grace_period = 5
    config.KubeSpawner.node_selector = {"zone": "a"}
    assert set(in_vain(config)) == {"services_enabled", "delete_grace_period"}
    log = logging.getLogger("test-in-vain")
    told: list[str] = []
    monkeypatch.setattr(log, "warning", lambda text, *words: told.append(text % words))
    for _ in range(2):
        ArcetriKubeSpawner(_mock=True, config=config, log=log)

    ours = sorted(line for line in told if "is not used" in line)
    assert ours == [
        "c.KubeSpawner.delete_grace_period is not used: a session has the time to end that the"
        " catalog gives it, and its pod then goes",
        "c.KubeSpawner.services_enabled is not used: a session is reached at its pod's own address",
    ]


def test_stock_kubespawner_asks_for_nothing_that_is_overruled() -> None:
    made = made_by_kubespawner(
        env={"JUPYTERHUB_API_TOKEN": TOKEN, "HOME_URL": "/hub/home"},
        labels={"component": "singleuser-server"},
        annotations={"hub.jupyter.org/username": "alice"},
        volumes=[{"name": "own", "persistentVolumeClaim": {"claimName": "claim-alice"}}],
        volume_mounts=[{"name": "own", "mountPath": "/home/jovyan"}],
        tolerations=[{"key": "hub.jupyter.org/dedicated", "operator": "Equal", "value": "user"}],
        node_affinity_required=[{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}],
        image_pull_secrets=["registry"],
        lifecycle_hooks={"postStart": {"exec": {"command": ["true"]}}},
        priority_class_name="users",
        scheduler_name="user-scheduler",
    )
    shaped = shape_pod(made, plan())
    assert shaped.overruled == ()
    assert violations(shaped.manifest) == []
    spec = shaped.manifest["spec"]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["schedulerName"] == "user-scheduler"
    assert spec["priorityClassName"] == "users"
    assert spec["containers"][0]["lifecycle"] == {"postStart": {"exec": {"command": ["true"]}}}
    assert spec["containers"][0]["args"] == ["jupyterhub-singleuser"]
    assert {"name": "own", "mountPath": "/home/jovyan"} in spec["containers"][0]["volumeMounts"]
    assert spec["affinity"]["nodeAffinity"]


async def test_the_manifest_of_a_whole_spawner_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # No API server is asked for a manifest, but a spawner wants one to be configured.
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda *_: None)
    user = SimpleNamespace(
        name="alice", id=1, url="/user/alice/", server=Server(), escaped_name="alice",
        groups=[], admin=False, settings={},
    )  # fmt: skip
    spawner = KubeSpawner(
        _mock=True, hub=Hub(), user=user, api_token=TOKEN, oauth_client_id="jupyterhub-user-alice"
    )
    spawner.environment = {"REGION": "eu", "SITE_PASSWORD": "site-pw"}
    spawner.extra_resource_limits = {"nvidia.com/gpu": "4"}
    spawner.extra_pod_config = {"hostNetwork": True}
    spawner.storage_capacity = "1G"
    shaped = shape_pod(sanitized(await spawner.get_pod_manifest()), plan("cpu"))
    assert shaped.values["SITE_PASSWORD"] == "site-pw"
    assert {entry.path for entry in shaped.overruled} == {
        "spec.containers[notebook].resources.limits[nvidia.com/gpu]",
        "spec.hostNetwork",
    }
    check(shaped, plan("cpu"))


async def test_what_a_site_adds_is_known_before_anybody_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = SimpleNamespace(api_client=SimpleNamespace(sanitize_for_serialization=sanitized))
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda *_: client)
    config = Config()
    config.KubeSpawner.node_selector = {"pool": "users"}
    config.KubeSpawner.tolerations = [{"key": "pool", "operator": "Exists"}]
    config.KubeSpawner.node_affinity_required = [
        {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    ]
    config.KubeSpawner.extra_containers = [
        {"name": "files", "image": "x", "resources": {"requests": {"cpu": "500m"}}}
    ]
    config.KubeSpawner.init_containers = {
        "01-fetch": {"name": "fetch", "image": "x", "resources": {"requests": {"memory": "3Gi"}}}
    }
    config.KubeSpawner.extra_resource_guarantees = {"ephemeral-storage": "1Gi"}
    # What only a session could know must not be asked for.
    config.KubeSpawner.environment = {"WHO": lambda spawner: spawner.user.nobody_has_this}
    found = await site_of(lambda: sample_pod(config))
    assert found.node_selector == {"pool": "users"}
    assert [one["key"] for one in found.tolerations] == ["pool"]
    assert found.terms == ({"matchExpressions": [{"key": "disk", "operator": "Exists"}]},)
    need = found.need(1000, 2 << 30, plan().rules)
    assert need == Need(1500, 3 << 30, {"ephemeral-storage": 1 << 30})


async def test_a_site_whose_functions_fail_for_nobody_is_told_and_adds_nothing() -> None:
    async def broken() -> JsonObject:
        raise KeyError("nobody")

    async def odd() -> JsonObject:
        return {"spec": {"containers": []}}

    for sample in (broken, odd):
        with capture_logs() as said:
            assert await site_of(sample) == Site()
        assert "is not counted in what is free" in said[0]["event"]
    assert await site_of(None) == Site()


# What a hostile site could ask -----------------------------------------------------------------

flags = st.booleans()
ids = st.sampled_from([0, 1, 100, 1000, 200001, 300001, 300009, 65534])
amounts = st.dictionaries(
    st.sampled_from([*RESOURCES, "cpu", "memory", "squat.ai/fuse"]),
    st.sampled_from([1, "1", "4", "500m", 0.5, "64Gi", "nonsense"]),
    max_size=4,
)
resources = st.fixed_dictionaries(
    {},
    optional={
        "limits": amounts,
        "requests": amounts,
        "claims": st.just([{"name": "gpu"}]),
    },
)
capabilities = st.fixed_dictionaries(
    {},
    optional={
        "add": st.lists(st.sampled_from(["SYS_ADMIN", "NET_BIND_SERVICE", "ALL"]), max_size=2),
        "drop": st.just(["MKNOD"]),
    },
)
shared_context = {
    "runAsUser": ids,
    "runAsGroup": ids,
    "runAsNonRoot": flags,
    "seccompProfile": st.sampled_from([{"type": "Unconfined"}, {"type": "RuntimeDefault"}, {}]),
    "appArmorProfile": st.sampled_from([{"type": "Unconfined"}, {"type": "RuntimeDefault"}]),
    "seLinuxOptions": st.sampled_from([{"type": "spc_t"}, {"user": "system_u"}, {"level": "s0"}]),
    "windowsOptions": st.just({"hostProcess": True}),
}
container_context = st.fixed_dictionaries(
    {},
    optional={
        **shared_context,
        "privileged": flags,
        "allowPrivilegeEscalation": flags,
        "capabilities": capabilities,
        "procMount": st.sampled_from(["Default", "Unmasked"]),
        "readOnlyRootFilesystem": flags,
    },
)
pod_context = st.fixed_dictionaries(
    {},
    optional={
        **shared_context,
        "fsGroup": ids,
        "fsGroupChangePolicy": st.just("Always"),
        "supplementalGroups": st.lists(ids, max_size=3),
        "sysctls": st.sampled_from(
            [
                [{"name": "kernel.msgmax", "value": "1"}],
                [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
            ]
        ),
    },
)
VOLUMES: list[dict[str, Any]] = [
    {"name": "v0", "hostPath": {"path": "/"}},
    {"name": "v1", "secret": {"secretName": "hub"}},
    {"name": "v2", "persistentVolumeClaim": {"claimName": "shared"}},
    {"name": "v3", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    {"name": "v4", "projected": {"sources": [{"secret": {"name": "hub"}}]}},
    {"name": "v5", "configMap": {"name": "site"}},
    {"name": "v6", "nfs": {"server": "nas", "path": "/"}},
    {"name": "v7", "emptyDir": {}},
    {"name": "arcetri-shm", "hostPath": {"path": SHM}},
    {"name": "arcetri-identity", "configMap": {"name": "site"}},
]
volumes = st.lists(st.sampled_from(VOLUMES), max_size=5, unique_by=lambda volume: volume["name"])
mounts = st.lists(
    st.builds(
        lambda name, path: {
            "name": name,
            "mountPath": path,
            "mountPropagation": "Bidirectional",
        },
        st.sampled_from([volume["name"] for volume in VOLUMES]),
        st.sampled_from(["/mnt", SHM, f"{SHM}/", "/etc/passwd", "/home/alice", "/x"]),
    ),
    max_size=4,
    unique_by=lambda mount: mount["mountPath"].rstrip("/"),
)
env_lists = st.lists(
    st.sampled_from(
        [
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
            {"name": "HOME", "value": "/root"},
            {"name": "S3_TOKEN", "value": STOLEN},
            {"name": "JUPYTERHUB_CRYPT_KEY", "value": STOLEN},
            {"name": "CONFIGPROXY_AUTH_TOKEN", "value": STOLEN},
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "k"}}},
        ]
    ),
    max_size=4,
    unique_by=lambda entry: entry["name"],
)
probe = {"httpGet": {"host": "169.254.169.254", "port": 80}}
container_extras = {
    "resources": resources,
    "securityContext": container_context,
    "env": env_lists,
    "envFrom": st.just([{"secretRef": {"name": "hub"}}]),
    "ports": st.just([{"name": "p", "containerPort": 22, "hostPort": 22, "hostIP": "10.0.0.1"}]),
    "livenessProbe": st.just(probe),
    "lifecycle": st.just({"postStart": probe}),
    "restartPolicy": st.sampled_from(["Always", "Never"]),
    "volumeMounts": mounts,
    "volumeDevices": st.just([{"name": "v2", "devicePath": "/dev/x"}]),
}
extra_container = st.fixed_dictionaries({}, optional=container_extras)
tolerations = st.lists(
    st.sampled_from(
        [
            {"operator": "Exists"},
            {"key": "nvidia.com/gpu", "operator": "Exists"},
            {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"},
            {"key": "mine", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
        ]
    ),
    max_size=3,
)
extra_pod = st.fixed_dictionaries(
    {},
    optional={
        "hostNetwork": flags,
        "hostPID": flags,
        "hostIPC": flags,
        "nodeName": st.just("node1"),
        "os": st.just({"name": "windows"}),
        "automountServiceAccountToken": flags,
        "enableServiceLinks": flags,
        "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
        "terminationGracePeriodSeconds": st.integers(0, 5),
        "resources": resources,
        "resourceClaims": st.just([{"name": "gpu", "resourceClaimName": "any"}]),
        "volumes": volumes,
        "securityContext": pod_context,
        "tolerations": tolerations,
        "nodeSelector": st.just({"nvidia.com/gpu.product": "A100", "pool": "x"}),
        "ephemeralContainers": st.just(
            [{"name": "debug", "securityContext": {"privileged": True}}]
        ),
    },
)
prefixed = st.dictionaries(
    st.sampled_from(
        [podmarks.SESSION, podmarks.GROUP, podmarks.PASSWD, "kueue.x-k8s.io/queue-name", "site"]
    ),
    st.sampled_from(["forged", "x"]),
    max_size=3,
)
loose = st.sampled_from(
    [
        {"container.apparmor.security.beta.kubernetes.io/notebook": "unconfined"},
        {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"},
        {},
    ]
)
traits = st.fixed_dictionaries(
    {},
    optional={
        "uid": ids,
        "gid": ids,
        "fs_gid": ids,
        "supplemental_gids": st.lists(ids, max_size=3),
        "privileged": flags,
        "allow_privilege_escalation": flags,
        "container_security_context": container_context,
        "pod_security_context": pod_context,
        "volumes": volumes,
        "volume_mounts": mounts,
        "labels": prefixed,
        "annotations": st.builds(lambda one, other: one | other, prefixed, loose),
        "cpu_limit": st.sampled_from([64.0, 0.1]),
        "mem_limit": st.sampled_from(["512Gi", 1]),
        "extra_resource_limits": amounts,
        "extra_resource_guarantees": amounts,
        "node_selector": st.just({"nvidia.com/gpu.product": "A100"}),
        "service_account": st.just("cluster-admin"),
        "automount_service_account_token": flags,
        "tolerations": tolerations,
        "extra_container_config": st.fixed_dictionaries(
            {},
            optional={**container_extras, "name": st.just("renamed"), "env": env_lists},
        ),
        "extra_pod_config": extra_pod,
        "extra_containers": st.lists(extra_container, max_size=2).map(
            lambda found: [{"name": f"side{i}", **one} for i, one in enumerate(found)]
        ),
        "init_containers": st.lists(extra_container, max_size=2).map(
            lambda found: [{"name": f"init{i}", **one} for i, one in enumerate(found)]
        ),
    },
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=traits, flavor=st.sampled_from(FLAVORS), volumes=st.sampled_from([(), (HOME, DATA)]))
def test_no_traits_get_round_policy(
    asked: dict[str, Any], flavor: str, volumes: tuple[Any, ...]
) -> None:
    decided = plan(flavor, grant={"volumes": volumes}, nodes=("gpu-7",))
    made = made_by_kubespawner(env={"JUPYTERHUB_API_TOKEN": TOKEN}, **asked)
    check(shape_pod(made, decided), decided)


def check(shaped: ShapedPod, decided: PodPlan) -> None:
    """Everything that policy demands, whatever went in."""
    pod = shaped.manifest
    spec, metadata = pod["spec"], pod["metadata"]
    notebook = spec["containers"][0]
    assert violations(pod) == []
    assert spelled(known_to_the_api("V1Pod", pod)) == spelled(pod)
    secret = shaped.secret("u1")
    assert secret is None or known_to_the_api("V1Secret", secret) == secret
    assert metadata["name"] == f"session-{decided.grant.request_id}"
    # The device, once, in the notebook alone.
    resource = decided.flavor.resource
    assert devices(pod) == (
        {("notebook", kind, resource): "1" for kind in ("requests", "limits")} if resource else {}
    )
    assert "resources" not in spec
    assert "resourceClaims" not in spec
    assert not any(container.get("resources", {}).get("claims") for container in containers(pod))
    for container in containers(pod):
        seen = [
            e["value"] for e in container.get("env", []) if e["name"] == "NVIDIA_VISIBLE_DEVICES"
        ]
        holds = container is notebook and str(resource).startswith("nvidia.com/")
        assert seen == ([] if holds else ["void"])
    # The size.
    for kind in ("requests", "limits"):
        assert notebook["resources"][kind]["cpu"] == "2"
        assert notebook["resources"][kind]["memory"] == "8Gi"
    # The place.
    for key, value in decided.flavor.nodes.items():
        assert spec["nodeSelector"][key] == value
    if decided.nodes:
        assert spec["nodeSelector"]["kubernetes.io/hostname"] == decided.nodes[0]
    assert "nodeName" not in spec
    tolerated = {entry.get("key") for entry in spec.get("tolerations", [])}
    assert set(decided.flavor.tolerations) <= tolerated <= {"mine", *decided.flavor.tolerations}
    # The person.
    context = spec["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (200001, 200001)
    assert context["supplementalGroups"] == [300001, 300002]
    assert not {"runAsUser", "runAsGroup"} & set(notebook.get("securityContext", {}))
    if decided.grant.volumes:
        assert "fsGroup" not in context
    # No credentials but the session's own.
    text = str(pod)
    assert TOKEN not in text
    assert STOLEN not in text
    assert "JUPYTERHUB_CRYPT_KEY" not in text + str(shaped.values)
    own = f"secretKeyRef:session-{decided.grant.request_id}"
    assert set(secrets_named(spec)) <= {own}
    assert spec["automountServiceAccountToken"] is False
    # Volumes that are there, once at each place; the catalog's claims as the catalog says.
    names = [volume["name"] for volume in spec["volumes"]]
    assert len(set(names)) == len(names)
    for container in containers(pod):
        places = [mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts", [])]
        assert len(set(places)) == len(places)
        for mount in (*container.get("volumeMounts", []), *container.get("volumeDevices", [])):
            assert mount["name"] in names
            assert mount.get("mountPropagation") != "Bidirectional"
            if mount["name"].startswith("arcetri-"):
                assert container is notebook
    mounted = {mount["mountPath"]: mount for mount in notebook["volumeMounts"]}
    for granted in decided.grant.volumes:
        assert mounted[granted.mount]["subPath"] == granted.path
        assert mounted[granted.mount].get("readOnly", False) == granted.read_only
    shared = [
        volume
        for volume in spec["volumes"]
        if volume.get("persistentVolumeClaim", {}).get("claimName") in decided.rules.claims
    ]
    assert len(shared) == len({granted.claim for granted in decided.grant.volumes})
    assert mounted[SHM]["name"] == "arcetri-shm"
    assert mounted["/etc/passwd"]["name"] == "arcetri-identity"
    # The life.
    assert spec["restartPolicy"] == "Never"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["enableServiceLinks"] is False
    # The marks.
    assert metadata["labels"][podmarks.SESSION] == str(decided.grant.request_id)
    assert metadata["annotations"][podmarks.GROUP] == decided.grant.group
    assert "forged" not in {
        value
        for marks in (metadata["labels"], metadata["annotations"])
        for key, value in marks.items()
        if key != "site"
    }
    assert "kueue.x-k8s.io/queue-name" not in metadata["labels"] | metadata["annotations"]
    # The log says where and why, never a value.
    for entry in shaped.overruled:
        assert entry.path
        assert entry.reason.endswith(".")
        assert STOLEN not in entry.path + entry.reason


def test_the_judge_sees_what_is_wrong_with_a_hostile_pod() -> None:
    made = made_by_kubespawner(
        env={},
        privileged=True,
        extra_pod_config={"hostNetwork": True, "volumes": VOLUMES},
        extra_containers=[{"name": "side", "ports": [{"hostPort": 22}]}],
    )
    found = violations(made)
    for word in ("hostNetwork", "hostPath", "privileged", "hostPort", "seccomp", "runAsNonRoot"):
        assert any(word in violation for violation in found), word
    assert len(secrets_named(made["spec"])) == 3
    with pytest.raises(AssertionError):
        check(ShapedPod(made, (), plan()), plan())
