"""Every refusal code, from the places that make them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path

from models import Undocumented

import arcetri_hub.pages
from arcetri_spawner import errors
from arcetri_spawner.policy import reasons


@dataclass(frozen=True)
class Code:
    """A stable code and what it means."""

    code: str
    meaning: str


def codes_markdown(undocumented: Undocumented) -> str:
    """Tables of all codes by what they do."""
    policy = policy_codes()
    for code in reasons.ALL_CODES:
        if code not in policy:
            undocumented.append(f"refusal code {code}")
    parts = []
    for title, codes in (
        ("Refused", reasons.REFUSAL_CODES),
        ("Not now", reasons.WAITING_CODES),
    ):
        rows = [Code(code, policy.get(code, "")) for code in codes]
        parts.append(_table(title, _INTRO[title], rows))
    parts.append(_table("Something went wrong", _INTRO["Something went wrong"], error_codes()))
    return "\n".join(parts)


_INTRO = {
    "Refused": "Asking again unchanged gives the same answer. In the order in which they are"
    " looked at: the first that holds is the one you see.",
    "Not now": "The request is legitimate, but nothing was started. It will do later.",
    "Something went wrong": "The platform could not do what it was allowed to.",
}


def policy_codes() -> dict[str, str]:
    """Codes of ``policy.reasons``, each with the first line of its builder's docstring."""
    found: dict[str, str] = {}
    for function in ast.parse(inspect.getsource(reasons)).body:
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("_refuse", "_wait")
                and isinstance(node.args[0], ast.Constant)
            ):
                summary = (ast.get_docstring(function) or "").split("\n")[0]
                found.setdefault(str(node.args[0].value), summary)
    return found


def error_codes() -> list[Code]:
    """Codes of the exception classes, and those that the pages add."""
    rows = [
        Code(cls.default_code, (inspect.getdoc(cls) or "").split("\n")[0])
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.ArcetriError)
        and "default_code" in vars(cls)
        and cls.default_code not in ("error", "denied", "busy")
    ]
    return sorted(rows, key=lambda row: row.code)


def page_codes() -> set[str]:
    """Codes written as literals in the pages' code: ``code="..."`` and ``default_code = "..."``."""
    found: set[str] = set()
    for path in Path(arcetri_hub.pages.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code":
                value: ast.expr | None = node.value
            elif (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "default_code"
            ):
                value = node.value
            else:
                continue
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.add(value.value)
    return found


def _table(title: str, intro: str, rows: list[Code]) -> str:
    lines = [f"## {title}", "", intro, "", "| Code | What is the matter |", "|---|---|"]
    lines += [f"| `{row.code}` | {row.meaning} |" for row in rows]
    return "\n".join([*lines, ""])
