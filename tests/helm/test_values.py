"""What the chart makes of its values: settings, the catalog, refusals in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from arcetri_hub.settings import Settings
from arcetri_spawner.store.migrate import RELEASES
from tests.support import helm
from tests.support.helm import Json
from tools.images import newest

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "helm" / "z2jh-overlay" / "values.yaml"
SHARED = {"storage": {"claims": {"shared": {"size": "1Gi", "source": {"nfs": {"server": "n"}}}}}}


def key(one: Json) -> tuple[str, str, str]:
    metadata = one["metadata"]
    return one["kind"], metadata.get("namespace", ""), metadata["name"]


def settings_of(objects: list[Json], tmp_path: Path) -> Settings:
    """The hub's settings, as the hub itself would read them."""
    text = next(
        one["data"]["settings.json"]
        for one in objects
        if one["kind"] == "ConfigMap" and "settings.json" in one.get("data", {})
    )
    (tmp_path / "url").write_text("postgresql://hub@db/hub")
    told = json.loads(text)
    if "database_url_file" in told:
        told["database_url_file"] = str(tmp_path / "url")
    return Settings.model_validate(told)


def test_the_hub_can_read_its_settings(tmp_path: Path) -> None:
    values = helm.merged(
        helm.LEAST,
        SHARED,
        {
            "ingress": {"enabled": True, "host": "ai.example.org"},
            "database": {"existingSecret": "postgres"},
            "iam": {"scopes": ["openid", "offline_access"], "groupsClaim": "groups"},
            "culler": {"interval": 10},
            "sessions": {"strictGroups": True},
        },
    )
    settings = settings_of(helm.render(values), tmp_path)
    assert settings.public_url == "https://ai.example.org"
    assert settings.database_url == "postgresql://hub@db/hub"
    assert settings.iam.scopes == ("openid", "offline_access")
    assert settings.culling_interval == 10
    assert settings.kubernetes is not None
    assert settings.kubernetes.strict_groups
    assert settings.kubernetes.provisioner is not None


