"""The platform on a cluster, as an operator installs it: the chart, with this checkout's images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from arcetri_hub.devidp.demo import DEMO_USERS
from arcetri_hub.up import ports
from arcetri_spawner.store import migrate
from tests.cluster import addresses, images
from tests.cluster.cluster import Cluster
from tests.cluster.volumes import volume
from tests.support.nvml import FakeMachine
from tests.support.platform import Platform, until

CHART = Path(__file__).parents[2] / "helm" / "arcetri"
FIRST = Path(__file__).parent / "charts" / "arcetri-0.1.0"
"""The chart's first version, as it was."""
FIRST_RELEASE = "0.1.0"
FIRST_TABLES = migrate.RELEASES[FIRST_RELEASE]
"""The revision of the hub's tables that its hub made."""
TINY = {"requests": {"cpu": "10m", "memory": "32Mi"}}
"""What a part asks for on a node that has little."""
PATIENCE = 240
Values = dict[str, Any]


@dataclass(slots=True)
class Release:
    """An installed chart, and a person's way to it."""

    cluster: Cluster
    name: str
    """Also its namespace's."""
    values: Values
    state: Path
    """The node's folder with the volumes of hub and ledger."""
    platform: Platform
    """What tests ask of any platform: people who log in, the REST API, the hub's database."""

    @property
    def sessions(self) -> str:
        """The namespace of its sessions."""
        return f"{self.name}-sessions"

    def helm(self, *arguments: str | Path, values: bool = False) -> str:
        """Run Helm in the release's namespace; with ``values`` it is told them."""
        command = ["helm", *arguments, f"--namespace={self.name}"]
        text = yaml.safe_dump(self.values) if values else ""
        return self.cluster.run(
            [*command, *(["--values=-"] if values else [])], stdin=text, timeout=PATIENCE + 60
        )

    def install(self, chart: Path = CHART) -> str:
        """Install or upgrade it, and wait until all of it is ready; what Helm says."""
        wait = ("--wait", f"--timeout={PATIENCE}s")
        try:
            return self.helm("upgrade", "--install", self.name, chart, *wait, values=True)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """The pods of a component, or those of the sessions."""
        where = f"--namespace={self.name if component else self.sessions}"
        label = [f"--selector=app.kubernetes.io/component={component}"] if component else []
        return list(self.cluster.kubectl("get", "pods", where, *label)["items"])

    def sh(self, pod: str, script: str) -> str:
        """What a shell prints in a session."""
        inside = ["kubectl", "exec", f"--namespace={self.sessions}", pod, "--"]
        return self.cluster.run([*inside, "sh", "-ec", script])

    def logs(self) -> str:
        """What its pods say, and what has happened to them."""
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        where = f"--namespace={self.name}"
        said = [
            self.cluster.run(["kubectl", *words, where])
            for words in (
                ["get", "pods,pvc", "--output=wide"],
                ["events"],
                ["logs", selector, "--all-containers", "--prefix", "--tail=60"],
            )
        ]
        return "\n".join(said)

    def answers(self) -> bool:
        """Whether a person gets the hub's page, and that of the development IAM."""
        iam = f"http://127.0.0.1:{self.values['iam']['developmentPort']}"
        urls = (f"{self.platform.url}/hub/login", f"{iam}/.well-known/openid-configuration")
        try:
            return all(httpx.get(url, trust_env=False, timeout=10).is_success for url in urls)
        except httpx.TransportError:
            return False


def as_the_first_left_it(release: Release) -> None:
    """End the hub, and take its database back to the tables that the chart's first version had.

    That version's own images are not to be had: today's ran in its pods. What an upgrade finds is
    what they would have left, but for what only they would have written into these tables.
    """
    where = f"--namespace={release.name}"
    deployment = f"deployment/{release.name}-hub"
    # Its pod is gone when this returns; the upgrade makes it anew.
    gone = ["--cascade=foreground", "--timeout=60s"]
    release.cluster.run(["kubectl", "delete", deployment, where, *gone])
    migrate.go_back(f"sqlite:///{release.state}/hub/arcetri.sqlite", FIRST_RELEASE)


def tables(release: Release) -> str:
    """Which version's the hub's tables are."""
    ((version,),) = release.platform.rows(f"select version_num from {migrate.VERSION_TABLE}")  # noqa: S608 - a constant
    return str(version)


