"""``arcetri profiles``: the catalog, looked at before users see it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from arcetri_hub.cli.person import find_person, settings_of
from arcetri_hub.settings import Settings
from arcetri_spawner.catalog import CheckResult, LoadedCatalog, check, json_schema
from arcetri_spawner.catalog import diff as differences
from arcetri_spawner.errors import ArcetriError
from arcetri_spawner.groups import GroupPath, normalize_group

_profiles_option = click.option(
    "--profiles",
    "file",
    type=click.Path(path_type=Path),
    help="The catalog. Without it: the one that the platform of the state folder uses, or else "
    "profiles.yaml here.",
)
_state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default="state",
    show_default=True,
    help="The state folder of 'arcetri up'.",
)
_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def profiles() -> None:
    """Check, explain and compare catalogs (profiles.yaml)."""


@profiles.command("check")
@click.argument("named", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@_profiles_option
@_state_option
@_format_option
def check_command(named: Path | None, file: Path | None, state: Path, form: str) -> None:
    """Print everything that is wrong with a catalog, one finding a line.

    FILE is the catalog, as with --profiles.

    Errors keep a catalog from being used; warnings are legal but surely mistakes. What nobody could
    start without Kubernetes is such a mistake in the catalog of the state folder's platform, and in
    any that has a section "local".

    Exit status: 1 with errors, 0 otherwise.
    """
    if named is not None and file is not None:
        raise click.UsageError("Name one catalog, as FILE or with --profiles.")
    file = file or named
    settings = _settings(state, needed=file is None)
    path = _catalog_path(file, state, settings)
    result = check(path, here=settings is not None and _same(path, settings.profiles))
    if form == "json":
        click.echo(json.dumps(_check_json(path, result), indent=2))
    else:
        for finding in result.findings:
            click.echo(finding.render())
        click.echo(f"{path}: {_verdict(result)}", err=True)
    sys.exit(1 if result.errors else 0)


@profiles.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of profiles.yaml, for editors.

    With the YAML language server, begin the catalog with:
    # yaml-language-server: $schema=profiles.schema.json
    """
    click.echo(json.dumps(json_schema(), indent=2))


@profiles.command("explain")
@_profiles_option
@_state_option
@click.option(
    "--user", help="Somebody who has logged in to this platform, or a demonstration user."
)
@click.option("--groups", help="Full group paths, with commas between them.")
@click.option(
    "--where",
    type=click.Choice(["here", "anywhere"]),
    help="here: what a platform on this machine would offer, with its devices and environments. "
    "anywhere: what the catalog grants, and what each environment lacks. Without it: here if the "
    "state folder is that of a platform, anywhere otherwise.",
)
def explain_command(
    file: Path | None, state: Path, user: str | None, groups: str | None, where: str | None
) -> None:
    """Print what a person would be offered, and why not the rest.

    Looks at what is granted and what can run, not at what is busy at this moment.
    """
    # Imported late, as all that only one command needs.
    from arcetri_hub.cli.here import inventory_here
    from arcetri_spawner.policy.explain import explain, render
    from arcetri_spawner.policy.model import Identity

    if (user is None) == (groups is None):
        raise click.UsageError("Give either --user NAME or --groups A,B.")
    settings = _settings(state, needed=file is None)
    catalog = _load(_catalog_path(file, state, settings))
    try:
        if user is not None:
            person = find_person(user, state)
            who = Identity("", person.name, groups=person.groups)
            listed = ", ".join(sorted(person.groups)) or "no group"
            click.echo(f"{person.name} is in {listed}, {person.source}.")
        else:
            who = Identity("", "somebody", groups=_groups(groups or ""))
            listed = ", ".join(sorted(who.groups)) or "no group"
            click.echo(f"Somebody in {listed}.")
    except ArcetriError as error:
        click.echo(f"arcetri: {error}", err=True)
        sys.exit(1)
    inventory = None
    scope = "Whatever runs the sessions, as if every device were there and free."
    if where == "here" or (where is None and settings is not None):
        inventory = inventory_here(catalog.catalog, simulate=settings is None or settings.loopback)
        scope = "On this machine, as if nothing were running."
    click.echo(f"Catalog: {catalog.path}. {scope}\n")
    found = explain(catalog.catalog, who, now=datetime.now(UTC), inventory=inventory)
    click.echo(render(found, catalog.catalog, inventory), nl=False)


@profiles.command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@_format_option
def diff_command(old: Path, new: Path, form: str) -> None:
    """Print who gains and who loses what from the catalog OLD to NEW."""
    changes = differences.diff(_load(old).catalog, _load(new).catalog)
    if form == "json":
        click.echo(json.dumps([one.to_json() for one in changes], indent=2))
    else:
        click.echo(differences.render(changes), nl=False)


def _settings(state: Path, *, needed: bool) -> Settings | None:
    """Return the settings of the state folder's platform; end the command if one cannot be read.

    Another account's platform keeps nobody from looking at a catalog that was named.
    """
    try:
        return settings_of(state)
    except ArcetriError as error:
        if not needed:
            return None
        click.echo(f"arcetri: {error}", err=True)
        sys.exit(1)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _catalog_path(file: Path | None, state: Path, settings: Settings | None) -> Path:
    if file is not None:
        return file
    if settings is not None:
        return settings.profiles
    here = Path("profiles.yaml")
    if not here.exists():
        raise click.UsageError(
            f"No catalog: {state} is no state folder of a platform, and there is no profiles.yaml "
            "here. Name one with --profiles FILE."
        )
    return here


def _load(path: Path) -> LoadedCatalog:
    """Return a catalog that can be used; end the command with all its errors when it cannot."""
    result = check(path)
    if result.catalog is None:
        for finding in result.errors:
            click.echo(finding.render(), err=True)
        sys.exit(1)
    return result.catalog


def _groups(text: str) -> frozenset[GroupPath]:
    groups = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            groups.add(normalize_group(part))
        except ValueError as error:
            raise ArcetriError(f"{part} is not a group path: {error}.") from error
    return frozenset(groups)


def _check_json(path: Path, result: CheckResult) -> dict[str, Any]:
    return {
        "file": str(path),
        "errors": len(result.errors),
        "warnings": len(result.warnings),
        "digest": result.catalog.digest if result.catalog else None,
        "findings": [finding.to_json() for finding in result.findings],
    }


def _verdict(result: CheckResult) -> str:
    errors, warnings = len(result.errors), len(result.warnings)
    if errors:
        return f"cannot be used: {_count(errors, 'error')}, {_count(warnings, 'warning')}"
    return "good" if not warnings else f"can be used: {_count(warnings, 'warning')}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


profiles_group = profiles
