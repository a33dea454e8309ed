"""What a hostile user tries from inside a session; runs there, with nothing but Python.

``python3 - JSON < hostile.py`` prints one JSON object: by the name of each attempt, what became of
it. ``SUCCEEDED`` begins what must never be printed.
"""

# ruff: noqa: PTH103, PTH106, PTH112, PTH123, PTH207, PTH208, PTH211 - the system's own calls
from __future__ import annotations

import contextlib
import ctypes
import glob
import json
import os
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SUCCEEDED = "SUCCEEDED"
Attempt = Callable[[], object]
LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE = 10.0


def outcome(attempt: Attempt) -> str:
    """What an attempt comes to: an error is a failure, anything else a success."""
    try:
        return f"{SUCCEEDED}: {attempt()!r}"[:300]
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror or error}"


def system(result: int) -> int:
    """Raise what a call of the C library left as an error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(100)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))


def controls(about: dict[str, Any]) -> dict[str, Attempt]:
    """What a session may do: else it would mean nothing that the rest fails."""
    own = os.environ["JUPYTERHUB_API_TOKEN"]
    return {
        "control: look at its own home": lambda: look(f"/home/{about['me']}"),
        "control: write in its group's folder": lambda: write("/data/cms/control"),
        "control: keep its own number": lambda: os.setuid(os.getuid()),
        "control: ask the hub who it is": lambda: ask("GET", about["own"], None, own),
    }


def files(about: dict[str, Any]) -> dict[str, Attempt]:
    """Other people's files, and the system's."""
    other, secret = about["other"], about["secret"]
    ways = [
        f"/home/{other}", f"/home/{about['me']}/../{other}", f"/papers/../papers/{other}",
        f"/data/cms/../../home/{other}", f"/papers/{secret}", f"/home/{secret}", "/data/virgo",
        "/nvme", "/claims/shared", "/var/lib/kubelet", "/proc/1/root/home/" + other,
        "/dev/mem", "/dev/sda", "/dev/fuse", "/proc/kcore", "/proc/sysrq-trigger",
    ]  # fmt: skip
    tried: dict[str, Attempt] = {f"look at {way}": lambda way=way: look(way) for way in ways}
    for name, target in (("relative", f"../{other}"), ("absolute", f"/home/{other}")):
        link = f"/scratch/{name}"
        with contextlib.suppress(FileExistsError):
            os.symlink(target, link)
        tried[f"follow a {name} link"] = lambda link=link: look(link)
    for root in glob.glob("/proc/[0-9]*/root"):
        for name in (f"home/{other}", "claims", "var/lib/kubelet"):
            tried[f"look at {root}/{name}"] = lambda path=f"{root}/{name}": look(path)
    for path in ("/etc/passwd", "/etc/group", "/etc/jupyter/jupyter_config.py", "/data/open/x",
                 "/usr/bin/sh", "/etc/shadow", "/proc/sys/kernel/core_pattern",
                 "/sys/fs/cgroup/release_agent", "/dev/kmsg"):  # fmt: skip
        tried[f"write {path}"] = lambda path=path: write(path)
    mine = "/scratch/mine"
    with open(mine, "w"):
        pass
    tried |= {
        "give a file to another": lambda: os.chown(mine, about["other_uid"], -1),
        "give a file to another's group": lambda: os.chown(mine, -1, about["foreign_gid"]),
        "remove what is another's in the group's folder": lambda: os.rmdir("/data/cms"),
    }
    return tried


def look(path: str) -> object:
    """Read a file, or list a folder."""
    return os.listdir(path) if os.path.isdir(path) else read(path)


def privileges(about: dict[str, Any]) -> dict[str, Attempt]:
    """More rights than a session has."""
    where = b"/scratch/there"
    os.makedirs(where, exist_ok=True)
    tried: dict[str, Attempt] = {
        "become root": lambda: os.setuid(0),
        "become another": lambda: os.setuid(about["other_uid"]),
        "join another's group": lambda: os.setgroups([about["foreign_gid"]]),
        "take another's group": lambda: os.setgid(about["foreign_gid"]),
        "make a device": lambda: os.mknod("/scratch/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        "make a raw socket": lambda: socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
        ),
        "make a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "mount a file system": lambda: system(LIBC.mount(b"none", where, b"tmpfs", 0, None)),
        "mount data for writing": lambda: system(
            LIBC.mount(None, b"/data/open", None, 32 | 4096, None)
        ),
        "unmount": lambda: system(LIBC.umount2(b"/etc/passwd", 2)),
        "change root": lambda: os.chroot("/scratch"),
        "pivot": lambda: system(LIBC.syscall(155, b".", b".")),
        "have a user namespace": lambda: system(LIBC.unshare(0x10000000)),
        "have a mount namespace": lambda: system(LIBC.unshare(0x00020000)),
        "have a network namespace": lambda: system(LIBC.unshare(0x40000000)),
        "enter the node's namespaces": lambda: system(
            LIBC.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)
        ),
        "load a program into the kernel": lambda: system(LIBC.syscall(321, 5, None, 0)),
        "watch the kernel": lambda: system(LIBC.syscall(298, None, 0, -1, -1, 0)),
        "use the kernel's keys": lambda: system(LIBC.syscall(250, 0, -3, 1)),
        "open by handle": lambda: system(LIBC.syscall(304, -100, b"x" * 64, 0)),
        "load a module": lambda: system(LIBC.syscall(175, b"x", 1, b"")),
        "set the host's name": lambda: socket.sethostname("mine"),
    }
    with contextlib.suppress(OSError):
        found = subprocess.run(
            ["find", "/", "-xdev", "-perm", "-4000", "-type", "f"],
            capture_output=True, text=True, check=False,
        ).stdout.split()  # fmt: skip
        for program in found:
            tried[f"become root by {program}"] = lambda program=program: by_program(program)
    return tried


def by_program(program: str) -> str:
    """Run a program that would become root, and see whether it did."""
    pid = subprocess.Popen(
        [program, "-c", "id"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=-1
    )
    with open(f"/proc/{pid.pid}/status") as status:
        uids = next(line.split()[1:] for line in status if line.startswith("Uid:"))
    try:
        said = pid.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        pid.kill()
        raise PermissionError(1, "it waits for something") from None
    if "0" in uids or b"uid=0" in said[0]:
        return f"{uids}"
    raise PermissionError(1, "it stays who it was")


def network(about: dict[str, Any]) -> dict[str, Attempt]:
    """Other services, with no token, a made-up one, and the session's own."""
    own = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    tokens = {"none": "", "a guess": "0" * 32, "its own": own, "a made-up one": about["made_up"]}
    tried: dict[str, Attempt] = {}
    for name, token in tokens.items():
        for method, url, body in about["asked"]:
            what = f"{method} {url} with {name}"
            tried[what] = lambda m=method, u=url, b=body, t=token: ask(m, u, b, t)
    return tried


