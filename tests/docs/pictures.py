"""What a picture in the documents shows, kept beside it, so that a stale one is noticed.

Pixels depend on fonts and on the browser's version. What a reader sees changes with a page's words,
with how its parts are marked up, and with its stylesheets: these are compared, exactly.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
RENEW_VARIABLE = "ARCETRI_DOCS_IMAGES"
RENEW = f"{RENEW_VARIABLE}=docs/images make test ARGS=tests/docs/test_images.py"

_SHOWN = """
async () => {
  // What is another at every look: moments, how long, and the ids of devices.
  const changing = "time, code, #as-of, #asked, [data-label='Idle for']";
  for (const part of document.querySelectorAll(changing)) {
    part.textContent = "…";
  }
  const words = document.body.innerText.split("\\n").map((line) => line.trim()).filter(Boolean);
  const parts = [...document.body.querySelectorAll("*")]
    .filter((part) => part.checkVisibility() && part.tagName !== "SCRIPT")
    .map((part) => [part.tagName.toLowerCase(), ...part.classList].join("."));
  const sheets = [...document.querySelectorAll("link[rel=stylesheet]")];
  const styles = await Promise.all(sheets.map(async (sheet) => (await fetch(sheet.href)).text()));
  return {words, parts, styles};
}
"""


def shown(page: Page) -> dict[str, Any]:
    """What is visible on a page: its words, and what its parts and its stylesheets come to."""
    found = page.evaluate(_SHOWN)
    return {
        "words": found["words"],
        "parts": _digest("\n".join(found["parts"]).encode()),
        "styles": _digest("\n".join(found["styles"]).encode()),
    }


def keep(page: Page, name: str, folder: Path) -> None:
    """Take a picture, and compare the page with the one that the documents have.

    Args:
        page: As it is to be seen; it is spoilt afterwards.
        name: The picture's, without its suffix.
        folder: Where the new one goes; the documents' own folder renews theirs.

    Raises:
        AssertionError: The documents' picture shows another page, or is not there.
    """
    picture = folder / f"{name}.png"
    page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000, "an empty page is no picture"
    record = {"picture": _digest(picture.read_bytes()), **shown(page)}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    picture.with_suffix(".json").write_text(text, encoding="utf-8")
    assert (why := stale(IMAGES / picture.name, record)) == "", f"{why}\nTake it anew: {RENEW}"


def stale(picture: Path, now: dict[str, Any]) -> str:
    """Why a picture no longer shows what the page does; empty when it does.

    Args:
        picture: The documents' own; what it showed is in a file beside it.
        now: What the page shows now.
    """
    try:
        then = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
        if then["picture"] != _digest(picture.read_bytes()):
            return f"{picture.name} is not the picture that {picture.stem}.json describes."
    except FileNotFoundError as error:
        return f"The documents show {picture.name}, but there is no {Path(error.filename).name}."
    if then["words"] != now["words"]:
        changes = difflib.unified_diff(then["words"], now["words"], "picture", "page", lineterm="")
        return "\n".join([f"{picture.name} has other words than the page:", *changes])
    for what in ("parts", "styles"):
        if then[what] != now[what]:
            return f"{picture.name} was taken before the page's {what} changed."
    return ""


def folder_for_new(otherwise: Path) -> Path:
    """Where new pictures go: the folder that ``ARCETRI_DOCS_IMAGES`` names, or ``otherwise``."""
    return Path(os.environ.get(RENEW_VARIABLE, otherwise)).absolute()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
