"""Accounting against a real kubelet, API server and container runtime.

What is charged is held against what the runtime itself says of containers, in nanoseconds; the
tokens are those that the kubelet gives to pods, and the API server judges them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster import accounting, addresses, images
from tests.cluster.accounting import AGENTS, HOME, Site, container_ids, session
from tests.cluster.cluster import Cluster
from tests.cluster.devices import DEFAULT_LAYOUT
from tests.cluster.pods import pod, running
from tests.cluster.runtime import Ran, ran

pytestmark = pytest.mark.cluster

SESSIONS = "accounted"
GPU, SLICE, FPGA = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "amd.com/v70"


@pytest.fixture(scope="module")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with accounting.on(cluster, tmp_path_factory.mktemp("accounting"), SESSIONS) as made:
        yield made


@pytest.fixture(scope="module")
def shell(cluster: Cluster) -> str:
    """An image with a shell."""
    return cluster.load(images.BASE)


def over(found: dict[str, Any]) -> bool:
    return found.get("status", {}).get("phase") in ("Succeeded", "Failed")


def lives(site: Site, name: str) -> dict[str, Ran]:
    """What the runtime says of a pod's containers that are over, by name."""
    found = site.cluster.until("pod", name, over, namespace=SESSIONS)
    ids = container_ids(found)
    said = ran(site.cluster, *ids.values())
    return {name: said[one] for name, one in ids.items()}


def test_what_is_charged_is_the_containers_life(site: Site, shell: str) -> None:
    cases = {
        "t4": (GPU, "gpu", "1", 10_080),
        "a100-1g": (SLICE, "gpu", "1/7", 1_440),
        "v70": (FPGA, "fpga", "1", 10_080),
        "cpu": ("", "cpu", "1", 0),
    }
    started = {}
    for flavor, (resource, kind, share, _) in cases.items():
        site.cluster.free(resource) if resource else None
        devices = {resource: 1} if resource else None
        name, made = session(
            SESSIONS, image=shell, devices=devices, flavor=flavor, kind=kind, share=share
        )
        site.cluster.apply(made)
        started[flavor] = name
    # It is seen while it runs: within two cycles of its start.
    site.until(lambda: site.runs(started["t4"]), "the session is shown as running", 30)
    for name in started.values():
        site.until(lambda name=name: site.runs(name), "it runs")
        site.stop(name)
    for flavor, name in started.items():
        _, kind, _, share_u = cases[flavor]
        (life,) = lives(site, f"session-{name}").values()
        ((device, seconds),) = site.final(name).items()
        assert abs(seconds - life.seconds) < 1, (flavor, seconds, life)
        ((_, said, group, weight, shared, millicores),) = site.terms(name)
        assert (said, group, weight, shared) == (flavor, "/ai_infn/cms", share_u, 0)
        assert millicores == 500
        expected = {"t4": "GPU-", "a100-1g": "MIG-", "v70": "node/0000:c1:00.1", "cpu": ""}
        assert device.startswith(expected[flavor]), device
        t0, t1 = site.rows(
            "select min(s.t0), max(s.t0 + s.dur_ms) from usage_segment s"
            " join usage_allocation a on a.id = s.allocation_id where a.session = ?",
            name,
        )[0]
        assert abs(t0 - life.started / 1e6) < 1000
        assert abs(t1 - life.finished / 1e6) < 1000


def test_the_device_is_the_one_that_the_kubelet_says(site: Site) -> None:
    name, made = session(SESSIONS, devices={GPU: 2})
    site.cluster.free(GPU)
    site.cluster.apply(made)
    site.cluster.until("pod", f"session-{name}", running, namespace=SESSIONS)
    held = site.cluster.devices()[SESSIONS, f"session-{name}", GPU]
    site.until(lambda: site.runs(name), "it runs")
    remove(site, f"session-{name}")
    assert sorted(site.final(name)) == sorted(held) == ["GPU-0", "GPU-1"]
    # Cores are counted once, whatever the devices.
    assert sum(one[5] for one in site.terms(name)) == 500


def remove(site: Site, name: str, *more: str) -> None:
    site.cluster.run(["kubectl", "delete", "pod", name, f"--namespace={SESSIONS}", *more])