DEVELOPMENT = {
    "profiles": {"version": 1},
    "images": {"registry": "registry.example.org/arcetri"},
    "iam": {"development": True},
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"iam": {"issuer": ""}}, "say who people log in with"),
        ({"profiles": None}, "--set-file profiles=profiles.yaml"),
        ({"profiles": {"existingConfigMap": "a", "version": 1}}, "there can be nothing"),
        ({"images": {"registry": ""}}, "images.registry"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"hub": {"enabled": False}}, "hub.publicUrl"),
        ({"hub": {"config": {"JupyterHub": {}}}}, "hub.extraConfig"),
        ({"singleuser": {"image": {"name": "x"}}}, "described by the catalog"),
        ({"proxy": {"secretToken": "x"}}, "hub.existingSecret"),
        ({"ledger": {"enabled": False}}, "agents.enabled=false"),
        ({"hub": {"replicas": 2}}, "additional properties 'replicas' not allowed"),
        ({"images": {"pullPolicy": "Sometimes"}}, "/images/pullPolicy"),
        ({"hub": {"publicUrl": "https://ai.example.org/hub"}}, "/hub/publicUrl"),
        ({"hub": {"url": "http://hub:8081"}}, "set hub.publicUrl"),
        ({"proxy": {"service": {"nodePort": 30080}}}, "set proxy.service.type to NodePort"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(values: Json, words: str) -> None:
    assert words in helm.refused(helm.merged(helm.LEAST, values))


PLACES = ("sessions", "agents", "provisioner", "prepuller")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", ["release", *PLACES])
def test_a_namespace_is_for_one_thing_alone(place: str, other: str) -> None:
    if place == other:
        return
    values: Json = {place: {"namespace": helm.NAMESPACE}}
    if other != "release":
        values = {name: {"namespace": "shared", "create": False} for name in (place, other)}
    said = helm.refused(helm.merged(helm.LEAST, SHARED, values))
    last = place if other == "release" else max(place, other, key=PLACES.index)
    assert f"{last}.namespace: {'arcetri' if other == 'release' else 'shared'} is " in said
    assert "Leave it empty for one of the chart's, or name another" in said


def test_a_namespace_of_nothing_is_in_nobodys_way() -> None:
    off = {
        "agents": {"enabled": False, "namespace": "same"},
        "prepuller": {"enabled": False, "namespace": "same"},
        # There is no claim on which it could make folders, so it does not run.
        "provisioner": {"namespace": "same"},
    }
    made = helm.render(helm.merged(helm.LEAST, off))
    assert not [one for one in made if one["metadata"].get("namespace") == "same"]


ELSEWHERE = {"hub": {"enabled": False, "publicUrl": "https://j.example.org"}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hub": {"extraConfig": {"site": "c.A.b = 1"}}}, "hub.extraConfig in the values of zero"),
        ({"hub": {"extraEnv": {"A": "1"}}}, "hub.extraEnv there"),
        ({"hub": {"extraVolumes": [{"name": "a"}]}}, "hub.extraVolumes there"),
        ({"hub": {"extraVolumeMounts": [{"name": "a"}]}}, "hub.extraVolumeMounts there"),
        ({"hub": {"podAnnotations": {"a": "b"}}}, "hub.annotations there"),
        ({"hub": {"nodeSelector": {"a": "b"}}}, "hub.nodeSelector there"),
        ({"hub": {"tolerations": [{"operator": "Exists"}]}}, "hub.tolerations there"),
        ({"hub": {"affinity": {"podAffinity": {}}}}, "hub.extraPodSpec there"),
        ({"hub": {"priorityClassName": "high"}}, "hub.extraPodSpec there"),
        ({"ingress": {"enabled": True, "host": "j.example.org"}}, "in ingress in the values of"),
        ({"proxy": {"service": {"type": "LoadBalancer"}}}, "proxy.service.type in the values of"),
        ({"networkPolicy": {"hub": {"egress": [{}]}}}, "hub.networkPolicy in its values"),
        ({"networkPolicy": {"proxy": {"ingress": [{}]}}}, "proxy.chp.networkPolicy in its values"),
    ],
)
def test_what_is_said_to_a_hub_that_is_switched_off_is_refused(values: Json, words: str) -> None:
    assert words in helm.refused(helm.merged(helm.LEAST, ELSEWHERE, values))


CSI = {"driver": "nfs.csi.k8s.io", "volumeHandle": "files", "volumeAttributes": {"share": "/"}}


def csi(handle: str) -> Json:
    return {"csi": {**CSI, "volumeHandle": handle}}


def test_two_volumes_of_csi_never_have_the_same_handle() -> None:
    def claims(**claims: Json) -> Json:
        return helm.merged(helm.LEAST, {"storage": {"claims": claims}})

    shared = {"size": "1Gi", "source": csi("files")}
    assert "provisionerSource" in helm.refused(claims(shared=shared))
    both = {**shared, "provisionerSource": csi("files-provisioner")}
    made = helm.render(claims(shared=both))
    handles = {
        one["spec"]["claimRef"]["namespace"]: one["spec"]["csi"]["volumeHandle"]
        for one in made
        if one["kind"] == "PersistentVolume"
    }
    assert handles == {"arcetri-sessions": "files", "arcetri-storage": "files-provisioner"}
    other = {"size": "1Gi", "source": csi("other"), "provisionerSource": csi("files")}
    assert "volumeHandle files" in helm.refused(claims(another=other, shared=both))
    alone = helm.merged(claims(shared=shared), {"provisioner": {"enabled": False}})
    assert helm.render(alone)
    useless = {"size": "1Gi", "provisionerSource": csi("files")}
    assert "no provisioner sees this claim" in helm.refused(claims(shared=useless))


