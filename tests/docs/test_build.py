"""The documents build without a warning, fetch nothing when read, and leave nothing out."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from arcetri_hub.settings import Settings
from arcetri_spawner.catalog.models import Catalog
from arcetri_spawner.policy.reasons import ALL_CODES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS / "_ext"))

FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect)[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>"
    r"|@import\s+[\"'(]*https?:|url\([\"']?https?:",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"),
            *("-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder / "html"


@pytest.mark.component
def test_a_reader_needs_no_other_host(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 20
    found = {
        f"{page.relative_to(site)}: {match[0][:120]}"
        for page in pages
        for match in FETCHED.finditer(page.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.component
def test_the_reference_has_every_code_setting_and_key(site: Path) -> None:
    def shown(page: str) -> set[str]:
        text = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
        return set(re.findall(r'<span class="pre">([^<]+)</span>', text))

    from codes import error_codes

    assert set(ALL_CODES) | {row.code for row in error_codes()} <= shown("codes")
    assert set(Settings.model_fields) <= shown("settings")
    assert set(Catalog.model_fields) <= shown("catalog")


def test_meanings_are_kept_only_for_keys_that_exist() -> None:
    from meanings import MEANINGS
    from models import catalog_markdown, settings_markdown

    undocumented: list[str] = []
    text = catalog_markdown(undocumented) + settings_markdown(undocumented)
    assert undocumented == []
    for name in MEANINGS:
        section, _, key = name.rpartition(" ")
        heading = f"## `{section}`"
        whole = section in ("profiles.yaml", "settings.json")
        assert whole or heading in text, name
        assert f"| `{key}` |" in text, name


def test_codes_are_found_where_they_are_raised() -> None:
    import ast

    from codes import raised_codes

    tree = ast.parse(
        'class Odd(Exception):\n    """It is odd."""\n    default_code = "odd"\n'
        'raise Odd(f"There are {n} of {m}.", code="too_many", remedy="Fewer.")\n'
    )
    assert raised_codes(tree) == {"odd": "It is odd.", "too_many": "There are … of …."}


def test_the_generator_reports_what_has_no_description() -> None:
    from models import Section, _table
    from pydantic import BaseModel

    class Bare(BaseModel):
        """A model."""

        nothing: int = 1

    undocumented: list[str] = []
    _table(Section("bare", Bare), undocumented)
    assert undocumented == ["bare: nothing"]


def test_the_reference_speaks_of_values_as_the_checks_do() -> None:
    from models import _default, catalog_markdown
    from pydantic.fields import FieldInfo

    from arcetri_spawner.catalog import patterns

    text = catalog_markdown([])
    for pattern in (patterns.IMAGE, patterns.RESOURCE, patterns.LABEL_KEY, patterns.LINE):
        assert patterns.PATTERNS[pattern].allowed in text
    assert _default(FieldInfo(default=timedelta(hours=1, minutes=30))) == "`1h30m`"
