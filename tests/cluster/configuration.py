"""The components' configuration files: pure texts, and writing them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import addresses
from tests.cluster.state import State

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
KUBELET_ROOT = "/var/lib/kubelet"
CNI_PROGRAMS = "/usr/lib/cni"
PAUSE_IMAGE = "localhost/arcetri-test/pause:1"
REGISTRY_USER = "puller"
_SESAME = "$2a$05$ArcetriTestRegistry..euTqvuFlAA8m8UKIzSipVwBtjcZEUSha"
_REGISTRY_URL = f"http://{addresses.NODE}:{addresses.REGISTRY_PORT}"
USERS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def write(state: State, cgroup: str) -> None:
    """Write every file into the state folder.

    Args:
        state: The cluster's folder, with its certificates.
        cgroup: The group, as a path from the hierarchies' roots, below which its pods are put.
    """
    state.etc.mkdir()
    for user in USERS:
        _write(state.etc / f"{user}.kubeconfig", kubeconfig(state.pki, user))
    _write(state.etc / "kubelet.yaml", kubelet(state, cgroup))
    _write(state.etc / "kube-proxy.yaml", kube_proxy(state))
    _write(state.etc / "audit.yaml", audit())
    (state.etc / "containerd.toml").write_text(containerd(state), encoding="utf-8")
    network = state.etc / "cni"
    network.mkdir()
    (network / "10-pods.conflist").write_text(json.dumps(pod_network()), encoding="utf-8")
    (state.etc / "resolv.conf").write_text(
        f"nameserver {addresses.DNS_SERVICE}\n"
        f"search svc.{addresses.DOMAIN} {addresses.DOMAIN}\noptions ndots:5\n",
        encoding="utf-8",
    )
    (state.etc / "registry.json").write_text(json.dumps(registry(state), indent=1), "utf-8")
    # Of "sesame", by bcrypt, which is all that the registry reads.
    (state.etc / "registry.htpasswd").write_text(f"{REGISTRY_USER}:{_SESAME}\n", encoding="ascii")
    mapped = state.etc / "registries" / addresses.REGISTRY
    mapped.mkdir(parents=True)
    (mapped / "hosts.toml").write_text(
        f'server = "{_REGISTRY_URL}"\n[host."{_REGISTRY_URL}"]\n', encoding="utf-8"
    )
    # The cluster is an island: nobody is asked about other names.
    (state.etc / "upstream.conf").write_text("", encoding="utf-8")
    (state.etc / "hosts").write_text(
        f"127.0.0.1 localhost\n{addresses.NODE} {addresses.NODE_NAME}\n", encoding="utf-8"
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def kubeconfig(pki: Path, user: str) -> dict[str, Any]:
    """How ``user`` reaches the API server from inside."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "arcetri",
        "clusters": [
            {
                "name": "arcetri",
                "cluster": {
                    "server": addresses.API_URL,
                    "certificate-authority": str(pki / "ca.crt"),
                },
            }
        ],
        "contexts": [{"name": "arcetri", "context": {"cluster": "arcetri", "user": user}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate": str(pki / f"{user}.crt"),
                    "client-key": str(pki / f"{user}.key"),
                },
            }
        ],
    }


def kubelet(state: State, cgroup: str) -> dict[str, Any]:
    """The kubelet's configuration: quick to notice, and nothing of the machine's is changed."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(state.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(state.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(state.pki / "kubelet.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [addresses.DNS_SERVICE],
        "clusterDomain": addresses.DOMAIN,
        "resolvConf": str(state.etc / "upstream.conf"),
        "maxOpenFiles": 1024,
        "oomScoreAdj": 0,
        "localStorageCapacityIsolation": True,
        # What a session has written to its scratch is looked at in seconds, not once a minute.
        "volumeStatsAggPeriod": "5s",
        # A developer's disk may be fuller than a node's should be.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # The kernel's settings are the machine's: the kubelet is shown what it wants to see.
        "protectKernelDefaults": True,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "registerNode": True,
    }


def kube_proxy(state: State) -> dict[str, Any]:
    """The kube-proxy's configuration: the machine's connection tracking stays as it is."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": addresses.PODS,
        "clientConnection": {"kubeconfig": str(state.etc / "kube-proxy.kubeconfig")},
        "hostnameOverride": addresses.NODE_NAME,
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "nftables": {"minSyncPeriod": "100ms"},
    }


def audit() -> dict[str, Any]:
    """What the API server notes: who of the service accounts asked what, without the content."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    }


def containerd(state: State) -> str:
    """The container runtime's configuration, version 2."""
    folder = state.folder / "containerd"
    return f"""\
version = 2
root = "{folder}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PROGRAMS}"
conf_dir = "{state.etc / "cni"}"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{state.etc / "registries"}"
"""


def registry(state: State) -> dict[str, Any]:
    """The registry's configuration: nobody may read without a password."""
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(state.folder / "registry")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"{addresses.NODE}:{addresses.REGISTRY_PORT}"},
        "auth": {
            "htpasswd": {"realm": "registry", "path": str(state.etc / "registry.htpasswd")},
        },
    }


def pod_network() -> dict[str, Any]:
    """The pods' network: a bridge, whose traffic kube-proxy sees."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": addresses.BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": addresses.PODS, "rangeStart": "10.88.0.2"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