def test_what_holds_sessions_back_outlives_the_release() -> None:
    kept = {
        key(one)[1:]
        for one in helm.render(helm.LEAST)
        if one["kind"] == "NetworkPolicy"
        if one["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    }
    assert kept == {("arcetri-sessions", f"arcetri-{name}") for name in ("default", "sessions")}


# What it prints at the end


def notes(*values: Json) -> str:
    """What an operator reads after an installation, without what only a cluster could tell."""
    text = yaml.safe_dump(helm.merged(helm.LEAST, *values))
    command = ("install", helm.RELEASE, helm.CHART, "--dry-run=client", "--values=-")
    result = helm.call(*command, f"--namespace={helm.NAMESPACE}", stdin=text)
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


SHOWN = """
kind: Notes
text: {{ include "arcetri/templates/NOTES.txt" . | toJson }}
"""


def notes_with_prometheus(chart: Path, *values: Json) -> str:
    """The same on a cluster with the operator; only a rendering can be told of one."""
    shutil.copytree(helm.CHART, chart)
    (chart / "templates" / "shown.yaml").write_text(SHOWN, encoding="utf-8")
    text = yaml.safe_dump(helm.merged(helm.LEAST, *values))
    known = [f"--api-versions={one}" for one in KNOWN]
    result = helm.call("template", helm.RELEASE, chart, "--values=-", *known, stdin=text)
    assert result.returncode == 0, result.stderr
    objects = yaml.safe_load_all(result.stdout)
    return str(next(one["text"] for one in objects if one and one["kind"] == "Notes"))


INGRESS = {"ingress": {"enabled": True, "host": "ai.example.org"}}
KNOWN = ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor")
PROMETHEUS = {"networkPolicy": {"monitoring": {"from": [{"podSelector": {}}]}}}
CLAIM = {"storage": {"claims": {"shared": {"size": "1Gi"}}}}


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ({}, INGRESS, "nobody else can reach it: set ingress"),
        (
            {"proxy": {"service": {"type": "LoadBalancer"}}},
            {"hub": {"publicUrl": "https://ai.example.org"}},
            "a service of the type LoadBalancer lets people in, but a login sends them to",
        ),
        (
            {"proxy": {"service": {"type": "NodePort"}}},
            {},
            "the proxy itself is open to the network as a NodePort, without TLS",
        ),
        (
            {**INGRESS, "hub": {"publicUrl": "http://localhost:8000"}},
            INGRESS,
            "the ingress lets people in, but a login sends them to http://localhost:8000",
        ),
        ({"hub": {"publicUrl": "http://ai.example.org"}}, INGRESS, "over plain HTTP"),
        ({"agents": {"enabled": False}}, {}, "set agents.enabled=true"),
        ({"provisioner": {"enabled": False}}, SHARED, "set provisioner.enabled=true"),
        (CLAIM, SHARED, "no claim in storage.claims has a source"),
        (
            {"prepuller": {"create": False, "namespace": "pulls"}},
            {},
            "the namespace pulls must have the label pod-security.kubernetes.io/enforce=restricted",
        ),
        (
            {"agents": {"create": False, "namespace": "watchers"}},
            {},
            "watchers must have the label pod-security.kubernetes.io/enforce=privileged",
        ),
    ],
)
def test_the_notes_list_what_is_missing_and_only_that(wrong: Json, right: Json, words: str) -> None:
    assert words in notes(wrong)
    assert words not in notes(right)


def test_the_notes_say_that_policies_keep_prometheus_out(tmp_path: Path) -> None:
    words = "name its pods in networkPolicy.monitoring.from"
    assert words in notes_with_prometheus(tmp_path / "blocked")
    assert words not in notes_with_prometheus(tmp_path / "let in", PROMETHEUS)
    assert words not in notes()
    assert "label namespace arcetri pod-security.kubernetes.io/enforce=restricted" in notes()


@pytest.mark.parametrize(
    "values",
    [
        {"ingress": {"enabled": True, "host": "ai.example.org"}},
        {"hub": {"publicUrl": "https://ai.example.org"}},
        {"proxy": {"service": {"type": "LoadBalancer"}}},
        {"hub": {"enabled": False, "publicUrl": "http://127.0.0.1:8000"}},
    ],
)
def test_published_passwords_are_for_this_machine_alone(values: Json) -> None:
    assert "iam.development" in helm.refused(helm.merged(DEVELOPMENT, values))
    assert helm.render(DEVELOPMENT)


