"""Names and label values in Kubernetes, made from whatever people and groups are called.

Guarantees, for any text whatever (empty, of any length, any script, unpaired surrogates):

- what ``label_value`` returns is a valid label value, what ``dns_label`` returns a valid DNS-1123
  label; both are pure functions of their arguments, the same for ever;
- two different texts never become the same name, neither by case, nor by what was replaced or cut
  off. A text that is not already a fitting name carries 160 bits of its SHA-256, and a text that
  only looks as if it did is given a digest of its own, so nobody can choose a name that takes
  another's place, short of breaking SHA-256;
- a pod's name comes from the request's UUID alone: it is never used again and tells nobody who
  the user is.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Final
from uuid import UUID

LONGEST: Final = 63
"""How long a label value, and a DNS-1123 label, may be."""

SCRATCH: Final = "arcetri-scratch-"
"""How the names of a pod's scratch volumes begin."""

_POD = "session-"
_DIGEST = 32
_JOINT = "--"
_LOOKS_DIGESTED = re.compile(rf"(?:^|{_JOINT})[a-z2-7]{{{_DIGEST}}}$")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_UNSAFE = re.compile(r"[^a-z0-9]+")


def label_value(text: str) -> str:
    """Return the label value for a text: the text itself where it can be one."""
    return _slug(text, LONGEST, lambda found: _LABEL_VALUE.fullmatch(found) is not None)


def dns_label(text: str, prefix: str = "") -> str:
    """Return the name of an object for a text: the text itself where it can be one.

    Args:
        text: Anything.
        prefix: What the name begins with; it tells apart names made for different purposes.

    Raises:
        ValueError: ``prefix`` leaves no room, or does not begin a DNS-1123 label.
    """
    room = LONGEST - len(prefix)
    if room < _DIGEST or not re.fullmatch(r"(?:[a-z0-9][a-z0-9-]*)?", prefix):
        raise ValueError(f"{prefix!r} cannot begin a name")
    return prefix + _slug(text, room, lambda found: _DNS_LABEL.fullmatch(found) is not None)


def pod_name(session: UUID) -> str:
    """Return the name of a session's pod, and of the Secret that belongs to it."""
    return f"{_POD}{session}"


def session_of(name: str) -> UUID | None:
    """Return whose session a pod or Secret of this name is; None for a name that is not ours."""
    if not name.startswith(_POD):
        return None
    try:
        session = UUID(name.removeprefix(_POD))
    except ValueError:
        return None
    return session if pod_name(session) == name else None


def _slug(text: str, room: int, fits: Callable[[str], bool]) -> str:
    if len(text) <= room and fits(text) and not _LOOKS_DIGESTED.search(text):
        return text
    digest = base64.b32encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    end = digest[:_DIGEST].decode("ascii").lower()
    plain = unicodedata.normalize("NFKD", text[:256]).encode("ascii", "ignore").decode("ascii")
    readable = _UNSAFE.sub("-", plain.lower()).strip("-")
    readable = readable[: room - _DIGEST - len(_JOINT)].strip("-")
    return f"{readable}{_JOINT}{end}" if readable else end
