"""The client of Kueue by itself: built and installed as its page says, beside nothing of ours."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "kueue-client.md"
WHERE = "spawner/kueue_client"
NEEDS = ("kubernetes", "pydantic")
USES = """
import asyncio, importlib.metadata, importlib.util, pathlib, sys

for name in ("arcetri_hub", "arcetri_spawner", "arcetri_accounting", "jupyterhub", "pytest"):
    assert importlib.util.find_spec(name) is None, name
import kueue_client

there = pathlib.Path(kueue_client.__file__)
assert there.is_relative_to(sys.prefix), there
assert there.with_name("py.typed").is_file()
for file in there.parent.glob("*.py"):
    importlib.import_module(f"kueue_client.{file.stem}")

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "one",
    "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
    "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "one", "user": {}}],
}
path = pathlib.Path(sys.prefix, "kubeconfig")
path.write_text(__import__("json").dumps(KUBECONFIG))


async def awaits():
    async with await kueue_client.AsyncKueue.from_kubeconfig(path) as kueue:
        await kueue.workloads.list("notebooks")


def blocks():
    with kueue_client.Kueue.from_kubeconfig(path) as kueue:
        kueue.workloads.list("notebooks")


for asks in (blocks, lambda: asyncio.run(awaits())):
    try:
        asks()
    except kueue_client.Unreachable as error:
        print(error.code)
print(importlib.metadata.version("kueue-client"))
"""
"""Every module is imported, and both clients ask an API server that is not there."""


def closure(names: Iterator[str]) -> dict[str, importlib.metadata.Distribution]:
    """What some distributions need, as this environment has it, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
            needed = map(Requirement, found[name].requires or ())
            todo += [one.name for one in needed if not one.marker or one.marker.evaluate()]
    return found


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The Python of an environment that has what the package declares, and nothing else."""
    home = tmp_path / "bare"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    declared = tomllib.loads((ROOT / WHERE / "pyproject.toml").read_text(encoding="utf-8"))
    needed = [Requirement(one).name for one in declared["project"]["dependencies"]]
    for one in closure(iter(needed)).values():
        for part in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            if not (packages / part).exists():
                (packages / part).symlink_to(Path(str(one.locate_file(part))).resolve())
    return home / "bin" / "python"


def test_it_installs_as_its_page_says_with_no_more_than_it_declares(
    bare: Path, tmp_path: Path
) -> None:
    (line,) = re.findall(r"^\$ (pip install .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert line == f"pip install ./{WHERE}"
    # In two steps: what builds it is in this environment, and not in that one.
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-index", "--no-deps"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", f"--wheel-dir={tmp_path}"]
    subprocess.run([*build, line.split()[-1]], cwd=ROOT, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    pip += ["--python", str(bare)]
    subprocess.run([*pip, "install", *offline, str(wheel)], check=True, timeout=60)
    # All that it declares is there, in versions that it takes.
    subprocess.run([*pip, "check"], check=True, timeout=60, stdout=subprocess.DEVNULL)
    told = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    asked = [str(bare), "-W", "error", "-I", "-c", USES]
    said = subprocess.run(asked, env=told, timeout=60, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["unreachable", "unreachable", "0.2.0"]


def test_it_declares_what_arcetri_does_of_the_same() -> None:
    own, ours = (
        tomllib.loads((ROOT / where / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for where in (WHERE, "")
    )
    assert tuple(Requirement(one).name for one in own["dependencies"]) == NEEDS
    everything = [*ours["dependencies"], *ours["optional-dependencies"]["kubernetes"]]
    assert [one for one in own["dependencies"] if one not in everything] == []
    same = ("version", "requires-python", "license")
    assert {name: own[name] for name in same} == {name: ours[name] for name in same}
