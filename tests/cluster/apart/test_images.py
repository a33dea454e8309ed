"""What is in the images of this repository, built as anybody would build them."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import pytest

from tests.cluster import images, pipsettings
from tests.cluster.cache import ClusterError
from tests.cluster.images import Image


@pytest.mark.cluster
def test_nothing_of_the_machine_that_built_an_image_is_in_it(tmp_path: Path) -> None:
    options = pipsettings.secrets(tmp_path)
    secret_files = [Path(word.rpartition("src=")[2]) for word in options if "src=" in word]
    forbidden = [path.read_bytes() for path in secret_files]
    with tarfile.open(images.build(images.MINIMAL)) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not member.name.endswith((".json", ".tar")):
                continue  # links for older readers
            if member.name.endswith(".json"):
                text = file.read()
                assert not any(str(path).encode() in text for path in secret_files), member.name
                continue
            with tarfile.open(fileobj=file) as layer:
                for entry in layer:
                    assert "run/secrets" not in entry.name or entry.isdir(), entry.name
                    assert not entry.name.endswith("pip.conf"), entry.name
                    same = entry.isfile() and entry.size in map(len, forbidden)
                    if same and (content := layer.extractfile(entry)):
                        assert content.read() not in forbidden, entry.name


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["minimal", "science"])
def test_a_bill_of_materials_names_all_that_was_locked(name: str) -> None:
    image = images.ENVIRONMENTS[name]
    bill = json.loads(_file(image, "usr/share/arcetri/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == f"arcetri/{name}"
    listed = {part["purl"].partition("?")[0].lower() for part in bill["components"]}
    for below in ("minimal", name):
        text = (images.PLATFORM / below / "requirements.txt").read_text(encoding="utf-8")
        for package, version in re.findall(r"^([a-z0-9._-]+)==(\S+) \\", text, re.MULTILINE):
            assert f"pkg:pypi/{re.sub('[._-]+', '-', package)}@{version}" in listed
    assert sum(purl.startswith("pkg:deb/debian/") for purl in listed) > 50
    assert any(purl.startswith("pkg:deb/debian/tini@") for purl in listed)


@pytest.mark.cluster
@pytest.mark.parametrize("image", images.INSTALLED, ids=lambda image: image.name)
def test_an_image_of_the_platform_was_tried_as_nobody_and_says_what_is_in_it(image: Image) -> None:
    told = _config(image)["config"]
    # Where something needs more, its pod says so; the image as it is may do nothing.
    assert told["User"] == "1000:1000"
    # The program that it starts is one of those that had to answer before it was kept.
    program = 2 if told["Cmd"][:2] == ["python", "-m"] else 0
    assert told["Cmd"][program] in [word for command in image.answers for word in command]
    bill = json.loads(_file(image, "usr/share/arcetri/sbom.cdx.json"))
    assert bill["metadata"]["component"]["name"] == f"arcetri/{image.name}"
    # By name, since what was built here is in no index.
    named = {(_plain(part["name"]), part.get("version")) for part in bill["components"]}
    text = (images.PLATFORM / image.name / "requirements.txt").read_text(encoding="utf-8")
    locked = re.findall(r"^([a-z0-9._-]+)==(\S+) \\", text, re.MULTILINE)
    assert locked
    assert {
        ("arcetri", metadata.version("arcetri")),
        *((_plain(name), number) for name, number in locked),
    } <= named
    assert "tini" in {name for name, _ in named}


def _plain(name: str) -> str:
    return re.sub("[._-]+", "-", name).lower()


@pytest.mark.cluster
def test_a_platforms_image_that_does_not_answer_is_not_kept(tmp_path: Path) -> None:
    broken = replace(
        images.BASE, name="broken", folder=tmp_path / "broken", base=images.BASE, argument="BASE",
        answers=(("arcetri-agent", "run", "--help"),),
    )  # fmt: skip
    broken.folder.mkdir()
    (broken.folder / "Containerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="ascii")
    with pytest.raises(ClusterError, match="broken could not be built"):
        images.build(broken)
    assert not broken.archive.exists()
    broken.archive.with_suffix(".lock").unlink()


@pytest.mark.cluster
def test_environments_share_the_layers_of_the_one_below() -> None:
    base, minimal, science = map(_layers, (images.BASE, images.MINIMAL, images.SCIENCE))
    assert minimal[: len(base)] == base
    assert science[: len(minimal)] == minimal
    assert len(science) == len(minimal) + 1


def _config(image: Image) -> dict[str, Any]:
    with tarfile.open(images.build(image)) as archive:
        (manifest,) = json.load(_member(archive, "manifest.json"))
        found: dict[str, Any] = json.load(_member(archive, manifest["Config"]))
        found["archive layers"] = manifest["Layers"]
    return found


def _layers(image: Image) -> list[str]:
    return list(_config(image)["rootfs"]["diff_ids"])


def _file(image: Image, path: str) -> bytes:
    """A file as the image's last layer has it."""
    last = _config(image)["archive layers"][-1]
    with (
        tarfile.open(images.build(image)) as archive,
        tarfile.open(fileobj=_member(archive, last)) as layer,
    ):
        return _member(layer, path).read()


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    assert file is not None, name
    return file


def test_pips_settings_are_read_whatever_they_were_set_by() -> None:
    listing = (
        "global.cert='/etc/ssl/site.pem'\n"
        "global.index-url='https://packages.example.org/simple?a=b'\n"
        ":env:.cert='/etc/ssl/other.pem'\n"
    )
    assert pipsettings.parse(listing) == {
        "cert": "/etc/ssl/other.pem",
        "index-url": "https://packages.example.org/simple?a=b",
    }
    assert pipsettings.parse("") == {}
