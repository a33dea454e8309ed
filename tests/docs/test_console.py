"""The runner itself: a page that lies must fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.console import Shell, blocks, mismatch

PAGE = """
Some text.

<!-- tested -->
```console
$ export WORD=muon
$ echo "one $WORD"; echo two
one muon
$ printf 'a\\nb\\n' |
> tail -n 1
b
```

<!-- not tested: it never ends -->
```console
$ sleep infinity
```

```console
$ echo unmarked
```
"""


def shell(folder: Path) -> Shell:
    return Shell(folder, {"PATH": os.environ["PATH"]}, {"PLACE": "here"})


def test_blocks_know_their_marks_lines_and_continuations() -> None:
    first, second, third = blocks(PAGE)
    assert [first.mark, second.mark, third.mark] == ["tested", "not tested: it never ends", ""]
    assert first.commands[2].text == "printf 'a\\nb\\n' |\ntail -n 1"
    assert PAGE.splitlines()[first.line - 1] == "<!-- tested -->"


def test_a_page_runs_in_one_shell(tmp_path: Path) -> None:
    shell(tmp_path).run(blocks(PAGE)[0])


@pytest.mark.parametrize(
    "body",
    [
        "$ echo one\ntwo",
        "$ false",
        "$ printf 'b\\na\\n'\na\nb",
        "$ no-such-command",
        "$ echo PLACE\nPLACE!",
    ],
)
def test_a_page_that_lies_fails(tmp_path: Path, body: str) -> None:
    (block,) = blocks(f"<!-- tested -->\n```console\n{body}\n```\n")
    with pytest.raises(AssertionError):
        shell(tmp_path).run(block)


def test_an_expected_failure_must_fail_like_that(tmp_path: Path) -> None:
    (block,) = blocks("<!-- tested: exit 3 -->\n```console\n$ echo so; exit 3\nso\n```\n")
    shell(tmp_path).run(block)
    (block,) = blocks("<!-- tested: exit 3 -->\n```console\n$ true\n```\n")
    with pytest.raises(AssertionError):
        shell(tmp_path).run(block)


def test_a_command_in_the_background_is_waited_for_and_stopped(tmp_path: Path) -> None:
    script = tmp_path / "serve.sh"
    script.write_text("trap 'echo bye; exit 0' INT\necho at PLACE\nwhile :; do sleep 0.1; done\n")
    page = (
        "<!-- tested: background -->\n```console\n$ bash serve.sh\nat PLACE\n```\n"
        "<!-- tested: stop -->\n```console\n$ ^C\nbye\n```\n"
    )
    running = shell(tmp_path)
    running.replace = {}
    for block in blocks(page):
        running.run(block)
    running.close()


def test_dots_stand_for_lines_and_for_text() -> None:
    output = "ready at http://127.0.0.1:1234\nthis\n  and   that \nend\n"
    assert not mismatch(("ready at http://...", "...", "and that", "end"), output)
    assert mismatch(("ready at https://...",), output)
    assert mismatch(("end", "this"), output)
    assert mismatch(("ready",), output)
