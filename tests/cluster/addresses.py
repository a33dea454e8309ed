"""The cluster's addresses: the same in every cluster, since each has a network of its own."""

from __future__ import annotations

BRIDGE = "cni0"
NODE = "10.88.0.1"
"""The bridge's address, which is the node's and the API server's."""
PODS = "10.88.0.0/16"
SERVICES = "10.96.0.0/16"
SIMULATED_PODS = "10.99.0.0/16"
"""The range of simulated nodes' pods, for all of which the responder answers."""
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"
NODE_NAME = "node"
API_PORT = 6443
REGISTRY_PORT = 5001
REGISTRY = "registry.example"
"""What images are called that the registry has; only the node's containerd knows the name."""
API_URL = f"https://{NODE}:{API_PORT}"
ETCD_URL = "http://127.0.0.1:2379"
