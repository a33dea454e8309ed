"""A judge of pods, written from the Pod Security Standards and the issue, not from our code.

It looks for violations anywhere in the JSON where they can be, and knows nothing of how a pod was
made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image",
    "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip


def violations(pod: dict[str, Any]) -> list[str]:
    """Everything by which a pod fails the "restricted" level."""
    return list(_violations(pod))


def _violations(pod: dict[str, Any]) -> Iterator[str]:
    spec = pod["spec"]
    context = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    if spec.get("os", {}).get("name", "linux") != "linux":
        yield "not linux, which the level judges more mildly"
    for volume in spec.get("volumes", []):
        if set(volume) - {"name"} - ALLOWED_VOLUMES:
            yield f"volume {volume}"
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl}"
    yield from _either(context, "pod")
    for name, value in pod["metadata"].get("annotations", {}).items():
        tame = value == "runtime/default" or value.startswith("localhost/")
        if name.startswith("container.apparmor") and not tame:
            yield f"apparmor {value}"
        if "seccomp" in name:
            yield f"seccomp by annotation {name}"
    for container in containers(pod):
        yield from _container(container, context)


def _container(container: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    name = container.get("name")
    own = container.get("securityContext", {})
    yield from _either(own, name)
    if own.get("privileged"):
        yield f"{name}: privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    if own.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    if not own.get("runAsNonRoot", context.get("runAsNonRoot")):
        yield f"{name}: runAsNonRoot"
    if not own.get("runAsUser", context.get("runAsUser", 1)):
        yield f"{name}: runAsUser 0"
    seccomp = own.get("seccompProfile", context.get("seccompProfile", {}))
    if seccomp.get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccomp"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name}: does not drop ALL"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield f"{name}: adds capabilities"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"{name}: hostPort"
    handlers = [container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness", "startup")]
    handlers += container.get("lifecycle", {}).values()
    for handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if handler.get(action, {}).get("host"):
                yield f"{name}: host of a probe or hook"


def _either(context: dict[str, Any], name: str | None) -> Iterator[str]:
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name}: hostProcess"
    if context.get("runAsNonRoot") is False:
        yield f"{name}: runAsNonRoot false"
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser 0"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{name}: Unconfined"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield f"{name}: AppArmor Unconfined"
    options = context.get("seLinuxOptions", {})
    if options.get("user") or options.get("role"):
        yield f"{name}: SELinux user or role"
    if options.get("type", "container_t") not in (
        "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t",
    ):  # fmt: skip
        yield f"{name}: SELinux type"


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Every container of a pod, of whichever kind."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in pod["spec"].get(kind, [])]


def devices(pod: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    """Every accelerator a pod asks for, by container, requests or limits, and resource."""
    return {
        (container["name"], kind, name): amount
        for container in containers(pod)
        for kind in ("requests", "limits")
        for name, amount in container.get("resources", {}).get(kind, {}).items()
        if name.startswith(("nvidia.com/", "amd.com/"))
    }


def secrets_named(value: Any, inside: str = "") -> list[str]:
    """Where a pod names a Secret or a token, and which."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in ("secretKeyRef", "secretRef"):
                found.append(f"{key}:{entry.get('name')}")
            elif key == "secret" and inside != "imagePullSecrets":
                found.append(f"volume:{entry.get('secretName') or entry.get('name')}")
            elif key in ("serviceAccountToken", "podCertificate"):
                found.append(key)
            else:
                found += secrets_named(entry, key)
    elif isinstance(value, list):
        for entry in value:
            found += secrets_named(entry, inside)
    return found
