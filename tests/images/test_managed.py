"""Catalogs, the environments' releases and their locked requirements say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import images
from tests.support.catalogs import SHIPPED

ROOT = Path(__file__).parents[2]
OURS = re.compile(r"registry\.example/arcetri/([a-z0-9-]+):([A-Za-z0-9_.-]+)(@sha256:[0-9a-f]+)?")
CATALOGS = sorted(SHIPPED.glob("*.yaml"))
ENVIRONMENTS = sorted(images.ENVIRONMENTS)


def about(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "images" / name / "about.yaml").read_text())
    return found


def locked(name: str) -> dict[str, str]:
    text = (ROOT / "images" / name / "requirements.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def wrong(catalog: dict[str, Any]) -> list[str]:
    """What a catalog says of images of this repository that they do not say themselves."""
    said = []
    for name, entry in catalog["environments"].items():
        image = entry.get("image") or ""
        if not image.startswith("registry.example/arcetri/"):
            continue  # a site's own, or none
        match = OURS.fullmatch(image)
        if match is None or match[1] not in ENVIRONMENTS:
            said.append(f"{name}: {image} is no image of images/")
            continue
        releases = {one["tag"]: one for one in about(match[1])["releases"]}
        release = releases.get(match[2])
        if release is None:
            said.append(f"{name}: {image} was never released")
        elif entry.get("contents") != release["contents"]:
            said.append(f"{name}: the contents of {image} are {release['contents']}")
    return said


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.stem)
def test_a_shipped_catalog_names_released_images(path: Path) -> None:
    assert wrong(yaml.safe_load(path.read_text())) == []


def test_the_example_offers_the_newest_releases() -> None:
    text = (SHIPPED / "example.yaml").read_text()
    named = {match[1]: match[2] for match in OURS.finditer(text)}
    assert {"minimal", "science", "torch"} <= named.keys()
    assert named == {name: about(name)["releases"][0]["tag"] for name in named}


def test_an_old_release_may_still_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    first = about("torch")["releases"][0]
    second = {"tag": "2027.02", "date": "2027-02-01", "contents": ["PyTorch 3.0"]}
    there = {**about("torch"), "releases": [second, first]}
    monkeypatch.setitem(globals(), "about", lambda _name: there)
    entry = {"image": "registry.example/arcetri/torch:2026.11", "contents": first["contents"]}
    assert wrong({"environments": {"torch": entry}}) == []
    # Each tag with what is in it.
    assert wrong({"environments": {"torch": {**entry, "contents": second["contents"]}}})
    newer = {"image": "registry.example/arcetri/torch:2027.02", "contents": second["contents"]}
    assert wrong({"environments": {"torch": newer}}) == []
    for image in ("torch:1999.01", "tourch:2026.11"):
        entry["image"] = f"registry.example/arcetri/{image}"
        assert wrong({"environments": {"torch": entry}})


@pytest.mark.parametrize("image", images.HEAVY, ids=lambda image: image.name)
def test_nvidias_libraries_are_an_image_of_their_own(image: images.Image) -> None:
    """It has them word for word as they are locked, and all of them."""
    cuda = image.base
    assert cuda is not None
    assert cuda.base is images.MINIMAL
    entries = re.findall(
        r"^nvidia-.*\n(?:[ ].*\n)*", (image.folder / "requirements.txt").read_text(), re.MULTILINE
    )
    assert len(entries) > 5
    there = (cuda.folder / "requirements.txt").read_text()
    assert "".join(entries) == there, "run requirements/compile.sh"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_release_says_what_is_locked(name: str) -> None:
    found, versions = about(name), locked(name)
    tags = [release["tag"] for release in found["releases"]]
    assert len(set(tags)) == len(tags), "a tag never means two things"
    dates = [release["date"] for release in found["releases"]]
    assert dates == sorted(dates, reverse=True)
    for line in found["releases"][0]["contents"]:
        title, _, version = line.rpartition(" ")
        if title == "Python":
            assert f"--python-version {version} " in (ROOT / "requirements/compile.sh").read_text()
            continue
        whole = versions[found["packages"][title]]
        assert f"{whole}.".startswith(f"{version}."), f"{line}, but {whole} is locked"


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name != "minimal"])
def test_what_is_built_on_minimal_changes_nothing_of_it(name: str) -> None:
    below, above = locked("minimal"), locked(name)
    assert {package: above[package] for package in above.keys() & below.keys()} == {
        package: below[package] for package in above.keys() & below.keys()
    }


@pytest.mark.parametrize("name", [*ENVIRONMENTS, "sbom"])
def test_a_lock_has_names_versions_and_hashes_only(name: str) -> None:
    text = (ROOT / "images" / name / "requirements.txt").read_text()
    line = re.compile(
        r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^\\]+)? \\"
        r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    assert [one for one in text.splitlines() if not line.fullmatch(one)] == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_smoke_notebook_is_clean(name: str) -> None:
    notebook = json.loads((ROOT / "images" / name / "smoke.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