def test_containers_are_counted_each_by_its_own_life(site: Site, shell: str) -> None:
    for resource in (GPU, SLICE):
        site.cluster.free(resource)
    name, made = session(SESSIONS, image=shell, seconds=4.5, devices={GPU: 1})
    side, first = (
        {**made["spec"]["containers"][0], "name": one, "command": ["sleep", seconds]}
        for one, seconds in (("side", "1.5"), ("first", "0.2"))
    )
    side["resources"] = {kind: {SLICE: "1"} for kind in ("requests", "limits")}
    first["resources"] = {kind: {GPU: "1"} for kind in ("requests", "limits")}
    made["spec"]["containers"].append(side)
    # What an init container held, the notebook holds after it: it is charged from there on.
    made["spec"]["initContainers"] = [first]
    site.cluster.apply(made)
    life = lives(site, f"session-{name}")
    seconds = site.final(name)
    by_kind = {device[:3]: value for device, value in seconds.items()}
    assert by_kind.keys() == {"GPU", "MIG"}
    assert abs(by_kind["GPU"] - life["notebook"].seconds) < 1
    assert abs(by_kind["MIG"] - life["side"].seconds) < 1


def test_a_pod_of_the_same_name_is_another_session(site: Site) -> None:
    site.cluster.free(GPU)
    names = []
    for _ in range(2):
        name, made = session(SESSIONS, name="same", devices={GPU: 1})
        names.append(name)
        site.cluster.apply(made)
        site.cluster.until("pod", "same", running, namespace=SESSIONS)
        site.until(lambda name=name: site.runs(name), "it runs")
        remove(site, "same", "--now")
    first, second = (site.final(name) for name in names)
    assert len(first) == len(second) == 1
    (overlaps,) = site.rows(
        "select count(*) from usage_segment s join usage_allocation a on a.id = s.allocation_id"
        " join usage_segment o on o.allocation_id <> s.allocation_id"
        " join usage_allocation b on b.id = o.allocation_id and b.device = a.device"
        " where a.session = ? and b.session = ? and s.b0 < o.b0 + o.dur_ms"
        " and o.b0 < s.b0 + s.dur_ms",
        *names,
    )
    assert overlaps == (0,)


def test_time_slices_of_a_card_are_billed_as_their_part(site: Site) -> None:
    shared = "nvidia.com/gpu.shared"
    cut = {
        **DEFAULT_LAYOUT,
        shared: [{"id": f"GPU-1::{number}", "model": "Tesla T4"} for number in range(4)],
        GPU: [{"id": "GPU-0", "model": "Tesla T4"}],
    }
    site.cluster.free(GPU)
    site.cluster.offer(cut)
    try:
        site.cluster.until(
            "node",
            addresses.NODE_NAME,
            lambda node: node["status"]["allocatable"].get(shared) == "4",
        )
        made = [session(SESSIONS, devices={shared: count}, share="1/4") for count in (1, 2)]
        for _, manifest in made:
            site.cluster.apply(manifest)
        for name, _ in made:
            site.until(lambda name=name: site.runs(name), "it runs")
            remove(site, f"session-{name}", "--now")
        terms = [site.terms(name) for name, _ in made if site.final(name)]
        assert [[(one[0], one[3], one[4]) for one in found] for found in terms] == [
            [("GPU-1", 2_520, 1)],
            [("GPU-1", 5_040, 1)],
        ]
    finally:
        site.cluster.offer(DEFAULT_LAYOUT)


def test_an_agent_that_is_killed_loses_nothing_that_was_allocated(site: Site, shell: str) -> None:
    site.cluster.free(GPU)
    name, made = session(SESSIONS, image=shell, devices={GPU: 1})
    site.cluster.apply(made)
    site.until(lambda: site.runs(name), "it runs")
    site.kill("agent")
    site.stop(name)
    (life,) = lives(site, f"session-{name}").values()
    site.start("agent")
    ((_, seconds),) = site.final(name).items()
    assert abs(seconds - life.seconds) < 1
    # Once more: nothing is told twice, though the pod is still there.
    site.kill("agent")
    site.start("agent")
    heard = site.rows("select heartbeat from usage_node")
    site.until(lambda: site.rows("select heartbeat from usage_node") > heard, "it is back")
    assert site.counted(name) == {next(iter(site.counted(name))): seconds}


