"""What a session's pod says of itself, written from a grant and read back from a pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from arcetri_accounting.contract import podmarks
from arcetri_spawner import lab
from arcetri_spawner.backends.kubernetes.manifest import Draft, JsonObject, child
from arcetri_spawner.backends.kubernetes.names import label_value
from arcetri_spawner.backends.kubernetes.passwd import group_text, passwd_text
from arcetri_spawner.backends.kubernetes.plan import PodPlan

TOPOLOGY = "kueue.x-k8s.io/podset-required-topology"
"""Without it Kueue counts the session's devices twice: for its ticket, and for its pod."""

JUPYTER = (
    "# What is made in a group's folder is its members' to change; a home is closed to them.\n"
    "import os\n\nos.umask(0o007)\n"
)
"""Jupyter's configuration: a container is started with a umask that lets groups only read, and no
field of a pod says another."""

_OURS = f"{podmarks.DOMAIN}/"
_KUEUES = "kueue.x-k8s.io/"
_DEVICES = "cdi.k8s.io/"
"""Container runtimes give a pod the devices that annotations below this name ask for."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Whose session a pod is."""

    session: UUID
    instance: str
    account: str
    """The account's opaque id."""
    username: str
    server_name: str
    group: str
    flavor: str
    kind: str


def labels_of(plan: PodPlan) -> dict[str, str]:
    """Return the labels by which pods and Secrets are found."""
    grant = plan.grant
    return {
        podmarks.SESSION: str(grant.request_id),
        podmarks.INSTANCE: plan.rules.instance,
        podmarks.ACCOUNT: label_value(grant.account_id),
        podmarks.GROUP: label_value(grant.group),
        podmarks.FLAVOR: grant.flavor,
        podmarks.KIND: grant.kind,
    }


def annotations_of(plan: PodPlan) -> dict[str, str]:
    """Return what is read of a session: raw, exact, and as the grant froze it."""
    grant = plan.grant
    return {
        podmarks.ACCOUNT: grant.account_id,
        podmarks.USERNAME: grant.username,
        podmarks.SERVER_NAME: grant.server_name,
        podmarks.GROUP: grant.group,
        podmarks.FLAVOR_TYPE: grant.flavor_type,
        podmarks.SHARE: str(grant.share),
        podmarks.CATALOG: grant.catalog_digest,
        podmarks.SIZE: grant.size,
        podmarks.CPU: str(grant.cpu),
        podmarks.MEMORY: str(grant.memory),
        podmarks.ENVIRONMENT: grant.environment,
        podmarks.PASSWD: passwd_text(
            grant.username, plan.person.uid, plan.person.gid, home=plan.home
        ),
        podmarks.GROUPS: group_text(grant.username, plan.person.gid, plan.person.gids),
        podmarks.JUPYTER: JUPYTER,
        podmarks.LAB_PACKAGE: lab.text(lab.PACKAGE),
        podmarks.LAB_SCRIPT: lab.text(lab.SCRIPT),
        TOPOLOGY: "kubernetes.io/hostname",
    }


def demand_marks(draft: Draft, plan: PodPlan) -> None:
    """Name the pod, and mark it; the site's own marks stay, but none below our or Kueue's names."""
    metadata = draft.metadata
    metadata.pop("generateName", None)
    # KubeSpawner has a name of its own making for every pod: no wish of the site's.
    metadata["name"] = plan.name
    draft.force(
        metadata,
        "namespace",
        plan.rules.namespace,
        "metadata",
        "Sessions run in the namespace that is guarded for them.",
    )
    for key, ours in (("labels", labels_of(plan)), ("annotations", annotations_of(plan))):
        found = child(metadata, key, f"metadata.{key}")
        for name in [name for name in found if name.startswith((_OURS, _KUEUES))]:
            if found[name] != ours.get(name):
                draft.overrule(
                    f"metadata.{key}[{name}]",
                    "The ledger and the queue rely on these names, so only the platform sets them.",
                )
            del found[name]
        for name in [name for name in found if name.startswith(_DEVICES)]:
            draft.overrule(
                f"metadata.{key}[{name}]",
                "A session has the device of its flavour alone: no annotation gives it another.",
            )
            del found[name]
        found |= ours


def read_marks(pod: Mapping[str, Any]) -> Marks | None:
    """Return whose session a pod is; None when it is not marked as a session of any platform.

    What stands in annotations is given as it stands there, the empty string where it is missing.
    """
    metadata: JsonObject = pod.get("metadata") or {}
    found: dict[str, str] = metadata.get("labels") or {}
    raw: dict[str, str] = metadata.get("annotations") or {}
    try:
        session = UUID(found.get(podmarks.SESSION, ""))
    except ValueError:
        return None
    return Marks(
        session=session,
        instance=found.get(podmarks.INSTANCE, ""),
        account=raw.get(podmarks.ACCOUNT, ""),
        username=raw.get(podmarks.USERNAME, ""),
        server_name=raw.get(podmarks.SERVER_NAME, ""),
        group=raw.get(podmarks.GROUP, ""),
        flavor=found.get(podmarks.FLAVOR, ""),
        kind=found.get(podmarks.KIND, ""),
    )