def ask(method: str, url: str, body: object, token: str) -> str:
    """Ask, and tell a refusal from anything else."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310
    request.add_header("Content-Type", "application/json")
    if token:
        # JupyterHub's word and everybody else's.
        request.add_header("Authorization", f"{'token' if ':8888' in url else 'Bearer'} {token}")
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323
        _NoRedirect(),
    )
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return f"{answer.status} {answer.read(200)!r}"
    except urllib.error.HTTPError as error:
        raise PermissionError(1, f"answered {error.code}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """To be sent to a login is a refusal."""

    def redirect_request(self, *_: object) -> None:
        return None


def connections(about: dict[str, Any]) -> dict[str, str]:
    """Which addresses can be connected to at all."""
    found = {}
    for name, (host, port) in about["addresses"].items():
        try:
            socket.create_connection((host, port), PATIENCE).close()
            found[name] = "connected"
        except OSError as error:
            found[name] = str(error)
    return found


def state() -> dict[str, str]:
    """What the kernel says of this process, and what its environment holds."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status if ":" in line)
    wanted = ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd", "CapAmb", "Uid")
    return {key: lines[key].strip() for key in wanted} | {
        "processes": " ".join(sorted(pid for pid in os.listdir("/proc") if pid.isdigit())),
        "secrets": " ".join(
            sorted(key for key in os.environ if "TOKEN" in key or "SECRET" in key or "KEY" in key)
        ),
        "accounts": " ".join(glob.glob("/var/run/secrets/*/*")),
    }


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    attempts = controls(told) | files(told) | privileges(told)
    said: dict[str, object] = {name: outcome(attempt) for name, attempt in attempts.items()}
    asked = network(told)
    with ThreadPoolExecutor(16) as pool:
        said |= dict(zip(asked, pool.map(outcome, asked.values()), strict=True))
    print(json.dumps({"tried": said, "reached": connections(told), "state": state()}))  # noqa: T201
