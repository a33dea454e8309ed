"""NetworkPolicies enforced on the node, and connections really tried.

The firewall is kube-router's (``go/netpolicy``). It works on the node's iptables, so it is there
only while a test wants it: nothing else has to wait for it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.cluster import addresses, builds
from tests.cluster.cluster import Cluster
from tests.support.netpolicy import Pod

_CHAIN = "KUBE-ROUTER-FORWARD"
_SYSCTLS = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
LISTENER = {
    "spec": {"securityContext": {"sysctls": _SYSCTLS}},
}
"""What a pod needs to listen on every port, also as nobody."""

_LISTEN = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in map(int, sys.argv[2:]):
    chosen.register(socket.create_server((sys.argv[1], port), backlog=64), selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.accept()[0].close()
"""
_ASK = """
import concurrent.futures, json, socket, sys
def ask(place):
    try:
        socket.create_connection(tuple(place), timeout=4).close()
    except OSError:
        return False
    return True
with concurrent.futures.ThreadPoolExecutor(128) as pool:
    print(json.dumps(list(pool.map(ask, json.load(sys.stdin)))))
"""


def listening(ports: Iterable[int], address: str = "") -> list[str]:
    """The command of a process that accepts connections at ports, and closes them."""
    return ["python3", "-c", _LISTEN, address, *map(str, ports)]


@contextlib.contextmanager
def enforcing(cluster: Cluster) -> Iterator[None]:
    """Have NetworkPolicies enforced; at the end everything is open again."""
    # Without the namespace of processes, so that a signal comes to the program itself.
    entering = [word for word in cluster.entering() if word != "--pid"]
    log = cluster.state.logs / "netpolicy.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [
                *(*entering, "setpriv", "--pdeathsig=TERM", builds.find("netpolicy")),
                f"--kubeconfig={cluster.kubeconfig}",
                f"--node={addresses.NODE_NAME}",
                f"--services={addresses.SERVICES}",
            ],
            env=cluster.environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    try:
        # A refusal is said by ICMP, of which a host otherwise sends one a second to each other.
        cluster.run(["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0"])
        _until(lambda: _CHAIN in _rules(cluster), process, log.read_text)
        yield
    finally:
        process.terminate()
        process.wait(60)
        assert _CHAIN not in _rules(cluster), log.read_text()


def _until(condition: Any, process: subprocess.Popen[bytes], log: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, log()
        assert time.monotonic() < deadline, log()
        time.sleep(0.1)


def _rules(cluster: Cluster) -> str:
    return cluster.run(["iptables-save", "--table=filter"])


def settled(cluster: Cluster, policies: Sequence[Mapping[str, Any]], pods: Iterable[Pod]) -> None:
    """Wait until the firewall has every policy, and every pod that one of them is about."""
    named = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in policies}
    homes = {namespace for namespace, _ in named}
    wanted = [f'"run through nw policy {name}"' for _, name in named]
    wanted += [f"{pod.address}/32 " for pod in pods if pod.namespace in homes]
    deadline = time.monotonic() + 60
    while missing := [text for text in wanted if text not in _rules(cluster)]:
        assert time.monotonic() < deadline, f"not in the firewall: {missing}"
        time.sleep(0.2)


def forgotten(cluster: Cluster, name: str) -> None:
    """Wait until the firewall has no rule of a policy any more."""
    deadline = time.monotonic() + 60
    while f'nw policy {name}"' in (rules := _rules(cluster)):
        assert time.monotonic() < deadline, rules
        time.sleep(0.2)


def ask(
    cluster: Cluster, namespace: str, pod: str, places: Sequence[tuple[str, int]]
) -> list[bool]:
    """Which of these addresses and ports a pod can connect to."""
    inside = ["kubectl", "exec", "--stdin", f"--namespace={namespace}", pod, "--"]
    answer = cluster.run([*inside, "python3", "-c", _ASK], stdin=json.dumps(places))
    return list(json.loads(answer))


@contextlib.contextmanager
def outside(cluster: Cluster, listening_at: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """A machine outside the cluster with these addresses and ports, behind the node."""
    name, link = "outside", "198.18.7."
    steps = [
        f"ip netns add {name}",
        f"ip link add {name} type veth peer name eth0 netns {name}",
        f"ip address add {link}1/30 dev {name}",
        f"ip link set {name} up",
        *(f"ip route add {one}/32 via {link}2" for one in listening_at),
    ]
    there = [
        "ip link set lo up",
        f"ip address add {link}2/30 dev eth0",
        "ip link set eth0 up",
        *(f"ip address add {one}/32 dev lo" for one in listening_at),
        f"ip route add default via {link}1",
    ]
    steps += [f"ip netns exec {name} {step}" for step in there]
    inside = [word for word in cluster.entering() if word != "--pid"]
    servers = []
    try:
        cluster.run(["sh", "-ec", "\n".join(steps)])
        for address, ports in listening_at.items():
            command = ["ip", "netns", "exec", name, "setpriv", "--pdeathsig=KILL"]
            servers.append(_serve([*inside, *command], ports, address))
        yield
    finally:
        for server in servers:
            _end(server)
        cluster.run(["sh", "-c", f"ip link delete {name}; ip netns delete {name}"])


@contextlib.contextmanager
def on_the_node(cluster: Cluster, ports: Sequence[int]) -> Iterator[None]:
    """A process that listens at ports of the node itself."""
    inside = [word for word in cluster.entering() if word != "--pid"]
    server = _serve([*inside, "setpriv", "--pdeathsig=KILL"], ports, addresses.NODE)
    try:
        yield
    finally:
        _end(server)


def _serve(before: Sequence[str], ports: Sequence[int], address: str) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [*before, *listening(ports, address)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"
    return server


def _end(server: subprocess.Popen[str]) -> None:
    with server:
        server.kill()
