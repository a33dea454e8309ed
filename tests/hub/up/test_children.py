import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from arcetri_hub.up.children import Child, ChildSpec
from arcetri_hub.up.errors import UpError

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def _spec(
    tmp_path: Path, code: str, ready: Callable[[], Awaitable[bool]] | None = None
) -> ChildSpec:
    log = tmp_path / "part.log"

    async def said_up() -> bool:
        return log.exists() and "up" in log.read_text()

    return ChildSpec(
        name="part",
        title="the part",
        command=(sys.executable, "-c", code),
        log=log,
        ready=ready or said_up,
        patience=20,
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_it_starts_logs_and_ends(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(_spec(tmp_path, SLEEPER), said.append)

    await child.start()
    pid = child.pid
    await child.stop(5)

    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (tmp_path / "part.log").read_text() == "up\n"
    assert said == []


async def test_its_pid_is_in_a_file_while_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "part.pid"
    child = Child(_spec(tmp_path, SLEEPER), lambda _: None, file)
    await child.start()
    first = child.pid
    assert first is not None
    assert file.read_text() == f"{first}\n"

    os.kill(first, signal.SIGKILL)
    await _until(lambda: file.exists() and file.read_text() not in (f"{first}\n", ""))
    assert int(file.read_text()) == child.pid
    await child.stop(5)

    assert not file.exists()


async def test_one_that_dies_is_started_again_and_one_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(_spec(tmp_path, SLEEPER), said.append)
    await child.start()
    first = child.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    await _until(lambda: child.pid not in (None, first))
    await _until(lambda: len(said) == 2)
    await child.stop(5)

    assert said == [
        "the part ended unexpectedly (signal SIGKILL); starting it again.",
        "the part is back.",
    ]


async def test_one_that_had_answered_never_waits_long_to_be_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(_spec(tmp_path, SLEEPER), said.append)
    await child.start()

    for number in range(1, 9):
        before = child.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        # The pauses of one that does not come up would add to most of a minute by now.
        await _until(lambda number=number: said.count("the part is back.") == number)  # type: ignore[misc]
    await child.stop(5)


async def test_one_that_ends_at_once_says_why_in_its_own_words(tmp_path: Path) -> None:
    child = Child(_spec(tmp_path, "raise SystemExit('arcetri: The moon is in the way.')"), print)

    with pytest.raises(UpError, match="ended while it started") as caught:
        await child.start()

    assert caught.value.details == ("The moon is in the way.",)


async def test_one_that_never_answers_is_ended(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    spec = _spec(tmp_path, SLEEPER, never)
    child = Child(ChildSpec(**{**_fields(spec), "patience": 0.5}), print)

    with pytest.raises(UpError, match="did not answer"):
        await child.start()
    assert child.pid is None


async def test_one_that_ignores_being_asked_is_killed(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
    child = Child(_spec(tmp_path, code), print)
    await child.start()
    pid = child.pid
    assert pid is not None

    await child.stop(0.2)

    assert not psutil.pid_exists(pid)


async def test_what_it_leaves_in_its_group_is_ended_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"print(p.pid); {SLEEPER}"
    )
    child = Child(_spec(tmp_path, code), print)
    await child.start()
    grandchild = int((tmp_path / "part.log").read_text().split()[0])

    await child.stop(5)

    await _until(lambda: not _runs(grandchild))


async def test_stopping_during_a_pause_starts_nothing_more(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(_spec(tmp_path, SLEEPER), said.append)
    await child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    await _until(lambda: len(said) == 1)

    await child.stop(5)
    await asyncio.sleep(0.7)

    assert child.pid is None


def test_children_die_with_the_process_that_started_them() -> None:
    leash = Path(sys.modules[Child.__module__].__file__ or "").with_name("leash.py")
    code = (
        "import os, subprocess, sys;"
        f"p = subprocess.Popen([sys.executable, '-I', '-S', {str(leash)!r}, str(os.getpid()),"
        "sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'],"
        "stdout=subprocess.PIPE);"
        "p.stdout.read(1); print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    pid = int(parent.stdout)

    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _fields(spec: ChildSpec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in ChildSpec.__dataclass_fields__}


DEEP = """
import sys
print("the last words before it")
def dig(number):
    if number == 0:
        raise KeyError("a key of ours")
    dig_deeper(number)
def dig_deeper(number):
    dig(number - 1)
dig(40)
"""


async def test_one_that_fails_with_a_traceback_keeps_it_to_its_log(tmp_path: Path) -> None:
    child = Child(_spec(tmp_path, DEEP), lambda _sentence: None)

    with pytest.raises(UpError) as refused:
        await child.start()

    log = tmp_path / "part.log"
    assert "exit status 1" in refused.value.message
    assert refused.value.details == (f"All of it is in {log}.",)
    assert "KeyError: 'a key of ours'" in log.read_text()


async def test_one_that_fails_in_other_words_shows_the_last_of_them(tmp_path: Path) -> None:
    child = Child(_spec(tmp_path, "raise SystemExit('the moon is full')"), lambda _sentence: None)

    with pytest.raises(UpError) as refused:
        await child.start()

    assert refused.value.details[0] == "the moon is full"