def first_values(catalog: dict[str, Any], *, port: int, iam_port: int, homes: Path) -> Values:
    """What an operator of a test cluster says: our images, a try's people, folders of the node.

    The chart's first version knows all of it.
    """
    registry, _, _ = images.HUB.reference.rpartition("/")
    source = {"hostPath": {"path": str(homes), "type": "Directory"}}
    volume = {"storageClassName": "-"}
    return {
        "profiles": catalog,
        "images": {"registry": registry, "tag": "1"},
        "iam": {"development": True, "developmentPort": iam_port, "resources": TINY},
        "hub": {
            "publicUrl": f"http://127.0.0.1:{port}",
            "patience": 5,
            "resources": TINY,
            "volume": volume,
        },
        "proxy": {"resources": TINY},
        "ledger": {"resources": TINY, "volume": volume},
        "storage": {"claims": {"shared": {"size": "1Gi", "source": source}}},
    }


def agents_of(machine: FakeMachine, folder: Path) -> Values:
    """Agents that see a machine's devices as its library tells of them.

    Args:
        machine: What they see.
        folder: Where its script lies.
    """
    told = machine.environment()
    names = ("LD_LIBRARY_PATH", "FAKE_NVML", "FAKE_NVML_CALLS")
    places = {"library": Path(told["LD_LIBRARY_PATH"]), "devices": folder}
    return {
        "interval": 1,
        "resources": TINY,
        "extraEnv": {name: told[name] for name in names},
        "extraVolumes": [
            {"name": name, "hostPath": {"path": str(path), "type": "Directory"}}
            for name, path in places.items()
        ],
        "extraVolumeMounts": [
            {"name": name, "mountPath": str(path)} for name, path in places.items()
        ],
    }


@contextlib.contextmanager
def installed(
    cluster: Cluster, name: str, catalog: dict[str, Any], homes: Path, *, chart: Path = CHART
) -> Iterator[Release]:
    """Install the platform, and remove all of it at the end.

    Args:
        cluster: Where.
        name: The release's, and its namespace's.
        catalog: Its profiles.yaml.
        homes: The node's folder that its claim `shared` is.
        chart: Which chart.
    """
    for image in images.INSTALLED:
        cluster.load(image)
    state = cluster.state.folder / f"volumes-{name}"
    port, iam_port = ports.choose(), ports.choose()
    given = first_values(catalog, port=port, iam_port=iam_port, homes=homes)
    volumes = []
    for part in ("hub", "ledger"):
        (state / part).mkdir(parents=True)
        volumes.append(volume(f"{name}-{part}", state / part, claim=(name, f"{name}-{part}")))
    platform = Platform(
        url=f"http://127.0.0.1:{port}",
        users=[{"name": u.name, "password": u.password} for u in DEMO_USERS],
        simulated=False,
        pid=0,
        state=state / "hub",
        process=None,  # type: ignore[arg-type]  # its parts are pods
        stderr=state / "none",
    )
    release = Release(cluster, name, given, state, platform)
    try:
        cluster.run(["kubectl", "create", "namespace", name])
        cluster.apply(*volumes)
        release.install(chart)
        with (
            cluster.forwarded(f"{name}-proxy.{name}.svc.{addresses.DOMAIN}", 8000, listen=port),
            # The development IAM listens on the loopback of the hub's pod.
            cluster.port_forwarded(name, f"deployment/{name}-hub", iam_port, listen=iam_port),
        ):
            until(release.answers, "the platform answers", 60)
            yield release
    finally:
        _remove(release)


def _remove(release: Release) -> None:
    cluster, name = release.cluster, release.name
    with contextlib.suppress(AssertionError):
        release.helm("uninstall", name, "--ignore-not-found", "--wait", "--timeout=60s")
    # What the chart keeps on purpose goes with the namespaces.
    gone = ["--now", "--ignore-not-found", "--timeout=90s"]
    spaces = [name, *(f"{name}-{part}" for part in ("sessions", "storage", "agents", "images"))]
    cluster.remove(*spaces)
    names = [f"{name}-{part}" for part in ("hub", "ledger", "sessions-shared", "storage-shared")]
    cluster.run(["kubectl", "delete", "pv", *names, *gone])
    cluster.run(["rm", "-rf", str(release.state)])
