"""What each component's account may do, and must not: asked of the real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.helm import connections
from tests.helm.rights import DISCOVERY, RIGHTS, rules_of
from tests.support import helm

pytestmark = pytest.mark.cluster

RELEASE = "rightful"
HOMES = {
    **{name: namespace for name, (namespace, _) in connections.pods(RELEASE, RELEASE).items()},
    "sessions": f"{RELEASE}-sessions",
    "images": f"{RELEASE}-images",
}
KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")

# A verb, a resource, and where: a component's namespace, another one, or the whole cluster.
OWN, SESSIONS, IMAGES, ELSEWHERE, EVERYWHERE = "own", "sessions", "images", "kube-system", ""
Right = tuple[str, str, str]

MAY: Mapping[str, tuple[Right, ...]] = {
    "hub": (
        ("list", "nodes", EVERYWHERE),
        ("watch", "nodes", EVERYWHERE),
        ("list", "pods", EVERYWHERE),
        ("watch", "pods", ELSEWHERE),
        ("create", "pods", SESSIONS),
        ("get", "pods", SESSIONS),
        ("delete", "pods", SESSIONS),
        ("create", "secrets", SESSIONS),
        ("watch", "events", SESSIONS),
        ("create", "workloads.kueue.x-k8s.io", SESSIONS),
        ("patch", "workloads.kueue.x-k8s.io/status", SESSIONS),
        ("watch", "clusterqueues.kueue.x-k8s.io", EVERYWHERE),
    ),
    "ledger": (("create", "tokenreviews.authentication.k8s.io", EVERYWHERE),),
    "provisioner": (("create", "tokenreviews.authentication.k8s.io", EVERYWHERE),),
    "agent": (("list", "pods", EVERYWHERE), ("watch", "pods", EVERYWHERE)),
    "prepuller": (
        ("create", "daemonsets.apps", IMAGES),
        ("patch", "daemonsets.apps", IMAGES),
        ("delete", "daemonsets.apps", IMAGES),
        ("watch", "daemonsets.apps", IMAGES),
        ("list", "pods", IMAGES),
    ),
    "queues": (
        ("list", "nodes", EVERYWHERE),
        ("create", "clusterqueues.kueue.x-k8s.io", EVERYWHERE),
        ("patch", "resourceflavors.kueue.x-k8s.io", EVERYWHERE),
        ("delete", "localqueues.kueue.x-k8s.io", SESSIONS),
    ),
    "proxy": (),
    "session": (),
}
_NOBODY: tuple[Right, ...] = (
    ("get", "secrets", OWN),
    ("list", "secrets", SESSIONS),
    ("list", "secrets", EVERYWHERE),
    ("create", "pods", OWN),
    ("create", "pods", ELSEWHERE),
    ("delete", "pods", ELSEWHERE),
    ("patch", "pods", SESSIONS),
    ("create", "pods/exec", SESSIONS),
    ("create", "pods/attach", SESSIONS),
    ("create", "pods/portforward", SESSIONS),
    ("create", "pods/ephemeralcontainers", SESSIONS),
    ("get", "pods/log", SESSIONS),
    ("get", "pods/proxy", SESSIONS),
    ("get", "configmaps", OWN),
    ("list", "configmaps", SESSIONS),
    ("create", "persistentvolumeclaims", SESSIONS),
    ("patch", "persistentvolumes", EVERYWHERE),
    ("delete", "nodes", EVERYWHERE),
    ("patch", "nodes", EVERYWHERE),
    ("get", "nodes/proxy", EVERYWHERE),
    ("patch", "namespaces", EVERYWHERE),
    ("create", "serviceaccounts/token", OWN),
    ("create", "rolebindings.rbac.authorization.k8s.io", OWN),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", EVERYWHERE),
    ("delete", "networkpolicies.networking.k8s.io", SESSIONS),
    ("impersonate", "users", EVERYWHERE),
    ("approve", "signers.certificates.k8s.io", EVERYWHERE),
)
MUST_NOT: Mapping[str, tuple[Right, ...]] = {
    "hub": (
        ("create", "tokenreviews.authentication.k8s.io", EVERYWHERE),
        ("create", "workloads.kueue.x-k8s.io", ELSEWHERE),
        ("patch", "clusterqueues.kueue.x-k8s.io", EVERYWHERE),
        ("delete", "localqueues.kueue.x-k8s.io", SESSIONS),
    ),
    "ledger": (("list", "pods", EVERYWHERE), ("list", "nodes", EVERYWHERE)),
    "provisioner": (("list", "pods", EVERYWHERE), ("get", "persistentvolumes", EVERYWHERE)),
    "agent": (("delete", "pods", SESSIONS), ("list", "nodes", EVERYWHERE)),
    "prepuller": (
        ("create", "daemonsets.apps", SESSIONS),
        ("create", "daemonsets.apps", EVERYWHERE),
        ("create", "daemonsets.apps", OWN),
        ("list", "pods", OWN),
        ("get", "secrets", IMAGES),
        ("get", "configmaps", IMAGES),
        ("create", "deployments.apps", IMAGES),
        ("list", "pods", EVERYWHERE),
    ),
    "queues": (
        ("list", "pods", EVERYWHERE),
        ("create", "localqueues.kueue.x-k8s.io", ELSEWHERE),
        ("create", "workloads.kueue.x-k8s.io", SESSIONS),
        ("patch", "nodes", EVERYWHERE),
    ),
    "proxy": (("list", "pods", OWN), ("list", "nodes", EVERYWHERE)),
    "session": (
        ("list", "pods", OWN),
        ("get", "pods", OWN),
        ("list", "nodes", EVERYWHERE),
        ("get", "services", OWN),
    ),
}


@pytest.fixture(scope="module")
def accounts(cluster: Cluster) -> Iterator[dict[str, str]]:
    """The components' accounts as the chart makes them, by who has them."""
    objects = helm.render(connections.everything(RELEASE), release=RELEASE, namespace=RELEASE)
    ours = [one for one in objects if one["kind"] in KINDS]
    namespaces = sorted({*HOMES.values()})
    # Another run's may still be going.
    cluster.run(
        [
            "kubectl",
            "delete",
            "namespace",
            *namespaces,
            "--ignore-not-found",
            "--now",
            "--timeout=90s",
        ]
    )
    cluster.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": one}}
            for one in namespaces
        ),
        *ours,
    )
    made = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["metadata"]["name"]
        for one in ours
        if one["kind"] == "ServiceAccount"
    }
    yield {name: f"system:serviceaccount:{HOMES[name]}:{made.get(name, 'default')}" for name in MAY}
    for one in ours:
        if one["kind"].startswith("Cluster"):
            cluster.run(["kubectl", "delete", one["kind"], one["metadata"]["name"]])
    cluster.run(["kubectl", "delete", "namespace", *namespaces, "--wait=false", "--now"])