def test_a_kubelet_that_is_started_again_ends_nothing(site: Site, shell: str) -> None:
    site.cluster.free(SLICE)
    name, made = session(SESSIONS, image=shell, devices={SLICE: 1}, flavor="a100-1g", share="1/7")
    site.cluster.apply(made)
    site.until(lambda: site.runs(name), "it runs")
    site.cluster.stop("kubelet")
    try:
        site.until(lambda: "does not say who holds what" in site.log(), "the kubelet is missed")
    finally:
        site.cluster.start("kubelet")
    site.cluster.settle()
    site.until(lambda: "the kubelet answers again" in site.log(), "the kubelet is back")
    assert site.runs(name)
    site.stop(name)
    (life,) = lives(site, f"session-{name}").values()
    ((device, seconds),) = site.final(name).items()
    assert device.startswith("MIG-")
    assert abs(seconds - life.seconds) < 1


def test_while_the_api_server_is_away_the_spool_grows_and_then_drains(
    site: Site, shell: str
) -> None:
    site.cluster.free(GPU)
    name, made = session(SESSIONS, image=shell, seconds=6.5, devices={GPU: 1})
    site.cluster.apply(made)
    found = site.cluster.until("pod", f"session-{name}", running, namespace=SESSIONS)
    (container,) = container_ids(found).values()
    site.until(lambda: site.runs(name), "it runs")
    site.kill("ledger")
    site.start("ledger")
    site.cluster.stop("kube-apiserver")
    try:
        # The ledger remembers no token, and cannot ask: it says so, and nothing is lost.
        site.until(lambda: "token_review_unavailable" in site.log("ledger"), "it cannot ask")
        site.until(lambda: "pods cannot be followed" in site.log(), "the API server is missed")
        site.until(lambda: ran(site.cluster, container)[container].finished, "it is over")
    finally:
        site.cluster.start("kube-apiserver")
    site.cluster.settle()
    life = ran(site.cluster, container)[container]
    ((_, seconds),) = site.final(name).items()
    assert abs(seconds - life.seconds) < 1


def test_a_pod_of_others_that_holds_a_device_is_no_free_device(site: Site) -> None:
    site.cluster.free(SLICE)
    name, forged = session(SESSIONS, devices={SLICE: 1})
    forged["metadata"] |= {"namespace": "default", "name": "forged"}
    site.cluster.apply(forged)
    try:
        found = site.cluster.until("pod", "forged", running)
        uid = found["metadata"]["uid"]
        site.until(lambda: site.runs(uid), "it is counted")
    finally:
        site.cluster.run(["kubectl", "delete", "pod", "forged", "--now"])
    ((device, _),) = site.final(uid).items()
    assert device.startswith("MIG-")
    ((_, flavor, group, share, _, _),) = site.terms(uid)
    assert (flavor, group, share) == (SLICE, "outside", 1_440)
    # Its marks name a session: outside of the sessions' namespace nobody is charged for them.
    assert site.counted(name) == {}


# Tokens


def token_of(site: Site, account: str, namespace: str, audience: str, *bound: str) -> str:
    command = ["kubectl", "create", "token", account, f"--namespace={namespace}"]
    return site.cluster.run([*command, f"--audience={audience}", *bound]).strip()


def deliver(site: Site, token: str, node: str, path: str = "batches") -> httpx.Response:
    batch = {
        "v": 1, "node": node, "boot": "b", "epoch": "forged", "heartbeat": 1, "sent_at": 1,
    }  # fmt: skip
    with site.cluster.http(addresses.NODE, site.port) as client:
        return client.post(
            f"/services/usage/api/v1/{path}",
            json=batch,
            headers={"Authorization": f"Bearer {token}"},
        )


def test_an_agents_token_writes_for_its_own_node_alone(site: Site) -> None:
    bound = ("--bound-object-kind=Pod", "--bound-object-name=arcetri-agent")
    token = token_of(site, "arcetri-agent", AGENTS, "arcetri-ledger", *bound)
    claims = accounting.jwt_claims(token)
    assert claims["kubernetes.io"]["node"]["name"] == addresses.NODE_NAME
    assert deliver(site, token, addresses.NODE_NAME).status_code == 200
    forged = deliver(site, token, "another")
    assert (forged.status_code, forged.json()["code"]) == (403, "node_mismatch")


