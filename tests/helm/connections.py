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

SESSIONS = f"{helm.RELEASE}-sessions"
_HOME = {
    **dict.fromkeys(("hub", "proxy", "ledger", "prepuller", "test"), helm.NAMESPACE),
    "agent": f"{helm.RELEASE}-agents",
    "provisioner": f"{helm.RELEASE}-storage",
}
"""Where each component's pods are."""
COMPONENTS = tuple(_HOME)
MONITORING = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
}
NAMESPACES: Mapping[str, Mapping[str, str]] = {
    **{name: {} for name in _HOME.values()},
    **{name: {} for name in (SESSIONS, "kube-system", "monitoring", "elsewhere")},
}

_TRIED = {
    "TCP": (
        *(22, 53, 80, 443, 2379, 3306, 5432, 6443, 8000, 8001, 8005, 8010, 8011, 8020, 8081, 8443),
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


def labels(component: str) -> dict[str, str]:
    """The labels by which a component's pods are known."""
    return {
        "app.kubernetes.io/name": "arcetri",
        "app.kubernetes.io/instance": helm.RELEASE,
        "app.kubernetes.io/component": component,
    }


Try = tuple[tuple[str, str, int, str], Connection]
"""A connection, with the names of its ends."""


@dataclass(frozen=True, slots=True)
class World:
    """Everybody who may connect to anybody, with addresses of one family."""

    ends: Mapping[str, End]

    def tried(self, row: Row) -> Iterator[Try]:
        """The connections of a row; to ``anything`` is to all strangers."""
        for source in _ALIKE.get(row.source, (row.source,)):
            for target in _ALIKE.get(row.target, (row.target,)):
                if source != target:
                    yield from self._between(source, target, row.ports)

    def everything(self) -> Iterator[Try]:
        """Everybody to everybody else, at every port."""
        for source, target in itertools.permutations(self.ends, 2):
            yield from self._between(source, target, PORTS)

    def _between(self, source: str, target: str, ports: Iterable[tuple[int, str]]) -> Iterator[Try]:
        for port, protocol in ports:
            tried = Connection(self.ends[source], self.ends[target], port, protocol)
            yield (source, target, port, protocol), tried


def world(family: int, **more: Any) -> World:
    """A cluster with the platform on it, in one family of addresses.

    Args:
        family: 4 or 6.
        more: Of the agent's pod.
    """
    near, far, metadata, private = {
        4: ("10.42.0.", "1.1.1.1", "169.254.169.254", "192.168.7.7"),
        6: ("fd00:42::", "2606:4700::1111", "fd00:ec2::254", "fd12:3456::7"),
    }[family]
    ends: dict[str, End] = {}
    for number, (component, home) in enumerate(_HOME.items(), start=10):
        mine = more if component == "agent" else {}
        there = {"address": f"{near}{number}", "node": "one", **mine}
        ends[component] = Pod(home, labels(component), **there)
    for number, name in enumerate(("session", "another session"), start=30):
        session = {"arcetri.dev/session": name.replace(" ", "-")}
        ends[name] = Pod(SESSIONS, session, f"{near}{number}", node="two")
    others = {
        "DNS": ("kube-system", {"k8s-app": "kube-dns"}),
        "monitoring": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
        "another application": ("elsewhere", labels("hub")),
        "browsers": ("elsewhere", {"app": "ingress"}),
    }
    for number, (name, (place, marks)) in enumerate(others.items(), start=40):
        ends[name] = Pod(place, marks, f"{near}{number}", node="three")
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
