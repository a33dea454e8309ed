"""What a session sees of the file systems: the granted volumes, /dev/shm, and who it is.

A claim is one volume of the pod, however many of its folders are granted; each folder is a mount
with a ``subPath``. **The folders must be there before the pod is made**: the kubelet would make a
missing one itself, owned by root.
"""

from __future__ import annotations

import posixpath
from typing import Final

from arcetri_accounting.contract import podmarks
from arcetri_spawner import lab
from arcetri_spawner.backends.kubernetes import quantities
from arcetri_spawner.backends.kubernetes.manifest import (
    Container,
    Draft,
    JsonObject,
    child,
    children,
    keep,
)
from arcetri_spawner.backends.kubernetes.marks import labels_of
from arcetri_spawner.backends.kubernetes.names import SCRATCH, dns_label
from arcetri_spawner.backends.kubernetes.plan import PodPlan
from arcetri_spawner.policy.model import ScratchSpace

_OURS: Final = "arcetri-"
_SHM: Final = f"{_OURS}shm"
_IDENTITY: Final = f"{_OURS}identity"
_HOME: Final = f"{_OURS}home"
_RUNTIME: Final = f"{_OURS}runtime"
RUNTIME: Final = "/run/arcetri"
"""Where a session can write whatever becomes of its home, and where nothing is kept."""
_RUNTIME_SIZE: Final = 64 * 1024 * 1024
_KINDS: Final = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_CREDENTIALS: Final = ("serviceAccountToken", "secret", "podCertificate")
_ONLY_ITS_OWN = "A session holds no secret but its own token."
_EXTENSION: Final = f"/usr/local/share/jupyter/labextensions/{lab.NAME}"
"""One of the places where every Jupyter looks, whatever environment the image has."""
_FILES: Final = {
    "passwd": ("/etc/passwd", podmarks.PASSWD),
    "group": ("/etc/group", podmarks.GROUPS),
    "jupyter_config.py": ("/etc/jupyter/jupyter_config.py", podmarks.JUPYTER),
    "lab-package.json": (f"{_EXTENSION}/{lab.PACKAGE}", podmarks.LAB_PACKAGE),
    "lab-script.js": (f"{_EXTENSION}/{lab.SCRIPT}", podmarks.LAB_SCRIPT),
}
"""Files that the kubelet writes from annotations: by their names, where they are seen."""


def demand_storage(draft: Draft, plan: PodPlan) -> None:
    """Give the session its volumes, and take those of the site's that policy does not allow."""
    path = "spec.volumes"
    theirs = []
    for index, volume in enumerate(children(draft.spec, "volumes", path)):
        where = f"{path}[{volume.get('name', index)}]"
        if reason := _why_not(draft, volume, where, plan):
            draft.overrule(where, reason)
        else:
            theirs.append(volume)
    names = {str(volume.get("name")) for volume in theirs}
    for container in draft.containers():
        _keep_mounts(draft, container, names)
    volumes, mounts = _granted(plan)
    _add(draft, theirs, volumes, mounts)
    if plan.home not in _mount_paths(draft.notebook):
        _add(
            draft,
            children(draft.spec, "volumes", path),
            [{"name": _HOME, "emptyDir": {}}],
            [{"name": _HOME, "mountPath": plan.home}],
        )


def _granted(plan: PodPlan) -> tuple[list[JsonObject], list[JsonObject]]:
    volumes: dict[str, JsonObject] = {}
    mounts: list[JsonObject] = []
    for granted in sorted(plan.grant.volumes, key=lambda volume: volume.mount):
        if granted.scratch is not None:
            name = dns_label(granted.name, SCRATCH)
            volumes[name] = {"name": name} | _scratch(granted.scratch, plan)
        else:
            name = dns_label(granted.claim, f"{_OURS}claim-")
            volumes[name] = {"name": name, "persistentVolumeClaim": {"claimName": granted.claim}}
        mount: JsonObject = {"name": name, "mountPath": granted.mount}
        if granted.path:
            mount["subPath"] = granted.path
        if granted.read_only:
            # What is mounted below the folder on the node would else be writable.
            mount |= {"readOnly": True, "recursiveReadOnly": "IfPossible"}
        mounts.append(mount)
    if plan.grant.shm is not None:
        # Its pages are charged to the container that writes them, so the memory limit holds both.
        shm = {"medium": "Memory", "sizeLimit": quantities.bytes_text(plan.grant.shm)}
        volumes[_SHM] = {"name": _SHM, "emptyDir": shm}
        mounts.append({"name": _SHM, "mountPath": "/dev/shm"})  # noqa: S108 - the very folder
    size = quantities.bytes_text(_RUNTIME_SIZE)
    volumes[_RUNTIME] = {"name": _RUNTIME, "emptyDir": {"sizeLimit": size}}
    mounts.append({"name": _RUNTIME, "mountPath": RUNTIME})
    items = [
        {"path": file, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}}
        for file, (_, annotation) in _FILES.items()
    ]
    volumes[_IDENTITY] = {"name": _IDENTITY, "downwardAPI": {"defaultMode": 0o444, "items": items}}
    mounts += [
        {"name": _IDENTITY, "mountPath": place, "subPath": file, "readOnly": True}
        for file, (place, _) in _FILES.items()
    ]
    return list(volumes.values()), mounts


