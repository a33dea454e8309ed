"""Runs the console sessions that README and tutorials show, and compares what they print.

A fenced ``console`` block is preceded by a comment that says what to do with it:

``<!-- tested -->``
    Each ``$`` line is a command; the lines below it must appear in its output, in order. ``...``
    alone stands for any lines, inside a line for any text. The command must end with status 0, or
    with N after ``<!-- tested: exit N -->``.
``<!-- tested: background -->``
    The command goes on running, once it has printed the lines, until the page ends.
``<!-- tested: stop -->``
    Ends the command in the background as Ctrl-C does, and compares what it then printed.
``<!-- tested: token NAME -->``
    The variable that the block exports is set to a new API token of a demonstration user.
``<!-- tested on a cluster ... -->``
    As the above, but by the tests that have a cluster.
``<!-- not tested: WHY -->``
    Is left alone.

All commands of a page share one shell, in an empty folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(
    r"(?:<!--\s*(?P<mark>(?:not )?tested[^>]*?)\s*-->\s*\n)?"
    r"^```(?P<language>console|bash|sh|shell)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_PATIENCE = 180.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command and what it should print."""

    text: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    line: int
    mark: str
    """What the comment before it says; empty when there is none."""
    commands: tuple[Command, ...]


def blocks(page: str) -> list[Block]:
    """Every console block of a page."""
    return [
        Block(
            line=page.count("\n", 0, match.start()) + 1,
            mark=match["mark"] or "",
            commands=tuple(_commands(match["body"])),
        )
        for match in _FENCE.finditer(page)
    ]


def _commands(body: str) -> Iterator[Command]:
    text: list[str] = []
    expected: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            if text:
                yield Command("\n".join(text), tuple(expected))
            text, expected = [line[2:]], []
        elif line.startswith("> ") and text and not expected:
            text.append(line[2:])
        elif line.strip():
            expected.append(line.strip())
    if text:
        yield Command("\n".join(text), tuple(expected))


def mismatch(expected: tuple[str, ...], output: str) -> str:
    """What is missing of the expected lines, in order; empty when nothing is."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    position = 0
    for wanted in expected:
        if wanted == "...":
            continue
        pattern = ".*".join(re.escape(" ".join(part.split())) for part in wanted.split("..."))
        for number in range(position, len(lines)):
            if re.fullmatch(pattern, lines[number]) or (
                "..." in wanted and re.search(pattern, lines[number])
            ):
                position = number + 1
                break
        else:
            return f"not printed: {wanted!r}"
    return ""


def _end_with_us() -> None:
    """Have a killed test's platform told to stop, as by Ctrl-C (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGINT)


def _no_token(name: str) -> str:
    raise AssertionError(f"no platform here makes a token of {name}")


@dataclass(slots=True)
class Shell:
    """One shell for a page's commands, and at most one command in the background."""

    folder: Path
    environment: Mapping[str, str]
    replace: Mapping[str, str]
    """Texts of the page that are others here, such as the port."""
    token: Callable[[str], str] = _no_token
    """Makes an API token of a demonstration user."""
    _background: subprocess.Popen[bytes] | None = None
    _printed: Path | None = None
    _exports: dict[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            AssertionError: It printed something else, or ended otherwise.
        """
        mark = block.mark.removeprefix("tested").removeprefix(":").strip()
        if mark == "stop":
            self._stop(block)
            return
        if mark.startswith("token "):
            variable = block.commands[0].text.removeprefix("export ").partition("=")[0]
            self._exports[variable] = self.token(mark.removeprefix("token "))
            return
        if mark == "background":
            self._start(block.commands[0])
            return
        status = int(mark.removeprefix("exit")) if mark.startswith("exit") else 0
        for command in block.commands:
            self._one(command, status)

    def _one(self, command: Command, status: int) -> None:
        text = self._here(command.text)
        keep = self.folder / ".environment"
        script = f"set -o pipefail\n{text}\nstatus=$?\nenv -0 > {keep}\nexit $status\n"
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self.environment, **self._exports},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        wrong = mismatch(self._expected(command), result.stdout)
        if result.returncode != status:
            wrong = f"ended with {result.returncode}, not {status}"
        assert not wrong, f"$ {text}\n{result.stdout}\n{wrong}"
        if keep.exists():
            pairs = (item.partition("=") for item in keep.read_text().split("\0") if item)
            self._exports = {name: value for name, _, value in pairs if name not in ("_", "SHLVL")}

    def _start(self, command: Command) -> None:
        assert self._background is None, "one command is in the background already"
        self._printed = self.folder / ".background"
        with self._printed.open("wb") as sink:
            self._background = subprocess.Popen(
                ["bash", "-c", f"exec {self._here(command.text)}"],
                cwd=self.folder,
                env={**self.environment, **self._exports},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_us,
            )
        expected = self._expected(command)
        end = time.monotonic() + _PATIENCE
        while wrong := mismatch(expected, self._printed.read_text()):
            waiting = time.monotonic() < end and self._background.poll() is None
            assert waiting, f"{command.text}\n{self._printed.read_text()}\n{wrong}"
            time.sleep(0.1)

    def _stop(self, block: Block) -> None:
        assert self._background is not None, "nothing is in the background"
        assert self._printed is not None
        before = len(self._printed.read_text())
        self._background.send_signal(signal.SIGINT)
        status = self._background.wait(_PATIENCE)
        self._background = None
        printed = self._printed.read_text()[before:]
        assert status == 0, f"ended with {status}\n{printed}"
        for command in block.commands:
            wrong = mismatch(self._expected(command), printed)
            assert not wrong, f"{printed}\n{wrong}"

    def close(self) -> None:
        """End what is still in the background."""
        if self._background is not None and self._background.poll() is None:
            self._background.send_signal(signal.SIGINT)
            try:
                self._background.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._background.pid, signal.SIGKILL)
                raise

    def _here(self, text: str) -> str:
        for old, new in self.replace.items():
            text = text.replace(old, new)
        return text

    def _expected(self, command: Command) -> tuple[str, ...]:
        return tuple(self._here(line) for line in command.expected)
