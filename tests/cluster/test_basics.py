"""The cluster is a real one: pods run, find and answer each other; what must be is refused."""

from __future__ import annotations

import pytest

from tests.cluster import addresses, builds, images
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, running

pytestmark = pytest.mark.cluster

PORT = 8080
SERVER = ["python3", "-u", "-m", "http.server", str(PORT)]
ASK = (
    "import sys, time, urllib.request\n"
    "for _ in range(50):\n"
    "    try:\n"
    "        print(urllib.request.urlopen(sys.argv[1], timeout=2).status)\n"
    "        break\n"
    "    except OSError as error:\n"
    "        print(error)\n"
    "        time.sleep(0.2)\n"
)


def test_the_node_is_ready_and_of_the_pinned_version(cluster: Cluster) -> None:
    node = cluster.kubectl("get", "node", addresses.NODE_NAME)
    assert node["status"]["nodeInfo"]["kubeletVersion"] == f"v{builds.KUBERNETES}"


def test_a_pod_is_reached_by_its_service_name_from_another_and_from_outside(
    cluster: Cluster, namespace: str
) -> None:
    base = cluster.load(images.BASE)
    cluster.apply(
        pod(
            "server",
            namespace,
            image=base,
            labels={"app": "server"},
            container={"command": SERVER, "ports": [{"containerPort": PORT}]},
        ),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "page", "namespace": namespace},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": PORT}]},
        },
        pod("asker", namespace, image=base, container={"command": ["sleep", "inf"]}),
    )
    server = cluster.until("pod", "server", running, namespace=namespace)
    cluster.until("pod", "asker", running, namespace=namespace)

    ask = ["python3", "-c", ASK, f"http://page.{namespace}"]
    asked = cluster.run(["kubectl", "exec", f"--namespace={namespace}", "asker", "--", *ask])
    assert asked.splitlines()[-1] == "200"
    with cluster.http(server["status"]["podIP"], PORT) as client:
        assert client.get("/").status_code == 200
    with cluster.http(f"page.{namespace}.svc.{addresses.DOMAIN}", 80) as client:
        assert client.get("/nothing").status_code == 404
    log = cluster.run(["kubectl", "logs", f"--namespace={namespace}", "server"])
    assert '"GET /nothing HTTP/1.1" 404' in log


def test_pod_security_refuses_what_a_namespace_does_not_allow(
    cluster: Cluster, namespace: str
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.run(["kubectl", "label", "namespace", namespace, label])
    loose = {"securityContext": {"privileged": True}}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted:latest"'):
        cluster.apply(pod("loose", namespace, container=loose))
    cluster.apply(pod("strict", namespace))
    cluster.until("pod", "strict", running, namespace=namespace)


def test_an_object_with_an_unknown_field_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(AssertionError, match=r'unknown field "spec\.hostNetwrok"'):
        cluster.apply(pod("odd", namespace, spec={"hostNetwrok": True}))


def test_the_cluster_is_an_island(cluster: Cluster) -> None:
    routes = cluster.run(["ip", "-json", "route"])
    assert '"default"' not in routes
    known = cluster.run(["getent", "hosts", f"kubernetes.default.svc.{addresses.DOMAIN}"])
    assert known.split()[0] == addresses.API_SERVICE
    asked = cluster.run(["sh", "-c", "getent hosts example.org; echo $?"])
    assert asked.strip() == "2"  # said at once to be unknown


def test_pods_stay_and_are_served_while_the_api_server_is_away(
    cluster: Cluster, namespace: str
) -> None:
    command = {"command": SERVER}
    cluster.apply(pod("server", namespace, image=cluster.load(images.BASE), container=command))
    before = cluster.until("pod", "server", running, namespace=namespace)
    cluster.stop("kube-apiserver")
    try:
        with pytest.raises(AssertionError, match="refused"):
            cluster.kubectl("get", "nodes")
        with cluster.http(before["status"]["podIP"], PORT) as client:
            assert client.get("/").status_code == 200
    finally:
        cluster.start("kube-apiserver")
        cluster.settle()
    after = cluster.kubectl("get", "pod", "server", f"--namespace={namespace}")
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]
