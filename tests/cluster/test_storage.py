"""Homes, group folders, datasets and scratch on a real cluster, over a real shared file system."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from arcetri_spawner.provisioner.contract import FoldersRequest, Person, Wanted
from tests.cluster import addresses, sharedfs, storage
from tests.cluster.cluster import Cluster
from tests.cluster.storage import SCRATCH_CLASS, SESSIONS, Site
from tests.support.platform import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

GLUSTER = ("gluster", "--mode=script", "volume")
AS_SERVER = "umask $(sed -n 's/^Umask:\\s*//p' /proc/*/status | grep -vx 0022 | head -n 1)"
"""With the umask of the notebook server, which its kernels and terminals have."""


def test_two_people_of_a_group_share_a_file_and_nobody_else_sees_it(stored: Site) -> None:
    stored.sh("alice", f"{AS_SERVER}; cd /data/cms; echo 1 > plot; mkdir run; echo 42 > /papers/a")
    written = stored.sh("bruno", "cd /data/cms; echo 2 >> plot; touch run/b; cat plot; umask")
    assert written.split() == ["1", "2", "0022"]
    alice, bruno = (int(stored.sh(name, "id -u")) for name in ("alice", "bruno"))
    assert alice != bruno
    stat = f"cd {stored.folder}; stat -c '%u %g %a' groups/cms papers/alice groups"
    cms, papers, way = (line.split() for line in stored.node(stat).splitlines())
    assert (cms[0], cms[2], way) == ("0", "2770", ["0", "0", "711"])
    assert papers == [str(alice), stored.sh("alice", "id -g").strip(), "700"]
    for number in (0, 1):
        brick = stored.shared.brick(number) / stored.folder.name
        assert sharedfs.owner(brick / "groups/cms/plot") == (alice, int(cms[1]))
        assert sharedfs.owner(brick / "groups/cms/run/b") == (bruno, int(cms[1]))
        assert sharedfs.owner(brick / "papers/alice/a")[0] == alice
    # Fabio, a student, sees nothing of it.
    assert stored.sh("fabio", "ls /data").split() == ["open"]
    assert cms[1] not in stored.sh("fabio", "id -G").split()


def test_data_that_is_only_read_is_there_and_cannot_be_written(stored: Site) -> None:
    stored.node(f"umask 022; echo 42 > {stored.folder}/data/open/events")
    assert stored.sh("alice", "cat /data/open/events").strip() == "42"
    assert "Read-only file system" in stored.fails("alice", "touch /data/open/mine")


def test_scratch_is_the_sessions_own_and_goes_with_it(stored: Site) -> None:
    for name, place in (("alice", "/scratch"), ("bruno", "/scratch"), ("bruno", "/nvme")):
        assert stored.sh(name, f"echo {name} > {place}/x; cat {place}/x").strip() == name

    def claims() -> dict[str, dict[str, object]]:
        found = stored.hub.cluster.kubectl("get", "pvc", f"--namespace={SESSIONS}")["items"]
        return {one["metadata"]["name"]: one for one in found}

    pod = stored.pods["bruno"]
    (own,) = [one for one in claims().values() if one["spec"]["storageClassName"] == SCRATCH_CLASS]  # type: ignore[index]
    assert own["metadata"]["ownerReferences"][0]["name"] == pod  # type: ignore[index]
    assert own["spec"]["resources"]["requests"] == {"storage": "100Mi"}  # type: ignore[index]
    # More than its scratch may hold ends a session, and its user is told what to do.
    stored.sh("bruno", "dd if=/dev/zero of=/scratch/much bs=1M count=80 2>&1")
    until(lambda: set(claims()) == {"homes", "shared"}, "the claim goes with its pod", 120)
    with stored.hub.platform.login("bruno") as client:
        page = client.get("/hub/home").text
    assert "The session wrote more than its scratch space holds" in page
    assert "Keep less there at a time" in page


def test_a_full_home_starts_and_is_told(stored: Site) -> None:
    platform = stored.hub.platform
    # Not one byte is left, and no configuration of Jupyter's is there yet.
    stored.end("alice")
    home = stored.homes / "alice"
    stored.node(f"cd {home}; find . -mindepth 1 -delete; cat /dev/zero > data || true")
    stored.node(f"cd {home}; chown --reference=. data")
    steps = []
    with platform.api("alice") as api:
        options = {"flavor": "cpu", "environment": "python"}
        assert api.post("/users/alice/server", json=options).status_code in (201, 202)
        with api.stream("GET", "/users/alice/server/progress", timeout=120) as events:
            lines = (line for line in events.iter_lines() if line.startswith("data:"))
            steps += [json.loads(line[5:]) for line in lines]
        assert steps[-1].get("ready"), steps
        url = f"{platform.url}/user/alice"
        kernel = api.post(f"{url}/api/kernels", json={})
        assert kernel.status_code == 201, kernel.text
        assert api.get(f"{url}/lab").status_code == 200
        file = {"type": "file", "format": "text", "content": "x" * 9999}
        saved = api.put(f"{url}/api/contents/a.txt", json=file)
        assert saved.status_code >= 400
    (pod,) = [one for one in stored.hub.pods() if "alice" in str(one["metadata"]["annotations"])]
    stored.pods["alice"] = pod["metadata"]["name"]
    told = "\n".join(str(step.get("message")) for step in steps)
    assert "Your home is full" in told, f"{told}\n{stored.node(f'df {home}')}"
    assert "No space left" in stored.fails("alice", "cat /etc/passwd > ~/data2")
    assert stored.sh("alice", "ls /scratch").split() == []
    with platform.login("alice") as client:
        page = client.get("/hub/spawn/alice/other").text
        sessions = client.get("/hub/home").text
    assert "full: nothing can be saved here" in page
    assert "home (/home/alice) is full: nothing can be saved here" in sessions
    stored.sh("alice", "rm ~/*")
    assert "free" in stored.sh("alice", "echo free > ~/result; cat ~/result")


CALL = """
import sys
from pathlib import Path
from arcetri_spawner.errors import BackendError
from arcetri_spawner.provisioner.contract import FoldersRequest
from arcetri_spawner.provisioner.work import Claims
try:
    request = FoldersRequest.model_validate_json(sys.argv[2])
    print(Claims(Path(sys.argv[1])).make(request).model_dump_json())
