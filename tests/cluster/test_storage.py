"""Homes, group folders, datasets and scratch on a real cluster, over a real shared file system."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import arcetri_hub
from tests.cluster import hub, images, sharedfs, storage
from tests.cluster.cluster import Cluster
from tests.cluster.hub import Hub
from tests.support.platform import until

pytestmark = pytest.mark.cluster

DEMO = Path(arcetri_hub.__file__).parent / "catalogs" / "demo.yaml"
NAMESPACE = "storage-sessions"
AS_SERVER = "umask $(sed -n 's/^Umask:\\s*//p' /proc/*/status | grep -vx 0022 | head -n 1)"
"""With the umask of the notebook server, which its kernels and terminals have."""
SCRATCH_CLASS = "arcetri-test-nvme"


def catalog(image: str) -> dict[str, Any]:
    """The demonstration's people and groups, without accelerators."""
    entry = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    entry["flavors"] = {"cpu": {"title": "No accelerator"}}
    entry["environments"] = {"python": {"title": "Python", "image": image}}
    entry["sizes"] = {"small": {"cpu": 0.1, "memory": "512Mi", "shm": "64Mi"}}
    entry["volumes"] = {
        "home": {"mount": "/home/{username}", "claim": "shared", "path": "home/{username}"},
        "datasets": {"mount": "/data/open", "claim": "shared", "path": "data/open", "mode": "ro"},
        "cms": {"mount": "/data/cms", "claim": "shared", "path": "groups/cms"},
        "virgo": {"mount": "/data/virgo", "claim": "shared", "path": "groups/virgo"},
        "scratch": {"mount": "/scratch", "scratch": {"size": "64Mi"}},
        "nvme": {
            "mount": "/nvme",
            "scratch": {"size": "100Mi", "storage_class": SCRATCH_CLASS},
        },
        "small": {"mount": "/small/{username}", "claim": "small", "path": "{username}"},
    }
    entry["everyone"] = {"flavors": ["cpu"], "volumes": ["home", "datasets", "scratch"]}
    for group, volumes in (("cms", ["cms"]), ("virgo", ["virgo", "nvme"])):
        entry["groups"][f"/arcetri/{group}"] = {"volumes": volumes}
    del entry["groups"]["/arcetri/students"]
    entry["site"]["members"] = ["/arcetri"]
    del entry["local"]
    return dict(entry)


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> sharedfs.SharedFileSystem:
    """The site's file system."""
    return sharedfs.mounted(cluster)


@pytest.fixture(scope="module")
def small(cluster: Cluster) -> Iterator[Path]:
    """A disk of the node that is soon full, of 8 MiB."""
    folder = cluster.state.folder / "small"
    folder.mkdir(exist_ok=True)
    cluster.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(folder)])
    yield folder
    cluster.run(["umount", "-l", str(folder)])


@pytest.fixture(scope="module")
def site(
    cluster: Cluster,
    shared: sharedfs.SharedFileSystem,
    small: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hub]:
    """A platform whose folders the provisioner makes."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": label}
    folder = cluster.state.folder / "nvme"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    claims = {"shared": shared.mount, "small": small}
    try:
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
            *(
                part
                for name, path in claims.items()
                for part in storage.claim(NAMESPACE, name, path)
            ),
            *storage.claim(NAMESPACE, "nvme", folder, storage_class=SCRATCH_CLASS, bound=False),
        )
        state = tmp_path_factory.mktemp("storage")
        provisioner = storage.provide(cluster, state, claims)
        image = cluster.load(images.MINIMAL)
        with hub.running(
            cluster, state / "hub", NAMESPACE, catalog(image), provisioner=provisioner
        ) as started:
            yield started
    finally:
        storage.remove(cluster, NAMESPACE, storage.NAMESPACE)


@pytest.fixture
def alone(site: Hub) -> Iterator[Hub]:
    """The platform, on which nothing runs before and after the test."""
    yield site
    for name in ("alice", "bruno", "chiara"):
        stop(site, name)
    until(lambda: not site.pods(), "every pod is gone", 60)


def stop(site: Hub, name: str) -> None:
    with site.platform.api(name) as api:
        api.delete(f"/users/{name}/server")


def begin(site: Hub, name: str, group: str | None = None) -> str:
    """Start somebody's session; return its pod."""
    options = {"flavor": "cpu", "environment": "python"}
    if group:
        options["group"] = group
    return f"session-{site.platform.start_session(name, **options)}"


def told(site: Hub, name: str) -> Iterator[str]:
    """Start somebody's session, and yield what the page tells them meanwhile."""
    options = {"flavor": "cpu", "environment": "python"}
    with site.platform.api(name) as api:
        answer = api.post(f"/users/{name}/server", json=options)
        assert answer.status_code in (201, 202), answer.text
        with api.stream("GET", f"/users/{name}/server/progress", timeout=120) as events:
            for line in events.iter_lines():
                if line.startswith("data:"):
                    yield str(json.loads(line[5:]).get("message", ""))


def change(site: Hub, catalog: str) -> None:
    """Change the catalog, and wait until it serves."""
    taken = site.log().count("catalog taken")
    (site.state / "profiles.yaml").write_text(catalog, encoding="utf-8")
    until(lambda: site.log().count("catalog taken") > taken, "the catalog is taken", 30)


