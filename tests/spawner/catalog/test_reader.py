from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import yaml

from arcetri_spawner.catalog import reader
from arcetri_spawner.catalog.reader import MAX_DEPTH, read
from arcetri_spawner.catalog.source import MAX_BYTES


def only(data: bytes) -> str:
    document = read(data, "p.yaml")
    assert len(document.findings) == 1, [one.render() for one in document.findings]
    return document.findings[0].render()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "p.yaml:1:1: error: the file is empty"),
        (b"# nothing\n", "p.yaml:2:1: error: the file is empty"),
        (b"- a\n", "p.yaml:1:1: error: the file is not a mapping"),
        (b"a: 1\n---\nb: 1\n", "p.yaml:2:1: error: a second document begins"),
        (b"a: 1\na: 2\n", "p.yaml:2:1: error: a: the key is there twice, first in line 1"),
        (b"a:\n  b: 1\n  b: 2\n", "p.yaml:3:3: error: a.b: the key is there twice"),
        (b"a:\n\tb: 1\n", "p.yaml:2:1: error: a tab is in the indentation; allowed: spaces"),
        (b"a: \xff\n", "p.yaml:1:4: error: the byte 0xff is not UTF-8"),
        ("è: \xe0".encode() + b"\xe0 x", "p.yaml:1:5: error: the byte 0xe0 is not UTF-8"),
        (b"a: x\nb: \x00\n", "p.yaml:2:4: error: the control character U+0000"),
        ("a: 1".encode("utf-16"), "p.yaml:1:1: error: the file is written in UTF-16"),
        (b"a: &x [*x]\n", "p.yaml:1:8: error: the alias *x stands inside its own anchor"),
        (b"a: *x\n", "p.yaml:1:4: error: the alias *x has no anchor before it"),
        (b"? [a]\n: b\n", "a key is a list, a mapping or an alias"),
        (b"<<: {a: 1}\n", "p.yaml:1:1: error: merge keys are not supported"),
        (b"on: 1\n", "p.yaml:1:1: error: on without quotes is true"),
        (b"a: !!python/object:os.system x\n", "p.yaml:1:4: error: a: the tag tag:yaml.org,2002"),
        (b"a: !custom x\n", "p.yaml:1:4: error: a: the tag !custom is not understood"),
        (b"a: {b: 1\n", "p.yaml:2:1: error: a { is not closed"),
        (b'a: "b\n', "a quoted text is not closed"),
        (b"a: @b\n", "p.yaml:1:4: error: a value begins with a character that YAML keeps"),
        (b"a: b: c\n", "p.yaml:1:5: error: a colon is where no key can be"),
    ],
)
def test_each_trap_is_a_finding_at_its_place(data: bytes, said: str) -> None:
    assert said in only(data)


def test_a_byte_order_mark_is_only_a_warning() -> None:
    document = read(b"\xef\xbb\xbfa: 1\n", "p.yaml")

    assert document.data == {"a": 1}
    assert [one.severity for one in document.findings] == ["warning"]


def test_values_keep_their_places() -> None:
    document = read(b"a:\n  - x\n  - {k: [1, 22]}\nnone:\n", "p.yaml")

    assert document.data == {"a": ("x", {"k": (1, 22)}), "none": None}
    assert document.locate(("a", 1, "k", 1)) == (3, 13)
    assert document.locate(("a", 1, "k"), at_key=True) == (3, 6)
    assert document.locate(("a", 1, "not there")) == (3, 5)
    assert document.locate(("none",)) == (4, 1)
    assert document.written(("a", 1, "k", 1)) == "22"


def test_a_group_is_found_however_its_slash_is_written() -> None:
    document = read(b"groups:\n  a/b: {x: 1}\n", "p.yaml")

    assert document.locate(("groups", "/a/b", "x")) == (2, 12)


def test_aliases_stand_for_what_they_name() -> None:
    document = read(b"a: &x {k: 1}\nb: *x\n", "p.yaml")

    assert document.data == {"a": {"k": 1}, "b": {"k": 1}}


def test_depth_has_a_bound() -> None:
    assert not read(b"a: " + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1), "p").findings
    assert "nested more than" in only(b"a: " + b"[" * MAX_DEPTH)


def test_depth_through_aliases_has_a_bound() -> None:
    deep = b"[" * 20 + b"]" * 20
    assert "too many" in only(b"a: &x " + deep + b"\nb: [[[[[[*x]]]]]]\n")


def test_the_parser_in_pure_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"a: &x {k: [1, two]}\nb: *x\nc: {d: !t 08, c: on}\nc: 1\n"
    fast = read(data, "p")
    monkeypatch.setattr(reader.yaml, "__with_libyaml__", False)
    slow = read(data, "p")

    assert yaml.__with_libyaml__ is False
    assert slow.data == fast.data
    assert slow.findings == fast.findings


_BOMBS = """
from arcetri_spawner.catalog import parse

levels = "".join(f"l{i}: &l{i} [" + ", ".join([f"*l{i - 1}"] * 9) + "]\\n" for i in range(1, 12))
bombs = {
    "brackets": "[" * 4_000_000,
    "braces": "{" * 4_000_000,
    "eight bytes": "[[[[[[[[",
    "a billion laughs": "l0: &l0 [x, x]\\n" + levels,
    "a million aliases": "a: &a x\\nb: [" + "*a, " * 1_000_000 + "]",
    "a million dashes": "- " * 1_000_000,
    "unknown keys": "\\n".join(f"k{i}: 1" for i in range(150_000)),
    "duplicate keys": "k: 1\\n" * 400_000,
    "bad scalars": "a: [" + "on, " * 500_000 + "]",
    "bad groups": "groups:\\n" + "\\n".join(f" g{i}: {{x: 1}}" for i in range(60_000)),
    "dangling": "everyone: {flavors: [" + ", ".join(f"f{i}" for i in range(100_000)) + "]}",
    "tabs": "a:\\n" + "\\tb: 1\\n" * 500_000,
    "one long text": "a: " + "x" * 4_000_000,
    "one long key": "x" * 4_000_000 + ": 1",
    "percent": "%" * 4_000_000,
    "digits": "version: " + "9" * 4_000_000,
    "colons": "version: " + "1:" * 2_000_000,
    "share": "flavors: {a: {title: a, share: '1e-999999999'}}",
    "fifty megabytes": "x" * 50_000_000,
}
for name, text in bombs.items():
    result = parse(text.encode(), "p.yaml")
    assert result.catalog is None and result.errors, name
    assert len(result.findings) <= 1001, name
    assert len("".join(one.render() for one in result.findings)) < 2_000_000, name
"""


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (240, 240))


@pytest.mark.timeout(280)
def test_bombs_of_every_kind_end_within_their_bounds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BOMBS],
        preexec_fn=_bound,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]


def test_the_limit_of_bytes_is_exact() -> None:
    assert "bytes" in only(b"#" * (MAX_BYTES + 1))
    assert "empty" in only(b"#" * MAX_BYTES)