def test_the_chart_asks_for_the_images_that_are_built_of_the_same_checkout() -> None:
    chart = yaml.safe_load((helm.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    names = ("hub", "proxy", "ledger", "agent", "provisioner")
    wanted = {f"registry.example.org/arcetri/{name}:{newest(name)}" for name in names}
    assert chart["appVersion"] == newest("hub") == overlay()["hub"]["image"]["tag"]
    made = helm.render(helm.merged(helm.LEAST, SHARED))
    assert {
        container["image"]
        for one in made
        if "template" in one.get("spec", {})
        for container in one["spec"]["template"]["spec"]["containers"]
    } == wanted


def catalog_of(objects: list[Json]) -> str:
    return next(
        str(one["data"]["profiles.yaml"])
        for one in objects
        if one["kind"] == "ConfigMap" and "profiles.yaml" in one.get("data", {})
    )


def test_a_catalog_is_passed_on_as_it_was_given() -> None:
    text = (ROOT / "hub/arcetri_hub/catalogs/example.yaml").read_text(encoding="utf-8")
    kept = catalog_of(helm.render(helm.merged(helm.LEAST, {"profiles": text})))
    # Its lines too: messages name them.
    assert kept.splitlines()[: len(text.splitlines())] == text.splitlines()
    value = yaml.safe_load(text)
    made = catalog_of(helm.render(helm.merged(helm.LEAST, {"profiles": value})))
    assert yaml.safe_load(made) == yaml.safe_load(json.dumps(value, default=str))


def test_another_catalog_makes_no_other_pod() -> None:
    def pods(title: str) -> list[Any]:
        catalog = {"version": 1, "site": {"name": title}}
        made = helm.render(helm.merged(helm.LEAST, SHARED, {"profiles": catalog}))
        return [one["spec"]["template"] for one in made if "template" in one.get("spec", {})]

    assert pods("one") == pods("another")


MONITORING = "monitoring.coreos.com/v1"


def test_monitoring_is_made_where_the_cluster_knows_it() -> None:
    kinds = ("ServiceMonitor", "PodMonitor", "PrometheusRule")
    known = [f"{MONITORING}/{kind}" for kind in kinds]
    values = helm.merged(helm.LEAST, {"monitoring": {"labels": {"team": "site"}}})
    assert not [one for one in helm.render(values) if one["apiVersion"] == MONITORING]
    made = helm.render(values, api_versions=known)
    found = {key(one)[::2]: one for one in made if one["apiVersion"] == MONITORING}
    assert set(found) == {
        ("ServiceMonitor", "arcetri-hub"),
        ("ServiceMonitor", "arcetri-ledger"),
        ("PodMonitor", "arcetri-agent"),
        ("PodMonitor", "arcetri-prepuller"),
        ("PrometheusRule", "arcetri-rules"),
    }
    assert all(one["metadata"]["labels"]["team"] == "site" for one in found.values())
    # Each names a port that the pods it selects have.
    for (kind, _), one in found.items():
        ends = one["spec"].get("endpoints") or one["spec"].get("podMetricsEndpoints") or ()
        chosen = one["spec"].get("selector", {}).get("matchLabels", {}).items()
        for end in ends:
            names = [
                port["name"]
                for other in made
                if other["kind"] == ("Service" if kind == "ServiceMonitor" else "Deployment")
                or other["kind"] == "DaemonSet"
                if chosen <= other["metadata"]["labels"].items()
                for port in _ports(other)
            ]
            assert end["port"] in names, one


def _ports(one: Json) -> list[Json]:
    if one["kind"] == "Service":
        return list(one["spec"]["ports"])
    return [
        port
        for container in one["spec"]["template"]["spec"]["containers"]
        for port in container.get("ports", ())
    ]


def test_a_kubernetes_that_lacks_what_the_platform_rests_on_is_refused() -> None:
    # Before 1.30 a token does not say on which node its pod is: no agent could be told apart.
    said = helm.refused(helm.LEAST, "--kube-version=1.30.0")
    assert "requires kubeVersion: >=1.31.0-0" in said


def test_a_part_that_ends_badly_says_why_in_its_status() -> None:
    for one in helm.render(helm.LEAST):
        spec = one.get("spec", {}).get("template", {}).get("spec", {})
        for container in [*spec.get("initContainers", ()), *spec.get("containers", ())]:
            said = container.get("terminationMessagePolicy")
            assert said == "FallbackToLogsOnError", (one["metadata"]["name"], container["name"])


def test_the_alerts_are_the_documented_ones() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    alerts = yaml.safe_load((helm.CHART / "files" / "alerts.yaml").read_text(encoding="utf-8"))
    assert alerts
    for alert in alerts:
        assert alert["expr"] in page, alert["alert"]


# zero-to-jupyterhub

DOCUMENTED = {
    "cull": {"enabled"},
    "hub": {
        "concurrentSpawnLimit",
        "consecutiveFailureLimit",
        "extraConfig",
        "extraEnv",
        "extraVolumeMounts",
        "extraVolumes",
        "image",
        "networkPolicy",
    },
    "prePuller": {"continuous", "hook"},
    "proxy": {"chp"},
    "scheduling": {"userPlaceholder", "userScheduler"},
    "singleuser": {"cloudMetadata", "storage"},
}
"""Those of its chart's documented keys that the overlay uses."""


def overlay() -> Json:
    found: Json = yaml.safe_load(OVERLAY.read_text(encoding="utf-8"))
    return found


def test_the_overlay_uses_documented_keys_alone() -> None:
    assert {name: set(values) for name, values in overlay().items()} == DOCUMENTED


def database_file(values: Json) -> str:
    """Where the hub is told to look for its database's URL, with PostgreSQL."""
    made = helm.render(helm.merged(values, {"database": {"existingSecret": "arcetri-database"}}))
    configured = (one.get("data", {}).get("settings.json") for one in made)
    return str(json.loads(next(filter(None, configured)))["database_url_file"])


def test_the_overlay_mounts_what_this_chart_makes(tmp_path: Path) -> None:
    values = helm.merged(
        helm.LEAST, SHARED, {"hub": {"enabled": False, "publicUrl": "https://j.example.org"}}
    )
    made = helm.render(values, namespace="jupyterhub")
    hub = overlay()["hub"]
    names = {key(one)[2] for one in made if one["kind"] in ("ConfigMap", "Secret")}
    for volume in hub["extraVolumes"]:
        if "configMap" in volume:
            assert volume["configMap"]["name"] in names
        if "persistentVolumeClaim" in volume:
            claims = {key(one)[1:] for one in made if one["kind"] == "PersistentVolumeClaim"}
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert ("jupyterhub", claim) in claims
    sources = [s for v in hub["extraVolumes"] for s in v.get("projected", {}).get("sources", ())]
    secrets = [one["secret"]["name"] for one in sources if "secret" in one]
    assert secrets == ["arcetri-secrets", values["iam"]["existingSecret"]]
    assert "arcetri-secrets" in names
    places = [one["mountPath"] for one in hub["extraVolumeMounts"]]
    told = settings_of(made, tmp_path)
    assert told.usage is not None
    for path in (
        told.profiles,
        told.iam.client_secret_file,
        told.usage.service_token_file,
        told.usage.witness_token_file,
        told.metrics_token_file,
        told.state_dir,
        told.usage.spool,
        database_file(values),
    ):
        assert any(Path(str(path)).is_relative_to(place) for place in places), path
    assert {one["kind"] for one in made if "hub" in key(one)[2]} >= {"ClusterRole", "Role"}
    assert not [one for one in made if one["kind"] == "Deployment" and "proxy" in key(one)[2]]


def test_its_hub_is_configured_over_what_its_own_chart_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import arcetri_hub.factory as factory

    values = helm.merged(
        helm.LEAST, SHARED, {"hub": {"enabled": False, "publicUrl": "https://j.example.org"}}
    )
    settings = settings_of(helm.render(values, namespace="jupyterhub"), tmp_path)
    for name in ("token", "secret"):
        (tmp_path / name).write_text("x" * 64)
    example = ROOT / "hub/arcetri_hub/catalogs/example.yaml"
    assert settings.usage is not None
    told = settings.model_dump(mode="json") | {
        "state_dir": str(tmp_path),
        "profiles": str(example),
        "database_url": f"sqlite:///{tmp_path}/jupyterhub.sqlite",
        "metrics_token_file": str(tmp_path / "token"),
        "kubernetes": None,
    }
    told["usage"] |= {
        "service_token_file": str(tmp_path / "token"),
        "spool": str(tmp_path / "witness.sqlite"),
    }
    (tmp_path / "settings.json").write_text(json.dumps(told))
    monkeypatch.setenv("ARCETRI_SETTINGS", str(tmp_path / "settings.json"))
    c = Config()
    # What zero-to-jupyterhub has said by then.
    c.JupyterHub.services = [{"name": "theirs", "api_token": "t"}]
    c.JupyterHub.load_roles = [{"name": "theirs", "scopes": ["self"]}]
    c.JupyterHub.hub_bind_url = "http://:8081"
    c.ConfigurableHTTPProxy.auth_token = "theirs"
    c.CryptKeeper.keys = ["theirs"]
    exec(overlay()["hub"]["extraConfig"]["arcetri"], {"c": c})  # noqa: S102  # as it does
    try:
        assert {one["name"] for one in c.JupyterHub.services} >= {"theirs", "usage"}
        assert "theirs" in {one["name"] for one in c.JupyterHub.load_roles}
        assert c.ConfigurableHTTPProxy.auth_token == "theirs"
        assert c.CryptKeeper["keys"] == ["theirs"]
        assert c.JupyterHub.hub_connect_url == "http://hub.jupyterhub.svc:8081"
        assert c.JupyterHub.authenticator_class.__name__ == "IamAuthenticator"
        assert "bind_url" not in c.JupyterHub
    finally:
        platform = factory.get_platform()
        platform.store.close()
        if platform.witness:
            platform.witness.close()
        factory._platform = None


def test_the_hub_takes_its_tables_back_and_nothing_more() -> None:
    values = helm.merged(helm.LEAST, {"database": {"backTo": "0.1.0"}})

    def pod(values: Json) -> Json:
        (found,) = (
            one["spec"]["template"]["spec"]
            for one in helm.render(values)
            if key(one) == ("Deployment", "arcetri", "arcetri-hub")
        )
        return dict(found)

    (usual,) = pod(helm.merged(helm.LEAST))["containers"]
    assert "args" not in usual, "the image's own command"
    found = pod(values)
    (back,), (hub,) = found["initContainers"], found["containers"]
    assert back["args"] == ["arcetri", "database", "back", "0.1.0"]
    assert hub["args"] == ["sleep", "infinity"]
    for part in ("image", "env", "volumeMounts", "securityContext", "resources"):
        assert back[part] == hub[part] == usual[part]
    # Whoever waits for it must not wait for a hub.
    assert not any(name.endswith("Probe") for name in hub)


def test_the_ways_back_are_those_that_the_hub_knows() -> None:
    schema = json.loads((helm.CHART / "values.schema.json").read_text(encoding="utf-8"))
    given = schema["properties"]["database"]["properties"]["backTo"]["enum"]
    assert given == ["", *RELEASES]


def test_a_hub_elsewhere_is_not_taken_back_by_this_chart() -> None:
    elsewhere = {"enabled": False, "publicUrl": "https://j.example.org"}
    said = helm.refused(
        helm.merged(helm.LEAST, {"hub": elsewhere, "database": {"backTo": "0.1.0"}})
    )
    assert "database.backTo: this chart's hub is switched off" in said
