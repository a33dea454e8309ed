"""From the bytes of a file to text that the YAML parser may see."""

from __future__ import annotations

import re

from arcetri_spawner.catalog.document import Mark
from arcetri_spawner.catalog.findings import Finding

MAX_BYTES = 4 * 1024 * 1024
"""The largest file that is read."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def decode(data: bytes, file: str) -> tuple[str | None, list[Finding]]:
    """Return a file's text, or None where there is none, with what is wrong with its bytes."""

    def refuse(line: int, column: int, message: str, allowed: str) -> tuple[None, list[Finding]]:
        return None, [Finding(file, line, column, "error", "", message, allowed)]

    if len(data) > MAX_BYTES:
        return refuse(1, 1, f"the file has {len(data):,} bytes", f"at most {MAX_BYTES:,} bytes")
    found: list[Finding] = []
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return refuse(1, 1, "the file is written in UTF-16", "UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        found.append(
            Finding(
                file, 1, 1, "warning", "", "the file begins with a byte order mark", "plain UTF-8"
            )
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        return refuse(line, column, f"the byte 0x{data[error.start]:02x} is not UTF-8", "UTF-8")
    control = _CONTROL.search(text)
    if control is not None:
        line, column = line_column(text, control.start())
        what = f"the control character U+{ord(control[0]):04X} is in the file"
        return refuse(line, column, what, "text")
    return text, found


def line_column(text: str, index: int) -> Mark:
    """Return where the character at ``index`` is."""
    return (text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))