def _asked(user: str, home: str, right: Right) -> dict[str, Any]:
    """A question to the API server's own authorizer."""
    verb, what, where = right
    kind, _, subresource = what.partition("/")
    resource, _, group = kind.partition(".")
    attributes = {
        "verb": verb,
        "resource": resource,
        "group": group,
        "subresource": subresource,
        "namespace": {OWN: home, SESSIONS: HOMES["sessions"], IMAGES: HOMES["images"]}.get(
            where, where
        ),
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{home}"],
            "resourceAttributes": {name: value for name, value in attributes.items() if value},
        },
    }


def _create(cluster: Cluster, *objects: Mapping[str, Any], user: str = "") -> list[Any]:
    """What the API server answers to each."""
    # An account that may do nothing cannot fetch what kubectl would check with.
    command = ["kubectl", "create", "--validate=false", "--filename=-", "--output=json"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    said = cluster.run([*command, *([f"--as={user}"] if user else [])], stdin=text)
    decoder, answers = json.JSONDecoder(), []
    while said := said.lstrip():
        answer, end = decoder.raw_decode(said)
        answers.append(answer)
        said = said[end:]
    return answers


def test_each_may_do_what_it_does_and_nothing_else(
    cluster: Cluster, accounts: dict[str, str]
) -> None:
    wanted = {
        **{(name, right): True for name, rights in MAY.items() for right in rights},
        **{(name, right): False for name in MAY for right in (*_NOBODY, *MUST_NOT[name])},
    }
    questions = [_asked(accounts[name], HOMES[name], right) for name, right in wanted]
    answers = _create(cluster, *questions)
    found = {
        asked: answer["status"]["allowed"] for asked, answer in zip(wanted, answers, strict=True)
    }
    assert {asked: may for asked, may in found.items() if may is not wanted[asked]} == {}
    assert len(found) > 150


@pytest.mark.parametrize("component", MAY)
def test_the_api_server_knows_of_no_other_right(
    cluster: Cluster, accounts: dict[str, str], component: str
) -> None:
    """Every rule that holds for an account, wherever it comes from, is one that is listed."""
    named = {HOMES["sessions"]: "sessions", HOMES["images"]: "images"}
    for place in {HOMES[component], *named}:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": place},
        }
        (answer,) = _create(cluster, review, user=accounts[component])
        status = answer["status"]
        assert not status["incomplete"]
        assert rules_of(status["resourceRules"], RELEASE) == {
            *DISCOVERY,
            *RIGHTS[component].get("cluster", ()),
            *RIGHTS[component].get(named.get(place, "own"), ()),
        }
        allowed = {path for rule in status["nonResourceRules"] for path in rule["nonResourceURLs"]}
        assert {verb for rule in status["nonResourceRules"] for verb in rule["verbs"]} == {"get"}
        assert all(path.startswith(_HARMLESS) for path in allowed), allowed


_HARMLESS = (
    "/api",
    "/openapi",
    "/openid",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/.well-known",
)