def _scratch(scratch: ScratchSpace, plan: PodPlan) -> JsonObject:
    size = quantities.bytes_text(scratch.size)
    if scratch.storage_class is None:
        return {"emptyDir": {"sizeLimit": size}}
    # The claim is made with the pod, owned by it, and goes when it goes.
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": scratch.storage_class,
        "resources": {"requests": {"storage": size}},
    }
    template = {"metadata": {"labels": labels_of(plan)}, "spec": spec}
    return {"ephemeral": {"volumeClaimTemplate": template}}


def _add(
    draft: Draft, there: list[JsonObject], volumes: list[JsonObject], mounts: list[JsonObject]
) -> None:
    keep(draft.spec, "volumes", [*there, *volumes])
    notebook = draft.notebook
    ours = {mount["mountPath"] for mount in mounts}
    theirs = []
    for mount in children(notebook.body, "volumeMounts", f"{notebook.path}.volumeMounts"):
        if _normal(mount) in ours:
            draft.overrule(
                f"{notebook.path}.volumeMounts[{mount['mountPath']}]",
                "The grant says what a session sees there.",
            )
        else:
            theirs.append(mount)
    keep(notebook.body, "volumeMounts", [*theirs, *mounts])


def _keep_mounts(draft: Draft, container: Container, volumes: set[str]) -> None:
    """Drop mounts of volumes that are not there: the API server would refuse the pod."""
    for key, kept in (("volumeMounts", volumes), ("volumeDevices", volumes)):
        path = f"{container.path}.{key}"
        entries = []
        for index, entry in enumerate(children(container.body, key, path)):
            where = f"{path}[{entry.get('mountPath') or entry.get('devicePath') or index}]"
            if entry.get("name") not in kept:
                draft.overrule(where, "The pod has no such volume, or may not have it.")
                continue
            if entry.get("mountPropagation") == "Bidirectional":
                draft.remove(
                    entry, "mountPropagation", where, "Only a privileged container can do that."
                )
            entries.append(entry)
        keep(container.body, key, entries)


def _mount_paths(container: Container) -> set[str]:
    mounts = children(container.body, "volumeMounts", f"{container.path}.volumeMounts")
    return {_normal(mount) for mount in mounts}


def _normal(mount: JsonObject) -> str:
    return "/" + posixpath.normpath(str(mount.get("mountPath", ""))).lstrip("/")


def _why_not(draft: Draft, volume: JsonObject, path: str, plan: PodPlan) -> str:
    kinds = [key for key in volume if key != "name"]
    if str(volume.get("name", "")).startswith(_OURS):
        return f"Names that begin with {_OURS} are the platform's."
    if any(kind not in _KINDS for kind in kinds):
        return "The Pod Security level of sessions does not allow this kind of volume."
    if "secret" in volume:
        named = child(volume, "secret", f"{path}.secret").get("secretName")
        if named is None or named != plan.certificates:
            return _ONLY_ITS_OWN
    if "persistentVolumeClaim" in volume:
        claim = child(volume, "persistentVolumeClaim", f"{path}.persistentVolumeClaim")
        if claim.get("claimName") in plan.rules.claims:
            return "The catalog says who sees which folder of this claim."
    if "projected" in volume and not _without_credentials(draft, volume, path):
        return _ONLY_ITS_OWN
    return ""


def _without_credentials(draft: Draft, volume: JsonObject, path: str) -> bool:
    """Take credentials out of a projected volume; whether anything is left of it."""
    projected = child(volume, "projected", f"{path}.projected")
    path = f"{path}.projected.sources"
    sources = children(projected, "sources", path)
    for index, source in enumerate(sources):
        for key in _CREDENTIALS:
            draft.remove(source, key, f"{path}[{index}]", _ONLY_ITS_OWN)
    left = [source for source in sources if source]
    keep(projected, "sources", left)
    return bool(left) or not sources
