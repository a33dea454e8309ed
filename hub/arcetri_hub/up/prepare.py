"""From the options to a locked state folder and the settings of the hub."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arcetri_hub.settings import IamSettings, ProxySettings, Settings, is_loopback
from arcetri_hub.up import ports
from arcetri_hub.up.errors import UpError
from arcetri_hub.up.iam import check_real
from arcetri_hub.up.machine import running_sessions, simulated, why_no_mounts
from arcetri_hub.up.options import UpOptions
from arcetri_hub.up.statefolder import StateFolder
from arcetri_hub.up.usage import UsagePlan, plan_usage

if TYPE_CHECKING:
    from arcetri_spawner.catalog.models import LoadedCatalog

DEMO_CATALOG = Path(__file__).parent.parent / "catalogs" / "demo.yaml"
DEMO_CLIENT = "arcetri-hub"


@dataclass(slots=True)
class Plan:
    """Everything that is decided before the first process starts."""

    options: UpOptions
    folder: StateFolder
    settings: Settings
    catalog: LoadedCatalog
    iam_port: int | None
    """The development IAM's; None with a real one."""
    usage: UsagePlan
    no_mounts: str
    """Why volumes are linked and not mounted; empty where they are mounted."""
    warnings: list[str] = field(default_factory=list)


def check_options(options: UpOptions) -> list[str]:
    """Check what needs no state folder; warnings for what is possible but unwise.

    Raises:
        UpError: Something that cannot be.
    """
    warnings: list[str] = []
    public = bool(options.public_url)
    if options.iam is None and (public or not is_loopback(options.ip)):
        raise UpError(
            "The development IAM has published passwords and serves this machine only: "
            "give a real one with --issuer, or leave out --ip and --public-url."
        )
    if public and not options.public_url.startswith(("https://", "http://")):
        raise UpError("--public-url must be a full address such as https://hub.example.org.")
    if (options.uid_claim or options.gids_claim) and not options.accounts:
        raise UpError(
            "--uid-claim and --gids-claim say as which account a session runs: give --accounts too."
        )
    if options.accounts:
        _check_accounts(options.state.absolute())
    if options.iam is not None:
        warning = check_real(options.iam)
        if warning:
            warnings.append(warning)
        if os.geteuid() == 0 and not options.accounts and not options.one_account:
            raise UpError(
                "With --issuer and as root, everybody's notebooks would run as root and could read "
                "the platform's keys and everybody's files and logins: give --accounts, run as "
                "another account, or say that it is meant with --one-account."
            )
        if not is_loopback(options.ip) and not options.public_url.startswith("https://"):
            warnings.append(
                f"{options.ip} is served over plain HTTP, which anyone on the way can read: put a "
                "proxy that speaks HTTPS before it, and name it with --public-url."
            )
    return warnings


def check_port(options: UpOptions) -> None:
    """Find out before anything is touched that the port cannot be had.

    Raises:
        UpError: It is taken or not for this account, or the address is not this machine's.
    """
    try:
        free = ports.is_free(options.ip, options.port)
    except PermissionError as error:
        raise UpError(
            f"Port {options.port} needs root: choose one above 1023 with --port."
        ) from error
    except OSError as error:
        raise UpError(
            f"{options.ip} is no address of this machine ({error.strerror}): see --ip."
        ) from error
    if not free:
        raise UpError(
            f"Port {options.port} of {options.ip} is taken by another program: "
            "stop it, or choose another port with --port."
        )


