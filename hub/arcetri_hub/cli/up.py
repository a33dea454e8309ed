"""``arcetri up``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from arcetri_hub.up.errors import UpError
from arcetri_hub.up.options import RealIam, UpOptions


@click.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    show_default=True,
    help="Port the platform is reached at.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default="state",
    show_default=True,
    help="Folder that keeps everything from one start to the next; made if it does not exist.",
)
@click.option(
    "--profiles",
    type=click.Path(path_type=Path),
    help="The catalog to use. Without it: profiles.yaml of the state folder, at first a copy of "
    "the demonstration catalog, for you to edit.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="First end every session left over from before, and begin anew. What people had (homes, "
    "group folders, the catalog, the database) is moved into 'before-fresh' of the state folder; "
    "what accounting has yet to fetch stays.",
)
@click.option(
    "--keep-sessions",
    is_flag=True,
    help="Leave sessions running when the platform stops; the next start adopts them.",
)
@click.option(
    "--accounts",
    is_flag=True,
    help="Run each user's sessions as a system account of their own, so that they cannot read "
    "each other's files (needs root). Without it all sessions run as one account.",
)
@click.option(
    "--one-account",
    is_flag=True,
    help="With --issuer, as root and without --accounts: run everybody's notebooks as root, where "
    "they can read the platform's keys and everybody's files and logins. Refused unless asked for.",
)
@click.option(
    "--no-mounts",
    is_flag=True,
    help="Link volumes below the folder 'view' of the state folder instead of mounting them at the "
    "catalog's places. Read only is then not enforced without --accounts.",
)
@click.option(
    "--uid-claim",
    help="The claim in which IAM gives a person's numeric id. Without it the platform allocates "
    "one. Only with --accounts.",
)
@click.option(
    "--gids-claim",
    help="The claim in which IAM gives an object from group paths to numeric ids. Without it the "
    "platform allocates them. Only with --accounts.",
)
@click.option(
    "--no-history",
    is_flag=True,
    help="Without the half-year of generated usage, marked simulated, with which the "
    "demonstration's reports begin.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='When ready, print one JSON line {"url", "users", "simulated", "pid", "agent_metrics"} on '
    "standard output, and nothing else there.",
)
@click.option(
    "--issuer",
    help="Use this INDIGO IAM (such as https://iam.example.org/) instead of the development one. "
    "Needs --client-id and --client-secret-file.",
)
@click.option("--client-id", help="The client registered at the issuer for this platform.")
@click.option(
    "--client-secret-file",
    type=click.Path(path_type=Path),
    help="A file that holds the client's secret and nothing else.",
)
@click.option(
    "--ip",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve. Other than loopback only with --issuer and with real devices.",
)
@click.option(
    "--public-url",
    default="",
    help="Where browsers find the platform, such as https://hub.example.org, when a proxy that "
    "speaks HTTPS stands before it. Only with --issuer and with real devices.",
)
def up(
    port: int,
    state: Path,
    profiles: Path | None,
    fresh: bool,
    keep_sessions: bool,
    accounts: bool,
    one_account: bool,
    no_mounts: bool,
    uid_claim: str | None,
    gids_claim: str | None,
    no_history: bool,
    as_json: bool,
    issuer: str | None,
    client_id: str | None,
    client_secret_file: Path | None,
    ip: str,
    public_url: str,
) -> None:
    """Run the whole platform on this machine, until Ctrl-C.

    Starts a development identity provider (or uses yours), the proxy and the hub on loopback,
    prints where to log in and as whom, and starts again whatever dies. Ctrl-C ends the platform
    and its sessions; a second one hurries. After a crash the next start with the same state folder
    adopts the sessions that still run.

    Exit status: 0 after being told to stop, 2 when it could not start (one sentence says why), 1
    after a fault of its own (one sentence says where it is written down).
    """
    try:
        options = UpOptions(
            state=state,
            profiles=profiles,
            ip=ip,
            port=port,
            public_url=public_url.rstrip("/"),
            iam=_real_iam(issuer, client_id, client_secret_file),
            fresh=fresh,
            keep_sessions=keep_sessions,
            accounts=accounts,
            one_account=one_account,
            mounts=not no_mounts,
            uid_claim=uid_claim,
            gids_claim=gids_claim,
            history=not no_history,
            json=as_json,
        )
        # Imported late: --help needs none of it.
        from arcetri_hub.up.supervisor import supervise

        supervise(options)
    except UpError as error:
        click.echo(f"arcetri: {error.message}", err=True)
        for line in error.details:
            click.echo(f"  {line}", err=True)
        sys.exit(2)
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody is shown a traceback
        from arcetri_hub.up.faults import told

        click.echo(f"arcetri: {told(error, state)}", err=True)
        sys.exit(1)


def _real_iam(issuer: str | None, client_id: str | None, secret: Path | None) -> RealIam | None:
    given = {"--issuer": issuer, "--client-id": client_id, "--client-secret-file": secret}
    missing = [name for name, value in given.items() if not value]
    if len(missing) == len(given):
        return None
    if not issuer or not client_id or not secret:
        raise UpError(
            "--issuer, --client-id and --client-secret-file go together: "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    return RealIam(issuer, client_id, secret)
