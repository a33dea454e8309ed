"""The table of connections, which the documentation shows, and a world to try it in."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import helm
from tests.support.netpolicy import Connection, End, Node, Outside, Pod

TABLE = Path(__file__).parents[2] / "docs" / "reference" / "connections.csv"

COMPONENTS = ("hub", "proxy", "ledger", "prepuller", "queues", "test", "agent", "provisioner")
_OWN_NAMESPACE = {"agent": "agents", "provisioner": "storage"}
"""The components that are not in the release's own namespace."""


def labels(component: str, release: str = helm.RELEASE) -> dict[str, str]:
    """The labels by which a component's pods are known."""
    return {
        "app.kubernetes.io/name": "arcetri",
        "app.kubernetes.io/instance": release,
        "app.kubernetes.io/component": component,
    }


def pods(
    release: str = helm.RELEASE, namespace: str = helm.NAMESPACE
) -> dict[str, tuple[str, dict[str, str]]]:
    """The namespace and the labels of everybody's pods but the cluster's own."""
    homes = {
        name: f"{release}-{_OWN_NAMESPACE[name]}" if name in _OWN_NAMESPACE else namespace
        for name in COMPONENTS
    }
    return {
        **{name: (home, labels(name, release)) for name, home in homes.items()},
        "session": (f"{release}-sessions", {"arcetri.dev/session": "one"}),
        "another session": (f"{release}-sessions", {"arcetri.dev/session": "two"}),
        "pulled image": (f"{release}-images", labels("prepull-image", release)),
        "monitoring": (f"{release}-monitoring", {"app.kubernetes.io/name": "prometheus"}),
        "browsers": (f"{release}-elsewhere", {"app": "ingress"}),
        # Labels are anybody's to use; it is the namespace that counts.
        "another application": (f"{release}-elsewhere", labels("hub", release)),
    }


NFS = {"nfs": {"server": "files.example.org", "path": "/"}}


def everything(release: str = helm.RELEASE) -> dict[str, Any]:
    """Values with all that policies are about."""
    monitoring = {
        "namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": f"{release}-monitoring"}
        },
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    return helm.merged(
        helm.LEAST,
        {
            "database": {"existingSecret": "database"},
            "agents": {"enabled": True},
            "provisioner": {"enabled": True},
            "prepuller": {"enabled": True},
            "queues": {"enabled": True},
            "storage": {"claims": {"shared": {"size": "1Gi", "source": NFS}}},
            "networkPolicy": {"monitoring": {"from": [monitoring]}},
        },
    )


NAMESPACES: Mapping[str, Mapping[str, str]] = {
    name: {} for name in ("kube-system", *(home for home, _ in pods().values()))
}

_TRIED = {
    "TCP": (
        *(
            22,
            53,
            80,
            443,
            2379,
            3306,
            5432,
            6443,
            8000,
            8001,
            8005,
            8010,
            8011,
            8012,
            8020,
            8081,
            8443,
        ),
        *(8888, 9090, 9153, 10250, 30000, 65535),
    ),
    "UDP": (53, 123, 8888),
}
PORTS = tuple((port, protocol) for protocol, ports in _TRIED.items() for port in ports)
"""What is tried where the table says any port, and for everything the table does not name."""


STRANGERS = (
    *("DNS", "monitoring", "another application", "browsers"),
    *("API server", "node", "another node"),
    *("internet", "metadata", "private network", "database"),
)
"""Who is not of the platform: no policy of ours is about them."""
_ALIKE = {"anything": STRANGERS, "session": ("session", "another session")}
"""Names in the table that stand for several."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, for one sender and one receiver."""

    source: str
    target: str
    ports: tuple[tuple[int, str], ...]
    allowed: bool


def rows() -> Iterator[Row]:
    """Every line of the table, taken apart."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            ports = tuple(_ports(line["Port"].split()))
            allowed = {"yes": True, "no": False}[line["Allowed"]]
            for source in line["From"].split(", "):
                for target in line["To"].split(", "):
                    yield Row(source, target, ports, allowed)


def _ports(words: Iterable[str]) -> Iterator[tuple[int, str]]:
    for word in words:
        number, _, protocol = word.partition("/")
        protocol = protocol or "TCP"
        if number == "any":
            yield from (one for one in PORTS if one[1] == protocol)
        else:
            yield int(number), protocol


Names = tuple[str, str, int, str]
"""A connection by the names of its ends, its port and protocol."""


def names(row: Row) -> Iterator[Names]:
    """The connections of a row; to ``anything`` is to all strangers."""
    for source in _ALIKE.get(row.source, (row.source,)):
        for target in _ALIKE.get(row.target, (row.target,)):
            if source != target:
                yield from ((source, target, *port) for port in row.ports)


@dataclass(frozen=True, slots=True)
class World:
    """Everybody who may connect to anybody, with addresses of one family."""

    ends: Mapping[str, End]

    def tried(self, row: Row) -> Iterator[tuple[Names, Connection]]:
        """The connections of a row."""
        for one in names(row):
            yield one, self._connection(one)

    def everything(self) -> Iterator[tuple[Names, Connection]]:
        """Everybody to everybody else, at every port."""
        for source, target in itertools.permutations(self.ends, 2):
            for port in PORTS:
                one = (source, target, *port)
                yield one, self._connection(one)

    def _connection(self, one: Names) -> Connection:
        source, target, port, protocol = one
        return Connection(self.ends[source], self.ends[target], port, protocol)


def world(family: int) -> World:
    """A cluster with the platform on it, in one family of addresses: 4 or 6."""
    near, far, metadata, private = {
        4: ("10.42.0.", "1.1.1.1", "169.254.169.254", "192.168.7.7"),
        6: ("fd00:42::", "2606:4700::1111", "fd00:ec2::254", "fd12:3456::7"),
    }[family]
    others = {**pods(), "DNS": ("kube-system", {"k8s-app": "kube-dns"})}
    ends: dict[str, End] = {
        name: Pod(home, marks, f"{near}{number}", node="two" if "session" in name else "one")
        for number, (name, (home, marks)) in enumerate(others.items(), start=10)
    }
    ends |= {
        "API server": Node("control", f"{near}200"),
        "node": Node("two", f"{near}201"),
        "another node": Node("four", f"{near}202"),
        "internet": Outside(far),
        "metadata": Outside(metadata),
        "private network": Outside(private),
        "database": Outside({4: "192.168.7.8", 6: "fd12:3456::8"}[family]),
    }
    return World(ends)
