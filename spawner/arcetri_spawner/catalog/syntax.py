"""What YAML's parser says of a file, in words for a person."""

from __future__ import annotations

import re
from typing import Any

import yaml

from arcetri_spawner.catalog.findings import Finding

_TAB_INDENT = re.compile(r" *\t[ \t]*(?=[^\s#])")
_AFTER_NO_COLON = ("mapping values are not allowed", "did not find expected key")
_KEY = re.compile(r"[^\s:#][^:#]*:(\s|$)")
_NO_KEY = re.compile(r"[^\s:#\-\[\]{}&*!|>'\"%@`][^:#]*")
_PROBLEMS = (
    (
        "mapping values are not allowed",
        "a colon is where no key can be",
        "one key a line; text with a colon in quotes",
    ),
    (
        "could not find expected ':'",
        "a line is neither a key with a colon nor an item of a list",
        "KEY: VALUE",
    ),
    (
        "did not find expected key",
        "the indentation does not fit what is above",
        "keys of one mapping in one column",
    ),
    (
        "did not find expected '-'",
        "the indentation does not fit the list above",
        "items of one list in one column",
    ),
    (
        "did not find expected ',' or '}'",
        "a { is not closed, or a comma is missing",
        "{KEY: VALUE, KEY: VALUE}",
    ),
    (
        "did not find expected ',' or ']'",
        "a [ is not closed, or a comma is missing",
        "[VALUE, VALUE]",
    ),
    (
        "found unexpected end of stream",
        "a quoted text is not closed",
        "a quote at both ends",
    ),
    (
        "cannot start any token",
        "a value begins with a character that YAML keeps for itself",
        "such text in quotes",
    ),
    (
        "found undefined tag handle",
        "a tag is not understood",
        "values without tags",
    ),
    (
        "entries are not allowed",
        "an item of a list cannot be here",
        "items below their key, each in a line",
    ),
    (
        "expected <document start>",
        "there is text after the end of the document",
        "one document a file",
    ),
    (
        "expected node content",
        "a value is missing, or a bracket is not closed",
        "a value",
    ),
)
"""What libyaml and PyYAML say, and what to say of it."""


def explain_syntax(error: yaml.YAMLError, text: str, file: str) -> list[Finding]:
    """Return findings for an error of the parser; more than one only for tabs in a row."""
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    near = list(enumerate(text.split("\n", line + 1)[: line + 1], start=1))[max(line - 2, 0) :]
    tabs = [
        Finding(
            file, at, written.index("\t") + 1, "error", "", "a tab is in the indentation", "spaces"
        )
        for at, written in near
        if _TAB_INDENT.match(written)
    ]
    if tabs:
        return tabs
    problem = str(getattr(error, "problem", "") or "it cannot be read")
    if any(part in problem for part in _AFTER_NO_COLON):
        before = _without_colon(near, line)
        if before is not None:
            return [_no_key(file, *before)]
    for part, message, allowed in _PROBLEMS:
        if part in problem:
            return [Finding(file, line, column, "error", "", message, allowed)]
    return [Finding(file, line, column, "error", "", f"this is not YAML: {problem}")]


def _without_colon(near: list[tuple[int, str]], line: int) -> tuple[int, str] | None:
    """Return the line above ``line`` that reads like its sister but has no colon."""
    lines = dict(near)
    written, above = lines.get(line, ""), lines.get(line - 1, "")
    indent = len(written) - len(written.lstrip(" "))
    beside = len(above) - len(above.lstrip(" ")) == indent
    if beside and _NO_KEY.fullmatch(above.split(" #")[0].strip()) and _KEY.match(written.strip()):
        return line - 1, above
    return None


def _no_key(file: str, line: int, written: str) -> Finding:
    text = written.split(" #")[0].strip()
    column = len(written) - len(written.lstrip(" ")) + 1
    key, _, value = text.partition(" ")
    meant = f"{key}: {value.strip()}" if value else f"{key}:"
    return Finding(
        file, line, column, "error", "", "there is no colon after the key", "KEY: VALUE", meant
    )
