"""Write what an image is made of to /usr/share/arcetri/sbom.cdx.json, in CycloneDX's JSON.

Runs inside the build of an image: Debian's packages as dpkg knows them, and what pip put into
/opt/venv as cyclonedx-py finds it. The same image gives the same file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

TARGET = Path("/usr/share/arcetri/sbom.cdx.json")
VENV = Path("/opt/venv")
VERSION = "1.6"
_FIELDS = ("binary:Package", "Version", "Architecture", "source:Package", "source:Version")


def main(image: str) -> None:
    """Write the file of the image of that name."""
    bill = python_packages()
    bill["metadata"] |= {"component": {"type": "container", "name": f"arcetri/{image}"}}
    bill["components"] = [*bill.get("components", ()), *debian_packages()]
    text = json.dumps(bill, indent=1, sort_keys=True, ensure_ascii=False)
    if errors := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"the bill of materials is not CycloneDX {VERSION}: {errors}")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(f"{text}\n", encoding="utf-8")


def python_packages() -> dict[str, Any]:
    """A bill of materials with what is in the image's virtual environment."""
    if not VENV.exists():
        return {
            "bomFormat": "CycloneDX",
            "specVersion": VERSION,
            "version": 1,
            "metadata": {},
        }
    command = [Path(sys.executable).with_name("cyclonedx-py"), "environment"]
    options = ["--output-reproducible", "--no-validate", "--sv", VERSION, VENV / "bin/python"]
    found = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True)
    bill: dict[str, Any] = json.loads(found.stdout)
    return bill


def debian_packages() -> list[dict[str, Any]]:
    """Components for all that dpkg has installed."""
    form = "\t".join(f"${{{field}}}" for field in _FIELDS)
    command = ["dpkg-query", "--show", f"--showformat={form}\\t${{db:Status-Status}}\\n"]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if line
    )
    distro = f"debian-{release['VERSION_ID'].strip(chr(34))}"
    lines = (line.split("\t") for line in sorted(found.stdout.splitlines()))
    return [_debian(*fields, distro) for *fields, state in lines if state == "installed"]


def _debian(
    package: str, version: str, architecture: str, source: str, source_version: str, distro: str
) -> dict[str, Any]:
    name = package.partition(":")[0]
    # Advisories speak of source packages.
    upstream = source if source_version == version else f"{source}@{source_version}"
    purl = PackageURL(
        type="deb",
        namespace="debian",
        name=name,
        version=version,
        qualifiers={"arch": architecture, "distro": distro, "upstream": upstream},
    ).to_string()
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


if __name__ == "__main__":
    main(sys.argv[1])
