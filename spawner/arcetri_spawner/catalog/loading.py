"""From the bytes of profiles.yaml to a catalog, or to everything that is wrong with them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from arcetri_spawner.catalog.document import Document
from arcetri_spawner.catalog.doubt import in_doubt
from arcetri_spawner.catalog.findings import MAX_FINDINGS, Finding, in_order
from arcetri_spawner.catalog.lint import lint
from arcetri_spawner.catalog.models import Catalog, LoadedCatalog
from arcetri_spawner.catalog.reader import read
from arcetri_spawner.catalog.references import check_names, check_references
from arcetri_spawner.catalog.salvage import salvage
from arcetri_spawner.catalog.source import MAX_BYTES
from arcetri_spawner.catalog.translate import translate
from arcetri_spawner.errors import CatalogError


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found; with an error among the findings there is no catalog."""

    findings: tuple[Finding, ...]
    catalog: LoadedCatalog | None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings for which the catalog cannot be used."""
        return tuple(one for one in self.findings if one.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are surely mistakes, though the catalog can be used."""
        return tuple(one for one in self.findings if one.severity == "warning")


def parse(
    data: bytes,
    path: str,
    *,
    now: datetime | None = None,
    exists: Callable[[str], bool] | None = None,
    here: bool = False,
) -> CheckResult:
    """Check the bytes of a catalog; ``path`` is what findings call the file.

    ``now`` (default: the clock) is only compared with the ends of maintenance, and ``exists`` says
    whether an interpreter is on this machine. ``here`` says that a platform without Kubernetes uses
    the catalog, even if it has no section for that. Whatever the bytes are, this returns: in time
    and memory bounded by the limits of `reader`.
    """
    now = now or datetime.now(UTC)
    document = read(data, path)
    if document.data is None:
        return CheckResult(in_order(document.findings), None)
    findings = list(document.findings)
    problems: list[ErrorDetails] = []
    catalog: Catalog | None
    try:
        catalog = Catalog.model_validate(document.data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        findings.extend(_wrong_fields(problems, document))
        catalog = salvage(document.data, (problem["loc"] for problem in problems))
    if catalog is None:
        return CheckResult(in_order(findings), None)
    dangling = [*islice(check_names(catalog, document), MAX_FINDINGS)]
    doubted = in_doubt(
        (problem["loc"] for problem in problems), dangling, document.findings, document.data
    )
    findings += dangling
    findings.extend(islice(check_references(catalog, document), MAX_FINDINGS))
    mistakes = lint(catalog, document, now, doubted=doubted, exists=exists, here=here)
    findings.extend(islice(mistakes, MAX_FINDINGS))
    in_use = None
    if not _has_errors(findings):
        in_use = LoadedCatalog.model_construct(
            catalog=catalog, digest=hashlib.sha256(data).hexdigest(), path=path, loaded_at=now
        )
    return CheckResult(in_order(findings), in_use)


def _has_errors(findings: list[Finding]) -> bool:
    return any(one.severity == "error" for one in findings)


def _wrong_fields(problems: list[ErrorDetails], document: Document) -> Iterator[Finding]:
    """Yield what is wrong with single fields."""
    said = {(one.line, one.column) for one in document.findings if one.severity == "error"}
    for one in islice(translate(problems, document), MAX_FINDINGS):
        # A scalar that could not be read is no second error for not being what its field wants.
        if (one.line, one.column) not in said:
            yield one


def check(path: Path, *, now: datetime | None = None, here: bool = False) -> CheckResult:
    """Read and check a catalog; a file that cannot be read is a finding too.

    ``here`` says that a platform on this machine, without Kubernetes, uses the catalog.
    """
    try:
        data = read_bounded(path)
    except OSError as error:
        return CheckResult((unreadable(path, error),), None)
    return parse(data, str(path), now=now, exists=_is_interpreter, here=here)


def _is_interpreter(local: str) -> bool:
    """Whether an environment's ``local``, a prefix or an interpreter, can be run here."""
    path = Path(local)
    return os.access(path / "bin" / "python" if path.is_dir() else path, os.X_OK)


def load(path: Path) -> LoadedCatalog:
    """Read a catalog that must be usable.

    Raises:
        CatalogError: It is not; ``findings`` has every reason.
    """
    result = check(path)
    if result.catalog is None:
        raise refused(path, result.findings)
    return result.catalog


def refused(path: Path, findings: tuple[Finding, ...]) -> CatalogError:
    """Return the error that says why a catalog cannot be used."""
    errors = [one for one in findings if one.severity == "error"]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return CatalogError(
        f"The catalog cannot be used: {errors[0].render()}{more}",
        remedy=f"See all of it with: arcetri profiles check --profiles {path}",
        findings=findings,
    )


def read_bounded(path: Path) -> bytes:
    """Return a regular file's bytes, at most one more than `MAX_BYTES`.

    Never waits for a pipe or a device.

    Raises:
        OSError: There is no such file, or it cannot be read, or it is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a regular file", str(path))
        return file.read(MAX_BYTES + 1)


def unreadable(path: Path, error: OSError) -> Finding:
    """Return the finding for a file that cannot be read."""
    why = (error.strerror or "it cannot be read").lower()
    return Finding(str(path), 1, 1, "error", "", f"the file cannot be read: {why}")
