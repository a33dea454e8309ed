"""The default interpreter: the hub's packages, and a person's own in their home."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arcetri_spawner.backends.local.interpreter import Interpreter, resolve
from arcetri_spawner.errors import StartFailed

pytestmark = pytest.mark.skipif(
    sys.prefix == sys.base_prefix, reason="only a virtual environment gets a thin one beside it"
)


@pytest.fixture
def default(tmp_path: Path) -> Interpreter:
    return resolve("default", hub_python=Path(sys.executable), state_dir=tmp_path)


def run(interpreter: Interpreter, home: Path, code: str) -> str:
    done = subprocess.run(
        [interpreter.executable, "-c", code],
        env={**interpreter.env, "HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_it_has_the_hubs_packages_and_finds_jupyterlab(
    default: Interpreter, tmp_path: Path
) -> None:
    code = (
        "import json, jupyterhub, ipykernel.kernelspec;"
        "from jupyterlab.commands import get_app_dir; from jupyter_core.paths import jupyter_path;"
        "print(json.dumps([jupyterhub.__file__, get_app_dir(), jupyter_path()]))"
    )

    package, lab, paths = json.loads(run(default, tmp_path, code))

    assert package.startswith(sys.prefix)
    assert (Path(lab) / "static").is_dir()
    assert f"{sys.prefix}/share/jupyter" in paths
    assert f"{tmp_path}/.local/share/jupyter" in paths


def test_a_persons_own_package_is_found_again(default: Interpreter, tmp_path: Path) -> None:
    site = run(default, tmp_path, "import site; print(site.getusersitepackages())")
    assert site.startswith(str(tmp_path))
    Path(site).mkdir(parents=True)
    (Path(site) / "my_analysis.py").write_text("answer = 42")

    assert run(default, tmp_path, "import my_analysis; print(my_analysis.answer)") == "42"


def test_pip_installs_into_the_home(default: Interpreter, tmp_path: Path) -> None:
    code = (
        "from pip._internal.commands.install import decide_user_install;"
        "print(decide_user_install(use_user_site=True))"
    )

    assert run(default, tmp_path, code) == "True"


def test_it_is_made_once(default: Interpreter, tmp_path: Path) -> None:
    before = default.executable.lstat().st_ino

    again = resolve("default", hub_python=Path(sys.executable), state_dir=tmp_path)

    assert again == default
    assert default.executable.lstat().st_ino == before


def test_a_virtual_environment_may_be_named_by_its_folder(tmp_path: Path) -> None:
    found = resolve(sys.prefix, hub_python=Path(sys.executable), state_dir=tmp_path)

    assert found.executable == Path(sys.prefix) / "bin/python"


@pytest.mark.parametrize(
    ("local", "code"),
    [
        (None, "environment_not_local"),
        ("/no/such/python", "interpreter_missing"),
        ("relative/python", "interpreter_missing"),
    ],
)
def test_one_that_is_not_there_is_told(tmp_path: Path, local: str | None, code: str) -> None:
    with pytest.raises(StartFailed) as caught:
        resolve(local, hub_python=Path(sys.executable), state_dir=tmp_path)

    assert caught.value.code == code
    assert caught.value.remedy


def test_the_first_sessions_may_be_asked_for_at_once(tmp_path: Path) -> None:
    def one(_number: int) -> Path:
        return resolve("default", hub_python=Path(sys.executable), state_dir=tmp_path).executable

    with ThreadPoolExecutor(8) as pool:
        (executable,) = set(pool.map(one, range(8)))
    assert executable.exists()
    assert [path.name for path in (tmp_path / "python").iterdir()] == [executable.parents[1].name]
