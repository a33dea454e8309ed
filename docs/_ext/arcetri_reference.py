"""Writes the generated parts of the reference from the code, before Sphinx reads the pages.

Each part is Markdown under ``reference/_generated`` that a page includes. What the code leaves
undocumented becomes a warning, and warnings fail the build.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chart import chart_markdown
from codes import codes_markdown
from figures import figures_markdown
from models import Undocumented, catalog_markdown, settings_markdown
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

PARTS: dict[str, Callable[[Undocumented], str]] = {
    "catalog.md": catalog_markdown,
    "chart.md": chart_markdown,
    "settings.md": settings_markdown,
    "codes.md": codes_markdown,
    "figures.md": figures_markdown,
}


def write_parts(app: Sphinx) -> None:
    """Write each part whose text has changed."""
    folder = Path(app.srcdir) / "reference" / "_generated"
    folder.mkdir(exist_ok=True)
    for name, render in PARTS.items():
        undocumented: Undocumented = []
        text = render(undocumented)
        for what in undocumented:
            logger.warning("%s has no description in the code", what)
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx's entry point."""
    app.connect("builder-inited", write_parts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
