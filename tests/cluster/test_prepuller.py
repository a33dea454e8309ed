"""The prepuller on a real cluster: images come before sessions, and follow the catalog."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from arcetri_spawner.prepuller.wanted import COMPONENT
from tests.cluster import addresses, registry
from tests.cluster.cluster import Cluster
from tests.cluster.hub import ROOT
from tests.cluster.pods import pod, running
from tests.cluster.registry import SECRET, Registry
from tests.support.catalogs import DEMO
from tests.support.platform import until

pytestmark = pytest.mark.cluster

RIGHTS = ROOT / "docs" / "reference" / "prepuller-rights.yaml"
ACCOUNT = "arcetri-prepuller"
RELEASE = "farm"
PORT = 8012
PATIENCE = 60
MAY = (
    *((verb, "daemonsets.apps") for verb in ("list", "watch", "create", "patch", "delete")),
    ("list", "pods"),
    ("watch", "pods"),
    ("get", f"configmaps/{ACCOUNT}"),
)
MUST_NOT = (
    ("get", "configmaps/hub"),
    ("list", "configmaps"),
    ("update", "daemonsets.apps"),
    ("create", "pods"),
    ("delete", "pods"),
    ("get", "pods/log"),
    ("get", "secrets"),
    ("list", "nodes"),
    ("get", "configmaps"),
)


class Prepuller:
    """The command, run with its own rights alone; and what it has made."""

    def __init__(self, cluster: Cluster, namespace: str, state: Path) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.catalog = state / "profiles.yaml"
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None
        text = RIGHTS.read_text(encoding="utf-8")
        for home in ("arcetri-images", "arcetri"):
            text = text.replace(f"namespace: {home}}}", f"namespace: {namespace}}}")
        cluster.apply(*yaml.safe_load_all(text))
        create = ["kubectl", "create", "token", ACCOUNT, f"--namespace={namespace}"]
        config = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
        config["users"][0]["user"] = {"token": cluster.run(create).strip()}
        (state / "kubeconfig").write_text(yaml.safe_dump(config), encoding="utf-8")

    def offer(self, **images: str) -> None:
        """Make the catalog one with these environments, on flavours for every node."""
        entry = yaml.safe_load(DEMO)
        entry["environments"] = {
            name: {"title": name, "image": image, "flavors": ["cpu"]}
            for name, image in images.items()
        }
        self.write(yaml.safe_dump(entry))

    def write(self, text: str) -> None:
        """Replace the catalog's file as an editor does."""
        fresh = self.catalog.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.catalog)

    def start(self) -> None:
        """Run it in the cluster's network."""
        entering = [word for word in self.cluster.entering() if word != "--pid"]
        command = [sys.executable, "-m", "arcetri_hub", "prepull", "run"]
        command += [f"--profiles={self.catalog}", f"--namespace={self.namespace}"]
        command += [f"--release={RELEASE}", f"--pull-secret={SECRET}", f"--port={PORT}"]
        with (self._state / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # When the cluster ends, so does what it ran.
                [*entering, "setpriv", "--pdeathsig=KILL", *command, f"--owner={ACCOUNT}"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, *, kill: bool = False) -> int:
        """End it, and return its exit status."""
        process = self._process
        if process is None:
            return 0
        if kill:
            process.kill()
        else:
            process.terminate()
        return process.wait(20)

    def log(self) -> str:
        """What it has said."""
        return (self._state / "log").read_text(encoding="utf-8")

    def sets(self) -> dict[str, dict[str, Any]]:
        """Its DaemonSets by image."""
        selector = f"--selector=app.kubernetes.io/component={COMPONENT}"
        items = self.cluster.kubectl("get", "daemonsets", f"--namespace={self.namespace}", selector)
        return {one["metadata"]["annotations"]["arcetri.dev/image"]: one for one in items["items"]}

    def states(self) -> dict[str, str]:
        """What the command says of each image: its state, or the code of what is wrong."""
        command = [sys.executable, "-m", "arcetri_hub", "prepull", "status", "--format=json"]
        command += [f"--namespace={self.namespace}", f"--release={RELEASE}"]
        entering = [word for word in self.cluster.entering() if word != "--pid"]
        answer = subprocess.run(
            [*entering, *command], env=self._environment(), capture_output=True, check=False
        )
        assert answer.returncode in (0, 1), answer.stderr
        nodes = json.loads(answer.stdout)
        assert answer.returncode == any(one["state"] == "failed" for one in nodes)
        return {one["image"]: one["code"] or one["state"] for one in nodes}

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something; what it has said goes with the failure."""
        try:
            until(condition, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}\n{self.states()}") from error

    def _environment(self) -> dict[str, str]:
        return {**self.cluster.environment(), "KUBECONFIG": str(self._state / "kubeconfig")}


@pytest.fixture
def site(cluster: Cluster, namespace: str) -> Registry:
    """A registry, and a restricted namespace that has its password."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.run(["kubectl", "label", "namespace", namespace, label])
    found = registry.started(cluster)
    cluster.apply(found.secret(namespace))
    return found


@pytest.fixture
def prepuller(site: Registry, namespace: str, tmp_path: Path) -> Iterator[Prepuller]:
    made = Prepuller(site.cluster, namespace, tmp_path)
    yield made
    made.end(kill=True)


def foreign(namespace: str) -> dict[str, Any]:
    """Somebody else's DaemonSet, which no node has room for."""
    labels = {"app": "logging", "app.kubernetes.io/instance": RELEASE}
    spec = {**pod("x", namespace)["spec"], "nodeSelector": {"there-is": "none"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "logging", "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def test_images_come_before_sessions_and_follow_the_catalog(
    site: Registry, prepuller: Prepuller, namespace: str
) -> None:
    cluster = site.cluster
    name = f"{addresses.REGISTRY}/{registry.repository()}"
    repository = name.partition("/")[2]
    site.push(repository, "1")
    digest = site.push(repository, "2")
    first, second, missing = f"{name}:1", f"{name}:2@{digest}", f"{name}:1999"
    cluster.apply(foreign(namespace))
    logging = cluster.kubectl("get", "daemonset", "logging", f"--namespace={namespace}")

    # One that cannot be pulled keeps no other back, and it is said why.
    assert not site.has(first)
    prepuller.offer(broken=missing, tiny=first, same=first)
    prepuller.start()
    expected = {first: "present", missing: "image_missing"}
    prepuller.until(lambda: prepuller.states() == expected, "one is there, one cannot be")
    assert site.has(first)
    session = pod("session", namespace, image=first, spec={"imagePullSecrets": [{"name": SECRET}]})
    session["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    cluster.apply(session)
    cluster.until("pod", "session", running, namespace=namespace)
    with cluster.http(addresses.NODE, PORT) as client:
        figures = client.get("/metrics").text
    assert f'arcetri_prepull_nodes{{image="{first}",state="present"}} 1.0' in figures
    failed = f'image="{missing}",node="{addresses.NODE_NAME}"'
    assert f'arcetri_prepull_failed{{code="image_missing",{failed}}} 1.0' in figures

    # The catalog changes: with what is new, and without what is gone.
    prepuller.offer(tiny=second)
    prepuller.until(lambda: prepuller.states() == {second: "present"}, "the new one alone")
    assert prepuller.sets().keys() == {second}

    # A catalog that cannot be used removes nothing.
    before = prepuller.sets()
    prepuller.write("nonsense")
    with cluster.http(addresses.NODE, PORT) as client:
        refused = "arcetri_prepull_catalog_refused 1.0"
        prepuller.until(lambda: refused in client.get("/metrics").text, "the catalog is refused")
    assert prepuller.sets() == before

    after = cluster.kubectl("get", "daemonset", "logging", f"--namespace={namespace}")
    assert after["metadata"]["uid"] == logging["metadata"]["uid"]
    assert after["metadata"]["generation"] == logging["metadata"]["generation"]


def test_what_others_change_is_repaired_and_a_new_process_goes_on(
    site: Registry, prepuller: Prepuller, namespace: str
) -> None:
    cluster = site.cluster
    repository = registry.repository()
    site.push(repository)
    image = f"{addresses.REGISTRY}/{repository}:1"
    prepuller.offer(tiny=image)
    prepuller.start()
    prepuller.until(lambda: prepuller.states() == {image: "present"}, "it is there")
    meant = prepuller.sets()[image]
    own = [f"daemonset/{meant['metadata']['name']}", f"--namespace={namespace}"]

    def repaired() -> bool:
        found = prepuller.sets().get(image)
        return (
            found is not None
            and found["spec"]["template"]["spec"] == meant["spec"]["template"]["spec"]
            and found["metadata"]["labels"] == meant["metadata"]["labels"]
        )

    # What it owns, what it does not own, and all of it.
    container = {"name": "image", "image": "registry.example/other:1"}
    for spec in ({"containers": [container]}, {"nodeSelector": {"there-is": "none"}}):
        patch = json.dumps({"spec": {"template": {"spec": spec}}})
        cluster.run(["kubectl", "patch", *own, "--type=strategic", f"--patch={patch}"])
        prepuller.until(repaired, f"repaired after {patch}")
    cluster.run(["kubectl", "delete", *own])
    prepuller.until(repaired, "made again")
    prepuller.until(lambda: prepuller.states() == {image: "present"}, "it is there again")

    # Killed or stopped, what it has made stays; the next one takes it as its own.
    before = prepuller.sets()[image]["metadata"]
    prepuller.end(kill=True)
    prepuller.start()
    prepuller.offer(tiny=image, other="registry.example/other:1")
    prepuller.until(lambda: len(prepuller.sets()) == 2, "the new process follows the catalog")
    after = prepuller.sets()[image]["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])
    assert prepuller.end() == 0
    assert "Traceback" not in prepuller.log()

    # With the release go its DaemonSets, and nobody has to run for that.
    cluster.run(["kubectl", "delete", "configmap", ACCOUNT, f"--namespace={namespace}"])
    prepuller.until(lambda: not prepuller.sets(), "they are gone with their owner")


def test_it_may_do_what_it_does_and_nothing_else(
    site: Registry, prepuller: Prepuller, namespace: str
) -> None:
    del prepuller  # it has made the account

    def may(verb: str, what: str, where: str) -> bool:
        command = ["kubectl", "auth", "can-i", verb, what, f"--namespace={where}"]
        command += [f"--as=system:serviceaccount:{namespace}:{ACCOUNT}"]
        answer = site.cluster.run(["sh", "-c", f"{' '.join(command)} 2>/dev/null || true"])
        assert answer.strip() in ("yes", "no"), answer
        return answer.strip() == "yes"

    assert [one for one in MAY if not may(*one, namespace)] == []
    assert [one for one in MUST_NOT if may(*one, namespace)] == []
    assert [one for one in MAY if may(*one, "default")] == []