def prepare(options: UpOptions, folder: StateFolder, warnings: list[str]) -> Plan:
    """Choose ports, make secrets, check the catalog, and write the hub's settings.

    Raises:
        UpError: Something is wrong with the catalog, a port or the folder.
    """
    catalog = _catalog(options, folder)
    if options.iam is not None and _is_demonstration(catalog):
        warnings.append(
            f"{catalog.path} is the demonstration catalog: it grants to groups such as "
            f"{next(iter(catalog.catalog.groups))}, which {options.iam.issuer} hardly has, so that "
            "nobody can log in before it names groups of yours. It is taken as soon as it is saved;"
            " `arcetri profiles check` says what is wrong with it."
        )
    if options.public_url or not is_loopback(options.ip):
        _refuse_simulated(catalog)
    api_port = ports.choose()
    hub_port = _hub_port(folder)
    iam_port: int | None = None
    if options.iam is None:
        iam_port = _iam_port(folder)
        iam = IamSettings(
            issuer=f"http://127.0.0.1:{iam_port}/",
            client_id=DEMO_CLIENT,
            client_secret_file=folder.secret("iam-client"),
            development=True,
            uid_claim=options.uid_claim,
            gids_claim=options.gids_claim,
        )
    else:
        iam = IamSettings(
            issuer=options.iam.issuer,
            client_id=options.iam.client_id,
            client_secret_file=options.iam.client_secret_file.absolute(),
            uid_claim=options.uid_claim,
            gids_claim=options.gids_claim,
        )
    usage = plan_usage(folder, warnings, history=_history(options, catalog))
    no_mounts = why_no_mounts() if options.mounts else "--no-mounts was given"
    settings = Settings(
        state_dir=folder.path,
        instance_id=folder.instance_id,
        profiles=Path(catalog.path).absolute(),
        ip=options.ip,
        port=options.port,
        public_url=options.public_url,
        hub_port=hub_port,
        iam=iam,
        proxy=ProxySettings(
            api_url=f"http://127.0.0.1:{api_port}", token_file=folder.secret("proxy")
        ),
        cookie_secret_file=folder.secret("cookie"),
        crypt_key_file=folder.secret("crypt"),
        supervisor_token_file=folder.secret("supervisor"),
        usage=usage.settings,
        accounts=options.accounts,
        mounts=not no_mounts,
    )
    folder.seed("arcetri.sqlite")
    folder.write(folder.settings_file, settings.model_dump_json(indent=2) + "\n")
    return Plan(options, folder, settings, catalog, iam_port, usage, no_mounts, warnings)


def _history(options: UpOptions, catalog: LoadedCatalog) -> bool:
    """Only a demonstration gets a generated past: real people's usage stands alone."""
    return options.history and options.iam is None and bool(simulated(catalog.catalog))


def _catalog(options: UpOptions, folder: StateFolder) -> LoadedCatalog:
    from arcetri_spawner.catalog import check

    path = options.profiles
    if path is None:
        path = folder.profiles
        if not path.exists():
            folder.write(path, DEMO_CATALOG.read_text(encoding="utf-8"))
    result = check(path)
    if result.catalog is None:
        findings = [finding.render() for finding in result.findings]
        raise UpError(f"The catalog {path} cannot be used:", *findings)
    return result.catalog


def _is_demonstration(catalog: LoadedCatalog) -> bool:
    return Path(catalog.path).read_bytes() == DEMO_CATALOG.read_bytes()


def _refuse_simulated(catalog: LoadedCatalog) -> None:
    pretended = simulated(catalog.catalog)
    if pretended:
        raise UpError(
            f"The catalog {catalog.path} simulates {', '.join(pretended)}, which is for this "
            "machine only: take local.simulate out of it, or leave out --ip and --public-url."
        )


def _hub_port(folder: StateFolder) -> int:
    """The port by which running sessions know the hub; another one where none runs."""
    port, chosen = folder.kept_port("hub", ports.choose)
    if chosen or ports.is_free("127.0.0.1", port):
        return port
    if running := running_sessions(folder.instance_id):
        raise UpError(
            f"Port {port} of 127.0.0.1, by which {running} running "
            f"{'session knows' if running == 1 else 'sessions know'} the hub, is taken by another "
            f"program: stop it (`ss -ltnp sport = :{port}` names it)."
        )
    return folder.kept_port("hub", ports.choose, anew=True)[0]


def _iam_port(folder: StateFolder) -> int:
    """The port of the development IAM, which is part of everybody's identity."""
    port, chosen = folder.kept_port("iam", ports.choose)
    if not chosen and not ports.is_free("127.0.0.1", port):
        raise UpError(
            f"Port {port} of 127.0.0.1, by which the people of this state folder know the "
            "development IAM, is taken by another program: stop it "
            f"(`ss -ltnp sport = :{port}` names it), or choose another folder with --state."
        )
    return port


def _check_accounts(state: Path) -> None:
    """Other accounts must be able to reach the interpreter and the state folder."""
    if os.geteuid() != 0:
        raise UpError(
            "--accounts needs root, because sessions then run as other accounts: "
            "leave it out, or run as root."
        )
    interpreter = Path(sys.executable)
    for path, remedy in (
        (interpreter, "put the clone where others may read it"),
        (interpreter.resolve(), "make setup again with PYTHON=/usr/bin/python3"),
        (state, "choose another --state"),
    ):
        for parent in path.parents:
            if parent.exists() and not parent.stat().st_mode & 0o001:
                raise UpError(
                    f"With --accounts other accounts must reach {path}, but {parent} is closed to "
                    f"them: {remedy}."
                )
