"""Sphinx's configuration: MyST pages, generated references, nothing fetched when read."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Arcetri"
author = "The Arcetri developers"
project_copyright = "The Arcetri developers"
release = installed_version("arcetri")
version = release

extensions = ["myst_parser", "sphinx_click", "arcetri_reference"]
exclude_patterns = ["_build", "_ext", "reference/_generated", "README.md"]
source_suffix = {".md": "markdown"}
nitpicky = True
# Pages end in what a reader should do next, so a link that goes nowhere is a broken page.
suppress_warnings: list[str] = []

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "Arcetri"
html_static_path = ["_static"]
html_css_files = ["arcetri.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "Arcetri"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": []}
