"""The "restricted" Pod Security level, and what a shared file system demands besides.

- Everything runs as numbers that the store gave, never as root, without capabilities, without a way
  to more privileges, under the runtime's seccomp profile.
- Groups are the store's alone: each opens folders on the shared file system, so no configuration
  can add one, and where the nodes are able to (``Rules.strict_groups``) no image can either.
- There is no ``fsGroup`` where the catalog's claims are mounted: the kubelet would change the
  owner of every file of the shared claim, everybody's, at a session's start. The catalog can ask
  for one where a session's own scratch needs it and the claims' drivers leave owners alone.
"""

from __future__ import annotations

from typing import Final

from arcetri_spawner.backends.kubernetes.manifest import (
    Container,
    Draft,
    JsonObject,
    child,
    children,
)
from arcetri_spawner.backends.kubernetes.plan import PodPlan

_LEVEL = "The Pod Security level of sessions does not allow it."
_PERSON = "A session runs as its person, with the ids and groups that the store gave."
_SAFE_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES: Final = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP: Final = ("seccomp.security.alpha.kubernetes.io/", "container.seccomp.security.alpha")
_HOOKS: Final = ("postStart", "preStop")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def demand_security(draft: Draft, plan: PodPlan) -> None:
    """Bring the pod and each of its containers to the level."""
    spec = draft.spec
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if not spec.get(key, False):
            spec.pop(key, None)
        draft.remove(spec, key, "spec", _LEVEL)
    draft.remove(spec, "ephemeralContainers", "spec", "A new pod cannot have any.")
    draft.remove(spec, "os", "spec", "Sessions run on Linux nodes.")
    _annotations(draft)
    _pod(draft, plan)
    for container in draft.containers():
        _container(draft, container)
    _as_the_person(draft, plan)


def _pod(draft: Draft, plan: PodPlan) -> None:
    path = "spec.securityContext"
    context = child(draft.spec, "securityContext", path)
    _common(draft, context, path)
    sysctls = children(context, "sysctls", f"{path}.sysctls")
    if any(entry.get("name") not in _SAFE_SYSCTLS for entry in sysctls):
        draft.remove(context, "sysctls", path, _LEVEL)
    draft.force(context, "runAsNonRoot", True, path, _LEVEL)
    draft.force(context, "runAsUser", plan.person.uid, path, _PERSON)
    draft.force(context, "runAsGroup", plan.person.gid, path, _PERSON)
    groups = sorted({*plan.person.gids.values()} - {plan.person.gid})
    if sorted(context.pop("supplementalGroups", [])) not in ([], groups):
        draft.overrule(f"{path}.supplementalGroups", _PERSON)
    if groups:
        context["supplementalGroups"] = groups
    if plan.rules.strict_groups:
        context["supplementalGroupsPolicy"] = "Strict"
    if any(volume.scratch is None for volume in plan.grant.volumes):
        for key in ("fsGroup", "fsGroupChangePolicy"):
            draft.remove(
                context,
                key,
                path,
                "The kubelet would change the owner of every file of the shared volumes.",
            )
    if any(volume.scratch and volume.scratch.fsgroup for volume in plan.grant.volumes):
        context |= {"fsGroup": plan.person.gid, "fsGroupChangePolicy": "OnRootMismatch"}
    context.setdefault("seccompProfile", {"type": "RuntimeDefault"})


def _container(draft: Draft, container: Container) -> None:
    path = f"{container.path}.securityContext"
    context = child(container.body, "securityContext", path)
    _common(draft, context, path)
    if not context.get("privileged", False):
        context.pop("privileged", None)
    draft.remove(context, "privileged", path, _LEVEL)
    if context.get("procMount", "Default") != "Default":
        draft.remove(context, "procMount", path, _LEVEL)
    draft.force(context, "allowPrivilegeEscalation", False, path, _LEVEL)
    draft.force(context, "runAsNonRoot", True, path, _LEVEL)
    if context.get("runAsUser") == 0:
        draft.remove(context, "runAsUser", path, _LEVEL)
    _capabilities(draft, context, path)
    _ports(draft, container)
    _host_fields(draft, container)
    if not container.init:
        for key in ("restartPolicy", "restartPolicyRules"):
            draft.remove(
                container.body,
                key,
                container.path,
                "A session's container runs once; what ended is told to its user, not begun again.",
            )


def _common(draft: Draft, context: JsonObject, path: str) -> None:
    """What pods and containers have alike."""
    draft.remove(context, "windowsOptions", path, "Sessions run on Linux nodes.")
    for key, allowed in (
        ("seccompProfile", ("RuntimeDefault", "Localhost")),
        ("appArmorProfile", ("RuntimeDefault", "Localhost")),
    ):
        if key in context and child(context, key, f"{path}.{key}").get("type") not in allowed:
            draft.remove(context, key, path, _LEVEL)
    if "seLinuxOptions" in context:
        options = child(context, "seLinuxOptions", f"{path}.seLinuxOptions")
        if (
            options.get("type", "") not in _SELINUX_TYPES
            or options.get("user")
            or options.get("role")
        ):
            draft.remove(context, "seLinuxOptions", path, _LEVEL)


def _capabilities(draft: Draft, context: JsonObject, path: str) -> None:
    found = child(context, "capabilities", f"{path}.capabilities")
    added = found.get("add") or []
    if any(name != "NET_BIND_SERVICE" for name in added):
        draft.overrule(f"{path}.capabilities.add", _LEVEL)
    context["capabilities"] = {"drop": ["ALL"]}
    if "NET_BIND_SERVICE" in added:
        context["capabilities"]["add"] = ["NET_BIND_SERVICE"]


def _ports(draft: Draft, container: Container) -> None:
    for index, port in enumerate(children(container.body, "ports", f"{container.path}.ports")):
        path = f"{container.path}.ports[{port.get('name', index)}]"
        for key in ("hostPort", "hostIP"):
            draft.remove(port, key, path, _LEVEL)


def _host_fields(draft: Draft, container: Container) -> None:
    """Probes and hooks could make the kubelet knock at another machine's door."""
    handlers: list[tuple[str, JsonObject]] = []
    for key in _PROBES:
        if key in container.body:
            path = f"{container.path}.{key}"
            handlers.append((path, child(container.body, key, path)))
    if "lifecycle" in container.body:
        lifecycle = child(container.body, "lifecycle", f"{container.path}.lifecycle")
        for key in _HOOKS:
            if key in lifecycle:
                path = f"{container.path}.lifecycle.{key}"
                handlers.append((path, child(lifecycle, key, path)))
    for path, handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if action in handler:
                draft.remove(
                    child(handler, action, f"{path}.{action}"), "host", f"{path}.{action}", _LEVEL
                )


def _as_the_person(draft: Draft, plan: PodPlan) -> None:
    path = f"{draft.notebook.path}.securityContext"
    context = child(draft.notebook.body, "securityContext", path)
    for key, ours in (("runAsUser", plan.person.uid), ("runAsGroup", plan.person.gid)):
        if context.pop(key, ours) != ours:
            draft.overrule(f"{path}.{key}", _PERSON)


def _annotations(draft: Draft) -> None:
    found = child(draft.metadata, "annotations", "metadata.annotations")
    for name, value in list(found.items()):
        loose = name.startswith(_SECCOMP) or (
            name.startswith(_APPARMOR)
            and value != "runtime/default"
            and not str(value).startswith("localhost/")
        )
        if loose:
            draft.remove(found, name, "metadata.annotations", _LEVEL)
