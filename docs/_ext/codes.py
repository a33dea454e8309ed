"""Every refusal code, from the places that make them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from models import Undocumented

import arcetri_hub
import arcetri_spawner
from arcetri_spawner import errors
from arcetri_spawner.policy import queueing, reasons


@dataclass(frozen=True)
class Code:
    """A stable code and what it means."""

    code: str
    meaning: str
    status: int = 0
    """The HTTP status it is answered with; 0 when that depends on where it is raised."""


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
        rows = [Code(code, policy.get(code, ""), reasons.STATUSES[code]) for code in codes]
        parts.append(_table(title, _INTRO[title], rows))
    said = policy_codes(queueing)
    for title, codes in (
        ("In a queue", queueing.QUEUE_CODES),
        ("Wanted back", queueing.EVICTED_CODES),
    ):
        undocumented += [f"queue code {code}" for code in codes if code not in said]
        rows = [Code(code, said.get(code, "")) for code in codes]
        parts.append(_table(title, _INTRO[title], rows))
    parts.append(_table("Something went wrong", _INTRO["Something went wrong"], error_codes()))
    return "\n".join(parts)


_INTRO = {
    "Refused": "Asking again unchanged gives the same answer, unless the status is 503. In the"
    " order in which they are looked at: the first that holds is the one you see.",
    "Not now": "The request is legitimate, but cannot start now: it waits in line. What could only"
    " wait for ever is answered with the status, and not kept.",
    "In a queue": "What a request waits for where Kueue keeps the queues, besides those above.",
    "Wanted back": "Why what a session holds is asked back, where Kueue keeps the queues. The"
    " session goes on until its work is saved.",
    "Something went wrong": "The platform could not do what it was allowed to.",
}


def policy_codes(module: ModuleType = reasons) -> dict[str, str]:
    """Codes of ``policy.reasons``, or a module like it, each with its builder's first line."""
    found: dict[str, str] = {}
    for function in ast.parse(inspect.getsource(module)).body:
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
    """Codes that are none of policy's: of the exception classes, and given where one is raised."""
    found = {
        cls.default_code: (inspect.getdoc(cls) or "").split("\n")[0]
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.ArcetriError) and "default_code" in vars(cls)
    }
    for package in (arcetri_spawner, arcetri_hub):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            found = raised_codes(ast.parse(path.read_text(encoding="utf-8"))) | found
    skipped = {*reasons.ALL_CODES, "error", "denied", "busy"}
    return [
        Code(code, _PLAINER.get(code) or found[code].replace("``", "`"))
        for code in sorted(found)
        if code not in skipped
    ]


_PLAINER = {
    "body_too_large": "The request's body is longer than a choice can be.",
    "claim_missing": "The storage claim that the session needs does not exist.",
    "cluster_away": "The cluster, or a part of it that new sessions need, does not answer.",
    "evicted": "The session was sent away from its node, or wrote more than it may outside its"
    " volumes.",
    "image_denied": "The registry does not let the cluster have the environment's image.",
    "image_failed": "The node could not fetch the environment's image.",
    "image_missing": "There is no such image as the environment names.",
    "image_name_invalid": "What the environment names cannot be an image.",
    "no_room": "No node has room for the session now; the sentence says what each lacks.",
    "node_away": "The session's node does not answer; the session may still run there.",
    "node_lost": "The session's node was lost, and the session with it.",
    "node_refused": "The session's node could not give what it had promised, such as the device.",
    "node_shutdown": "The session's node was shut down, and ended the session.",
    "out_of_memory": "The session needed more memory than its size has, and was ended for it.",
    "pod_security": "The cluster refused the session for its Pod Security level.",
    "quota_exceeded": "All sessions together have as much as the cluster allows them.",
    "registry_away": "The registry of the environment's image does not answer the node.",
    "server_crashed": "The notebook server, or what prepares it, ended with an error.",
    "webhook_refused": "A rule of the cluster refused the session.",
    "person_unknown": "`arcetri` was asked about somebody whom it does not know.",
}
"""Where the code's own words are for its developers, or vary as a whole."""


def raised_codes(tree: ast.AST) -> dict[str, str]:
    """Codes of a module's own errors, each with its sentence; ``…`` stands for what varies."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (code := _default_code(node)):
            found[code] = (ast.get_docstring(node) or "").split("\n")[0]
        elif isinstance(node, ast.Call) and node.args:
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "code" and isinstance(value, ast.Constant) and value.value:
                    sentence = _sentence(node.args[0])
                    if sentence:
                        found.setdefault(str(value.value), sentence)
    return found


def _default_code(node: ast.ClassDef) -> str:
    for line in node.body:
        if (
            isinstance(line, ast.Assign)
            and isinstance(line.targets[0], ast.Name)
            and line.targets[0].id == "default_code"
            and isinstance(line.value, ast.Constant)
        ):
            return str(line.value.value)
    return ""


def _sentence(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return ""


def _table(title: str, intro: str, rows: list[Code]) -> str:
    lines = [f"## {title}", "", intro, ""]
    if all(row.status for row in rows):
        lines += ["| Code | Status | What is the matter |", "|---|---|---|"]
        lines += [f"| `{row.code}` | {row.status} | {row.meaning} |" for row in rows]
    else:
        lines += ["| Code | What is the matter |", "|---|---|"]
        lines += [f"| `{row.code}` | {row.meaning} |" for row in rows]
    return "\n".join([*lines, ""])