except BackendError as error:
    print(error.code)
"""


@pytest.fixture
def odd(cluster: Cluster) -> Iterator[Path]:
    """A volume of GlusterFS with settings of its own, mounted."""
    name = f"odd-{uuid4().hex[:8]}"
    brick, mount = (cluster.state.folder / f"{name}-{part}" for part in ("brick", "mount"))
    sharedfs.mounted(cluster)
    source = f"{addresses.NODE}:{brick}"
    cluster.run([*GLUSTER, "create", name, source, "force"])
    try:
        cluster.run([*GLUSTER, "start", name])
        cluster.run(["mkdir", mount])
        cluster.run(["mount", "-t", "glusterfs", f"{addresses.NODE}:/{name}", mount])
        # As a claim is called: by the name of the folder that it is mounted on.
        yield mount
    finally:
        cluster.run(["sh", "-c", f"umount -l {mount}; rmdir {mount}"])
        cluster.run([*GLUSTER, "stop", name, "force"])
        cluster.run([*GLUSTER, "delete", name])
        cluster.run(["rm", "-rf", brick])


def test_a_quota_is_told_and_a_squashed_root_is_said(cluster: Cluster, odd: Path) -> None:
    """What GlusterFS does by settings, and other file systems by theirs."""
    name = odd.name.removesuffix("-mount")

    def call(person: str) -> str:
        home = Wanted(volume="home", claim=odd.name, path=("home", person))
        alice = Person(username=person, uid=200000, gid=200000)
        request = FoldersRequest(person=alice, folders=(home,)).model_dump_json()
        said = cluster.run([sys.executable, "-c", CALL, odd.parent, request])
        return said.strip().splitlines()[-1]

    def told() -> dict[str, object]:
        return dict(json.loads(call("alice"))["folders"][0]["room"])

    assert not told()["own"]
    cluster.run([*GLUSTER, "quota", name, "enable"])
    cluster.run([*GLUSTER, "quota", name, "limit-usage", "/home/alice", "10MB"])
    until(lambda: told()["own"], "the quota is told", 30)
    assert told()["size"] == 10 << 20
    assert call("alice") != "storage_squashed"
    cluster.run([*GLUSTER, "set", name, "server.root-squash", "on"])
    until(lambda: call(f"bob-{uuid4().hex[:8]}") == "storage_squashed", "root is squashed", 30)


MAY = (("create", "tokenreviews.authentication.k8s.io"),)
MUST_NOT = (
    ("get", "secrets"),
    ("list", "pods"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("list", "persistentvolumeclaims"),
    ("list", "nodes"),
    ("create", "serviceaccounts/token"),
    ("impersonate", "users"),
)


def test_the_provisioner_may_ask_whose_a_token_is_and_nothing_else(stored: Site) -> None:
    account = f"--as=system:serviceaccount:{storage.NAMESPACE}:{storage.NAME}"
    asked = "; ".join(
        f"kubectl auth can-i {verb} {what} --all-namespaces {account} || true"
        for verb, what in (*MAY, *MUST_NOT)
    )
    said = stored.hub.cluster.run(["sh", "-c", f"({asked}) 2>/dev/null"]).split()
    assert said == ["yes"] * len(MAY) + ["no"] * len(MUST_NOT)
