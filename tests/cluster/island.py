"""Making a new set of namespaces the cluster's own island: its mounts, kernel files and network.

Called by the first process inside; nothing it does can be seen from outside.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster import addresses
from tests.cluster.configuration import KUBELET_ROOT
from tests.cluster.state import State

_KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What a kubelet insists on, and would set for the whole machine."""


def make(state: State) -> None:
    """Set up everything that must be there before the first component.

    Raises:
        subprocess.CalledProcessError: The machine refuses; the command's own words are in the log.
    """
    _own_folders(state)
    _kernel_files(state)
    _network()


def _own_folders(state: State) -> None:
    """What is written below /run and /var stays in the state folder, or goes with the cluster."""
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("netns", "lock"):
        Path("/run", name).mkdir()
    upper, work = state.folder / "var", state.folder / "var.work"
    for folder in (upper, work):
        folder.mkdir()
    options = f"lowerdir=/var,upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "-o", options, "overlay", "/var")
    for source, target in ((state.folder / "kubelet", KUBELET_ROOT),):
        source.mkdir()
        Path(target).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", source, target)
    state.shared.mkdir()
    for name in ("resolv.conf", "hosts"):
        _bind(state.etc / name, Path("/etc") / name)
    # Volumes that are mounted in a pod, or for one, are to be seen by the other.
    _run("mount", "--make-rshared", "/")


def _bind(source: Path, target: Path) -> None:
    real = target.resolve()  # it may be a link into /run, which is empty now
    if not real.exists():
        real.parent.mkdir(parents=True, exist_ok=True)
        real.touch()
    _run("mount", "--bind", source, real)


def _kernel_files(state: State) -> None:
    folder = state.folder / "kernel"
    folder.mkdir()
    for name, value in _KERNEL.items():
        shown = folder / name.replace("/", ".")
        shown.write_text(f"{value}\n", encoding="ascii")
        _run("mount", "--bind", shown, Path("/proc/sys") / name)


def _network() -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", addresses.BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{addresses.NODE}/16", "dev", addresses.BRIDGE)
    _run("ip", "link", "set", addresses.BRIDGE, "up")
    # The node's own programs use services too; without a way nothing would get to kube-proxy.
    _run("ip", "route", "add", addresses.SERVICES, "dev", addresses.BRIDGE)
    # Every address of the simulated nodes' pods is one of the node's own, where the responder is.
    _run("ip", "route", "add", "local", addresses.SIMULATED_PODS, "dev", "lo")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():
        # A service's answers between two pods go back through kube-proxy's rules.
        bridged.write_text("1", encoding="ascii")


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, check=True)
