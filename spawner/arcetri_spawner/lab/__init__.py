"""Our extension of JupyterLab, which every session is given: it says that a session will end.

It runs in whatever JupyterLab the environment has. Its files travel with the session, because a
session may be unable to read them where they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

NAME: Final = "arcetri-notices"
"""What its folder among JupyterLab's extensions is called."""
PACKAGE: Final = "package.json"
SCRIPT: Final = "static/remoteEntry.js"


@cache
def text(file: str) -> str:
    """What stands in one of its files: ``PACKAGE`` or ``SCRIPT``."""
    return (Path(__file__).parent / Path(file).name).read_text(encoding="utf-8")