@pytest.mark.parametrize(
    ("account", "namespace", "audience", "code"),
    [
        ("arcetri-agent", AGENTS, "https://kubernetes.default.svc.cluster.local", "unauthorized"),
        ("arcetri-agent", AGENTS, "arcetri-provisioner", "unauthorized"),
        ("arcetri-agent", AGENTS, "arcetri-ledger", "node_unknown"),
        ("default", SESSIONS, "arcetri-ledger", "account_unknown"),
        ("arcetri-hub", HOME, "arcetri-ledger", "role_mismatch"),
    ],
)
def test_any_other_token_is_refused(
    site: Site, account: str, namespace: str, audience: str, code: str
) -> None:
    token = token_of(site, account, namespace, audience)
    answer = deliver(site, token, addresses.NODE_NAME)
    assert (answer.status_code, answer.json()["code"]) == (
        401 if code == "unauthorized" else 403,
        code,
    )


def test_a_token_with_a_changed_claim_is_refused(site: Site) -> None:
    import base64

    token = token_of(site, "arcetri-agent", AGENTS, "arcetri-ledger")
    claims = accounting.jwt_claims(token)
    claims["kubernetes.io"]["node"] = {"name": "another"}
    head, _, signed = token.split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    answer = deliver(site, f"{head}.{body}.{signed}", "another")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_an_agents_token_reads_nothing_and_is_no_witness(site: Site) -> None:
    bound = ("--bound-object-kind=Pod", "--bound-object-name=arcetri-agent")
    token = token_of(site, "arcetri-agent", AGENTS, "arcetri-ledger", *bound)
    witness = deliver(site, token, addresses.NODE_NAME, "witness")
    assert (witness.status_code, witness.json()["code"]) == (403, "role_mismatch")
    with site.cluster.http(addresses.NODE, site.port) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        for path in ("/metrics", "/api/v1/report", "/api/v1/sessions", "/"):
            status = client.get(f"/services/usage{path}").status_code
            assert status in (401, 403, 404), path


def test_the_agents_and_the_ledgers_accounts_may_do_nothing_else(
    site: Site,
) -> None:
    """Asked of the real API server."""

    def may(account: str, verb: str, what: str) -> bool:
        kind, _, part = what.partition("/")
        command = ["kubectl", "auth", "can-i", verb, kind, "--all-namespaces"]
        command += [f"--subresource={part}"] if part else []
        command += [f"--as=system:serviceaccount:{account}"]
        answer = site.cluster.run(["sh", "-c", " ".join(command) + " || true"])
        return answer.strip().splitlines()[-1] == "yes"

    agent, ledger = f"{AGENTS}:arcetri-agent", f"{HOME}:arcetri-ledger"
    asked = [
        (agent, "list", "pods", True),
        (agent, "watch", "pods", True),
        (agent, "get", "pods/log", False),
        (agent, "create", "pods", False),
        (agent, "create", "pods/exec", False),
        (agent, "get", "secrets", False),
        (agent, "get", "nodes/proxy", False),
        (agent, "create", "tokenreviews.authentication.k8s.io", False),
        (ledger, "create", "tokenreviews.authentication.k8s.io", True),
        (ledger, "create", "subjectaccessreviews.authorization.k8s.io", False),
        (ledger, "list", "pods", False),
        (ledger, "get", "secrets", False),
    ]
    found = [(account, verb, what, may(account, verb, what)) for account, verb, what, _ in asked]
    assert found == asked


def test_a_pod_without_marks_and_devices_is_nobodys_matter(site: Site) -> None:
    site.cluster.apply(pod("plain", SESSIONS))
    found = site.cluster.until("pod", "plain", running, namespace=SESSIONS)
    remove(site, "plain", "--now")
    assert not site.runs(found["metadata"]["uid"])
    assert site.counted(found["metadata"]["uid"]) == {}


def test_the_agent_keeps_to_its_memory(site: Site) -> None:
    status = Path(f"/proc/{site.parts['agent'].pid}/status").read_text(encoding="utf-8")
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    assert int(peak) * 1024 < 90_000_000  # the kernel counts in KiB