def fails(site: Hub, pod: str, script: str) -> str:
    """What a shell in a session prints that does not succeed."""
    return site.sh(pod, f"if ({script}) 2>&1; then echo SUCCEEDED; exit 1; fi")


def test_two_people_of_a_group_share_a_file_and_nobody_else_sees_it(
    alone: Hub, shared: sharedfs.SharedFileSystem
) -> None:
    alice, bruno = begin(alone, "alice"), begin(alone, "bruno")
    alone.sh(alice, f"{AS_SERVER}; cd /data/cms; echo 42 > ~/result; echo 1 > plot; mkdir run")
    written = alone.sh(bruno, "cd /data/cms; echo 2 >> plot; touch run/b; cat plot")
    assert written.split() == ["1", "2"]
    uid = {name: int(alone.sh(pod, "id -u")) for name, pod in (("alice", alice), ("bruno", bruno))}
    assert uid["alice"] != uid["bruno"]
    groups = shared.mount / "groups"
    cms = (groups / "cms").stat()
    for number in (0, 1):
        brick = shared.brick(number)
        assert sharedfs.owner(brick / "groups/cms/plot") == (uid["alice"], cms.st_gid)
        assert sharedfs.owner(brick / "groups/cms/run") == (uid["alice"], cms.st_gid)
        assert sharedfs.owner(brick / "home/alice/result")[0] == uid["alice"]
    assert oct(cms.st_mode & 0o7777) == "0o2770"
    assert oct((shared.mount / "home/alice").stat().st_mode & 0o7777) == "0o700"
    # Chiara leads cms and is no member of it: she sees no folder of its.
    chiara = begin(alone, "chiara")
    assert alone.sh(chiara, "ls /data").split() == ["open"]
    assert str(cms.st_gid) not in alone.sh(chiara, "id -G").split()


def test_data_is_read_only_and_its_being_made_is_said(
    alone: Hub, shared: sharedfs.SharedFileSystem
) -> None:
    alice = begin(alone, "alice")
    assert "Read-only file system" in fails(alone, alice, "touch /data/open/mine")
    (shared.mount / "data/open/events").write_text("42")
    (shared.mount / "data/open/events").chmod(0o644)
    assert alone.sh(alice, "cat /data/open/events").strip() == "42"


def test_scratch_is_the_sessions_own_and_goes_with_it(alone: Hub) -> None:
    alice, bruno = begin(alone, "alice"), begin(alone, "bruno", "/arcetri/virgo")
    for pod, place in ((alice, "/scratch"), (bruno, "/scratch"), (bruno, "/nvme")):
        assert alone.sh(pod, f"echo 42 > {place}/x; cat {place}/x").strip() == "42"
    claims = alone.cluster.kubectl("get", "pvc", f"--namespace={NAMESPACE}")["items"]
    (own,) = [one for one in claims if one["spec"]["storageClassName"] == SCRATCH_CLASS]
    assert own["metadata"]["ownerReferences"][0]["name"] == bruno
    assert own["spec"]["resources"]["requests"] == {"storage": "100Mi"}
    stop(alone, "bruno")

    def left() -> list[str]:
        items = alone.cluster.kubectl("get", "pvc", f"--namespace={NAMESPACE}")["items"]
        return [one["metadata"]["name"] for one in items]

    until(lambda: sorted(left()) == ["shared", "small"], "the claim is gone", 60)
    assert "Permission denied" in fails(alone, alice, "cat /data/virgo/x || ls /nvme; cat /root/x")
    stop(alone, "alice")
    until(lambda: not alone.pods(), "the pod is gone", 60)
    assert alone.sh(begin(alone, "alice"), "ls /scratch") == ""


def test_a_full_home_starts_and_is_told(alone: Hub, small: Path) -> None:
    original = (alone.state / "profiles.yaml").read_text(encoding="utf-8")
    entry = yaml.safe_load(original)
    entry["volumes"]["home"] |= {"claim": "small", "path": "home/{username}"}
    entry["everyone"]["volumes"].remove("datasets")
    try:
        change(alone, yaml.safe_dump(entry))
        uid = int(alone.sh(begin(alone, "alice"), "id -u"))
        stop(alone, "alice")
        until(lambda: not alone.pods(), "the pod is gone", 60)
        home = small / "home/alice"
        alone.cluster.run(["rm", "-rf", str(home)])
        alone.cluster.run(["install", "-d", "-m", "700", "-o", str(uid), "-g", str(uid), str(home)])
        alone.cluster.run(["sh", "-c", f"dd if=/dev/zero of={home}/data bs=64k || true"])
        steps = list(told(alone, "alice"))
        (pod,) = [one["metadata"]["name"] for one in alone.pods()]
        assert any("Your home is full" in step for step in steps), steps
        assert "No space left" in fails(alone, pod, "echo 42 > ~/result")
        with alone.platform.api("alice") as api:
            kernel = api.post(f"{alone.platform.url}/user/alice/api/kernels", json={})
            assert kernel.status_code == 201, kernel.text
        with alone.platform.login("alice") as client:
            page = client.get("/hub/spawn").text
        assert "full: nothing can be saved here" in page
    finally:
        change(alone, original)
