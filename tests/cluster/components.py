"""The cluster's processes: what each is started with. Pure; ``inside`` starts them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import addresses
from tests.cluster.configuration import KUBELET_ROOT
from tests.cluster.state import State


@dataclass(frozen=True, slots=True)
class Component:
    """One process that runs as long as the cluster does."""

    name: str
    command: tuple[str, ...]
    needs_api: bool = True
    """Whether it is started only once the API server answers."""
    optional: bool = False
    """Whether it is started only when a test wants it."""


def components(state: State) -> tuple[Component, ...]:
    """All of them, in the order they are started."""
    return (
        _etcd(state),
        _apiserver(state),
        Component(
            "containerd",
            ("containerd", "--config", str(state.etc / "containerd.toml")),
            needs_api=False,
        ),
        _controller_manager(state),
        Component(
            "kube-scheduler",
            (_program(state, "kube-scheduler"), *_as_itself(state, "kube-scheduler"), *_ALONE),
        ),
        _kubelet(state),
        Component(
            "kube-proxy",
            (_program(state, "kube-proxy"), f"--config={state.etc / 'kube-proxy.yaml'}"),
        ),
        Component(
            "deviceplugin",
            (
                _program(state, "deviceplugin"),
                f"-layout={state.layout}",
                f"-folder={KUBELET_ROOT}/device-plugins",
            ),
        ),
        _kwok(state),
        Component(
            "registry",
            ("docker-registry", "serve", str(state.etc / "registry.json")),
            optional=True,
        ),
        Component("glusterd", ("glusterd", "--no-daemon"), optional=True),
        Component("responder", (sys.executable, "-m", "tests.cluster.responder"), optional=True),
    )


SIMULATED = "kwok.x-k8s.io/node=fake"
"""The annotation of nodes that kwok plays."""
_ALONE = ("--leader-elect=false",)


def _program(state: State, name: str) -> str:
    return str(state.bin / name)


def _kubeconfig(state: State, user: str) -> Path:
    return state.etc / f"{user}.kubeconfig"


def _as_itself(state: State, user: str) -> tuple[str, ...]:
    """How the controllers reach the API server, and let it ask who calls them."""
    own = _kubeconfig(state, user)
    return (
        f"--kubeconfig={own}",
        f"--authentication-kubeconfig={own}",
        f"--authorization-kubeconfig={own}",
        "--bind-address=127.0.0.1",
    )


def _etcd(state: State) -> Component:
    options = {
        "name": "etcd",
        "data-dir": state.folder / "etcd",
        "listen-client-urls": addresses.ETCD_URL,
        "advertise-client-urls": addresses.ETCD_URL,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "initial-advertise-peer-urls": "http://127.0.0.1:2380",
        "initial-cluster": "etcd=http://127.0.0.1:2380",
        "log-level": "warn",
    }
    # What it stores need not outlive the machine.
    command = (_program(state, "etcd"), "--unsafe-no-fsync", *_options(options))
    return Component("etcd", command, needs_api=False)


def _apiserver(state: State) -> Component:
    pki = state.pki
    options = {
        "etcd-servers": addresses.ETCD_URL,
        "advertise-address": addresses.NODE,
        "secure-port": addresses.API_PORT,
        "service-cluster-ip-range": addresses.SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "anonymous-auth": "false",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        # Nobody inside resolves the node's name for the API server.
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": f"https://kubernetes.default.svc.{addresses.DOMAIN}",
        "service-account-key-file": pki / "service-accounts.pub",
        "service-account-signing-key-file": pki / "service-accounts.key",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        # Webhooks and aggregated APIs are reached at their pods' own addresses.
        "enable-aggregator-routing": "true",
        "endpoint-reconciler-type": "master-count",
        "audit-policy-file": state.etc / "audit.yaml",
        "audit-log-path": state.audit,
        "audit-log-mode": "batch",
        "audit-log-batch-max-wait": "1s",
    }
    return Component(
        "kube-apiserver",
        (_program(state, "kube-apiserver"), *_options(options)),
        needs_api=False,
    )


def _controller_manager(state: State) -> Component:
    options = {
        "root-ca-file": state.pki / "ca.crt",
        "service-account-private-key-file": state.pki / "service-accounts.key",
        "use-service-account-credentials": "true",
        "cluster-signing-cert-file": state.pki / "ca.crt",
        "cluster-signing-key-file": state.pki / "ca.key",
        "requestheader-client-ca-file": state.pki / "front-proxy-ca.crt",
        # A node that goes away is noticed within a test's patience.
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "20s",
    }
    name = "kube-controller-manager"
    command = (_program(state, name), *_as_itself(state, name), *_options(options), *_ALONE)
    return Component(name, command)


def _kubelet(state: State) -> Component:
    options = {
        "config": state.etc / "kubelet.yaml",
        "kubeconfig": _kubeconfig(state, "kubelet"),
        "root-dir": KUBELET_ROOT,
        "hostname-override": addresses.NODE_NAME,
        "node-ip": addresses.NODE,
    }
    return Component("kubelet", (_program(state, "kubelet"), *_options(options)))


def _kwok(state: State) -> Component:
    options = {
        "kubeconfig": state.kubeconfig,
        "config": state.etc / "kwok.yaml",
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": SIMULATED,
        "cidr": addresses.SIMULATED_PODS,
        "node-ip": addresses.NODE,
        "node-lease-duration-seconds": 40,
        "v": "WARN",
    }
    return Component("kwok", (_program(state, "kwok"), *_options(options)), optional=True)


def _options(options: dict[str, object]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in options.items())
