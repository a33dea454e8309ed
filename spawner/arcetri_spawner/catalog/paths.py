"""Paths of profiles.yaml: where volumes lie and appear, and interpreters."""

from __future__ import annotations

import posixpath
import re

from arcetri_spawner.catalog.problems import FieldError, nearest, quoted, text_of

TEMPLATE_VARIABLES = ("username",)
"""What ``{...}`` may name in mounts and paths."""

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_PATH_CHARACTERS = re.compile(r"[^\x00-\x1f\x7f\\:*?\"<>|$`']*")
_SYSTEM_FOLDERS = frozenset(
    {"/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin"}
    | {"/sys", "/usr", "/var"}
)


def _check_template(text: str, allowed: str) -> None:
    for name in _VARIABLE.findall(text):
        if name not in TEMPLATE_VARIABLES:
            raise FieldError(
                f"has the unknown variable {{{name}}}",
                "the variables " + ", ".join(f"{{{known}}}" for known in TEMPLATE_VARIABLES),
                "{"
                + (nearest(name, TEMPLATE_VARIABLES, cutoff=0.3) or TEMPLATE_VARIABLES[0])
                + "}",
            )
    if "{" in _VARIABLE.sub("", text) or "}" in _VARIABLE.sub("", text):
        raise FieldError("has a brace without its partner", allowed)


def _check_path(text: str, allowed: str) -> None:
    if len(text) > 255 or not _PATH_CHARACTERS.fullmatch(text):
        raise FieldError("is too long, or has a character that paths here cannot have", allowed)
    parts = text.split("/")
    if any(part in (".", "..") or part != part.strip() for part in parts):
        raise FieldError("may not have . or .. or spaces around a name", allowed)
    _check_template(text, allowed)


def parse_mount(value: object) -> str:
    """Check where a volume appears in a session.

    Raises:
        FieldError: It is not absolute and normal, hides a system folder, or has an unknown
            variable.
    """
    allowed = "an absolute path such as /home/{username} or /data/cms"
    text = text_of(value, allowed)
    if not text.startswith("/"):
        raise FieldError("is not absolute", allowed, "/" + text if text else "")
    normal = "/" + posixpath.normpath(text).lstrip("/")
    if normal in _SYSTEM_FOLDERS or normal.startswith(("/proc/", "/sys/", "/dev/", "/etc/")):
        raise FieldError(f"{quoted(text)} would hide a folder of the system", allowed)
    _check_path(text, allowed)
    if text != normal:
        raise FieldError("is not in its shortest form", allowed, normal)
    return text


def parse_relative(value: object) -> str:
    """Check a folder inside a claim.

    Raises:
        FieldError: It is absolute, leaves the claim, or has an unknown variable.
    """
    allowed = "a path inside the claim such as home/{username}, or nothing for all of it"
    text = text_of(value, allowed)
    if not text:
        return text
    normal = posixpath.normpath(text)
    if text.startswith("/"):
        raise FieldError("must not begin with a slash", allowed, normal.lstrip("/"))
    _check_path(text, allowed)
    if text != normal:
        raise FieldError("is not in its shortest form", allowed, normal)
    return text


def parse_interpreter(value: object) -> str:
    """Check which Python serves an environment without Kubernetes.

    Raises:
        FieldError: It is neither ``default`` nor an absolute path.
    """
    allowed = "default, or the absolute path of a Python interpreter"
    text = text_of(value, allowed)
    if text != "default":
        if not text.startswith("/"):
            raise FieldError(
                f"{quoted(text)} is not an interpreter", allowed, nearest(text, ("default",))
            )
        _check_path(text, allowed)
    return text
