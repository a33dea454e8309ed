"""Homes, group folders, datasets and scratch on a real cluster, over a real shared file system."""

from __future__ import annotations

import json

import pytest

from tests.cluster import sharedfs
from tests.cluster.storage import SCRATCH_CLASS, SESSIONS, Site
from tests.support.platform import until

pytestmark = pytest.mark.cluster

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
    stored.end("bruno")
    until(lambda: set(claims()) == {"homes", "shared"}, "the claim goes with its pod", 60)


def test_a_full_home_starts_and_is_told(stored: Site) -> None:
    platform = stored.hub.platform
    # Not one byte is left, and no configuration of Jupyter's is there yet.
    stored.sh("alice", "find ~ -mindepth 1 -delete; cat /dev/zero > ~/data || true; echo full")
    stored.end("alice")
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
    assert any("Your home is full" in step.get("message", "") for step in steps), steps
    assert "No space left" in stored.fails("alice", "echo 42 > ~/result; cat ~/result")
    assert stored.sh("alice", "ls /scratch; ls ~").split() == ["data"]
    with platform.login("alice") as client:
        page = client.get("/hub/spawn/alice/other").text
    assert "full: nothing can be saved here" in page
    stored.sh("alice", "rm ~/data")
    assert "free" in stored.sh("alice", "echo free > ~/result; cat ~/result")
