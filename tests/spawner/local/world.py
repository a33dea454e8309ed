"""A local backend with its store and catalog, in a folder of its own, and what tests ask of it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from arcetri_accounting.contract.journal import LeaseEnded, LeaseStarted, parse_journal_line
from arcetri_spawner.backends.base import Launch, Session, Ticket
from arcetri_spawner.backends.local import LocalBackend, LocalConfig, LocalQueue, end_instance
from arcetri_spawner.catalog import CatalogHolder
from arcetri_spawner.groups import EVERYONE, GroupPath
from arcetri_spawner.identity import Numbers
from arcetri_spawner.policy.model import Grant, MountedVolume
from arcetri_spawner.store import Store
from tests.support import builders

CMS = GroupPath("/lab/cms")

FAKE_SERVER = Path(__file__).with_name("fake_server.py")
HOME = MountedVolume("home", "Home", "/home/alice", "shared", "home/alice", read_only=False)


CATALOG = """
version: 1
site: {name: Lab}
defaults: {idle: 1h, lifetime: 3d, hold: 10m, grace: 5m, stop: 30s}
ids: {users: 200000-299999, groups: 300000-309999}
everyone: {flavors: [cpu], volumes: [home]}
flavors:
  t4: {title: NVIDIA T4, resource: nvidia.com/gpu, nodes: {nvidia.com/gpu.product: Tesla-T4}}
  a100: {title: A100, resource: nvidia.com/gpu, nodes: {nvidia.com/gpu.product: NVIDIA-A100}}
  a100-1g:
    title: A100 slice
    resource: nvidia.com/mig-1g.5gb
    share: 1/7
    nodes: {nvidia.com/gpu.product: NVIDIA-A100}
  v70: {title: AMD Alveo V70, type: fpga, resource: amd.com/v70}
  cpu: {title: No accelerator}
sizes:
  small: {cpu: 2, memory: 8Gi}
environments:
  python: {title: Python, local: default}
  torch: {title: PyTorch, image: registry.example/torch:1}
volumes:
  home: {mount: "/home/{username}", claim: shared, path: "home/{username}"}
  data: {mount: /data/cms, claim: shared, path: groups/cms, mode: ro}
  data-rw: {mount: /curate/cms, claim: shared, path: groups/cms}
  work: {mount: /projects/cms, claim: shared, path: groups/cms-work}
groups:
  /lab/cms/data: {flavors: {cpu: {}}, volumes: [data-rw]}
  /lab/cms: {flavors: {t4: {}, a100: {}, a100-1g: {}, v70: {}}, volumes: [data, work]}
local: {cpu_sessions: 2, simulate: {SIMULATE}}
"""


def catalog_text(**simulated: int) -> str:
    """A small catalog with some devices simulated; an underscore stands for a dash."""
    counts = ", ".join(f"{name.replace('_', '-')}: {n}" for name, n in simulated.items())
    return CATALOG.replace("{SIMULATE}", f"{{{counts}}}")


def interpreter(folder: Path, python: str = sys.executable, server: Path = FAKE_SERVER) -> Path:
    """A file that stands for an environment's interpreter and runs the fake server."""
    path = folder / "fake-python"
    path.write_text(f'#!/bin/sh\nexec {python} -I -S {server} "$@"\n')
    path.chmod(0o755)
    return path


class Claims:
    """What IAM claims of people's numeric ids; nothing, until a test says so."""

    def __init__(self) -> None:
        self.of: dict[str, Numbers] = {}

    async def numbers(self, username: str) -> Numbers:
        return self.of.get(username, Numbers())


class World:
    """Everything that one hub would hold."""

    def __init__(self, folder: Path, catalog: str = "", **config: Any) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.claims = Claims()
        self.interpreter = interpreter(folder)
        self.config = LocalConfig(
            state_dir=self.state,
            instance_id=config.pop("instance_id", folder.name.encode().hex()[:32]),
            start_timeout=config.pop("start_timeout", 20.0),
            **config,
        )
        self.store = Store.open(f"sqlite:///{self.state / 'arcetri.sqlite'}")
        self.profiles = folder / "profiles.yaml"
        self.profiles.write_text(catalog or catalog_text(t4=2))
        self.catalogs = CatalogHolder(self.profiles)
        self.backend = LocalBackend(self.config, self.store, self.catalogs, self.claims)
        self.queue = LocalQueue(self.backend, self.store, self.catalogs)

    def edit(self, text: str) -> None:
        """Change the catalog, as the admins would."""
        self.profiles.write_text(text)
        assert self.catalogs.reload().changed

    async def close(self) -> None:
        await self.backend.close()
        self.store.close()

    async def grant(self, name: str = "alice", flavor: str = "t4", **changes: Any) -> Grant:
        """A grant to an account that exists, its request open."""
        account = await self.store.account_for("https://iam.example/", f"sub-{name}", name)
        values: dict[str, Any] = {
            "account_id": account.id,
            "username": name,
            "flavor": flavor,
            "interpreter": str(self.interpreter),
            "volumes": (HOME,) if name == "alice" else (),
            "flavor_type": "cpu" if flavor == "cpu" else "gpu",
            "group": EVERYONE if flavor == "cpu" else CMS,
            "sessions_limit": 100,
            "requests_limit": 100,
            **changes,
        }
        grant = builders.grant(**values)
        await self.store.open_request(grant)
        return grant

    async def ticket(self, grant: Grant) -> Ticket:
        return await self.queue.submit(grant)

    async def start(self, grant: Grant, **env: str) -> Session:
        """Submit, mark and start, as the service does."""
        ticket = await self.queue.submit(grant)
        await self.store.mark(grant.request_id, "starting")
        session = await self.backend.start(grant, ticket, launch(**env))
        await self.store.mark(grant.request_id, "running")
        return session

    def journal(self) -> list[LeaseStarted | LeaseEnded]:
        return read_journal(self.config.journal_path)

    def log_of(self, session_id: UUID) -> str:
        return (self.config.sessions_dir / str(session_id) / "log").read_text()


@asynccontextmanager
async def recovered(folder: Path, **config: Any) -> AsyncIterator[World]:
    """A hub that has recovered; whatever still runs at the end is killed."""
    instance = uuid4().hex
    world = World(folder, instance_id=instance, **config)
    try:
        await world.backend.recover()
        yield world
    finally:
        await world.close()
        end_instance(instance, grace=0.0)


def launch(**env: str) -> Launch:
    """What JupyterHub would ask for."""
    return Launch(
        args=("--flag",),
        env={"JUPYTERHUB_API_TOKEN": "session-token", **env},
        base_url="/user/alice/",
    )


def read_journal(path: Path) -> list[LeaseStarted | LeaseEnded]:
    return [parse_journal_line(line) for line in path.read_bytes().splitlines()]


def acknowledge(path: Path, seq: int) -> None:
    """Say, as the observer, that everything up to ``seq`` is stored."""
    Path(f"{path}.ack").write_text(json.dumps({"observer": "test", "seq": seq}))


def facts(session: Session) -> dict[str, Any]:
    """What the fake server says of itself."""
    found: dict[str, Any] = httpx.get(f"{session.url}/user/alice/facts", trust_env=False).json()
    return found


def run(session: Session, script: str) -> tuple[int, str]:
    """The exit status and output of a shell script that the fake server runs in its session."""
    url = f"{session.url}/user/alice/run?{quote(script)}"
    done = httpx.get(url, trust_env=False).json()
    return int(done["code"]), done["out"] + done["err"]
