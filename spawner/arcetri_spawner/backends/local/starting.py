"""The way from a grant to a server that answers; each step leaves something a restart can read."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from arcetri_spawner import killpoints
from arcetri_spawner.backends.base import Device, Launch, Session
from arcetri_spawner.backends.local import (
    accounts,
    interpreter,
    preparation,
    procs,
    readiness,
    volumes,
)
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.ending import Endings
from arcetri_spawner.backends.local.journal import Journal
from arcetri_spawner.backends.local.live import Live, record_of, session_of, start_record
from arcetri_spawner.backends.local.preparation import Prepared
from arcetri_spawner.backends.local.process import spawn
from arcetri_spawner.backends.local.sockets import listens_on
from arcetri_spawner.backends.progress import Progress
from arcetri_spawner.errors import DeviceUnavailable, StartFailed, StorageFull
from arcetri_spawner.folders import ownership
from arcetri_spawner.folders.making import Owner
from arcetri_spawner.identity import Numbers, NumberSource
from arcetri_spawner.policy.model import Grant

if TYPE_CHECKING:
    from arcetri_spawner.catalog import CatalogHolder
    from arcetri_spawner.catalog.models import Catalog
    from arcetri_spawner.store import Store


class ServerFailed(StartFailed):
    """The server ended or never answered.

    Attributes:
        details: The last lines it printed.
    """

    def __init__(self, message: str, *, remedy: str, details: str) -> None:
        super().__init__(message, remedy=remedy)
        self.details = details


class Starter:
    """Starts sessions; who watches them afterwards is the backend's."""

    def __init__(
        self,
        config: LocalConfig,
        store: Store,
        catalogs: CatalogHolder,
        journal: Journal,
        endings: Endings,
        numbers: NumberSource | None,
    ) -> None:
        self._config = config
        self._store = store
        self._catalogs = catalogs
        self._journal = journal
        self._endings = endings
        self._numbers = numbers
        self._ports: set[int] = set()

    @staticmethod
    def check_devices(granted: Sequence[Device], present: Sequence[Device]) -> None:
        """Refuse a start on a device that has gone since it was leased.

        Raises:
            DeviceUnavailable: One of ``granted`` is not there.
        """
        there = {device.uuid for device in present}
        for device in granted:
            if device.uuid not in there:
                raise DeviceUnavailable(
                    f"The device {device.uuid} ({device.model}) is not there any more.",
                    remedy="Start again: you get another one if one is free.",
                )

    async def prepare(
        self,
        grant: Grant,
        devices: Sequence[Device],
        launch: Launch,
        progress: Progress,
        *,
        alone: bool,
    ) -> Prepared:
        """Decide everything, and make the folders; nothing runs yet.

        Args:
            grant: What was granted.
            devices: What the session holds.
            launch: What JupyterHub wants.
            progress: Who is told.
            alone: Whether the person has no other session.

        Raises:
            StorageFull: There is no room to record the start.
            Conflict: IAM claims a numeric id that cannot be this person's.
            BackendError: A folder or the interpreter cannot be used.
        """
        progress.tell(10, _held(grant, devices))
        await self._endings.write_unwritten()
        await asyncio.to_thread(self._journal.prepare)
        catalog = self._catalogs.current.catalog
        private = ownership.private_volumes(catalog)
        account: accounts.Account | None = None
        owners: dict[str, Owner] = {}
        if self._config.accounts:
            needed = ownership.groups_needed(catalog, grant, private)
            claimed = await self._numbers.numbers(grant.username) if self._numbers else Numbers()
            ids = await self._store.posix_ids(
                grant.account_id,
                grant.username,
                needed.own | needed.folders,
                users=catalog.ids.users,
                groups_range=catalog.ids.groups,
                uid=claimed.uid,
                gids=claimed.gids,
            )
            own = {group: ids.gids[group] for group in sorted(needed.own)}
            account = accounts.Account(
                ids.uid, ids.gid, tuple(sorted(set(own.values()))), grant.username, own
            )
            owners = ownership.owners(
                catalog,
                grant.volumes,
                person=(ids.uid, ids.gid),
                gids=ids.gids,
                private=private,
                platform=os.geteuid(),
            )
        progress.tell(20, "Making your folders ready.")
        try:
            return await asyncio.to_thread(
                self._on_disk, grant, tuple(devices), launch, account, owners, catalog, alone
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(
                    "The disk of the platform's state folder is full, so nothing new can start.",
                    remedy="Running sessions go on. The operator frees space on that disk.",
                ) from error
            raise StartFailed(
                f"The session's folders could not be made: {error.strerror or error}.",
                code="folders_failed",
                remedy="The operator looks at the state folder's storage.",
            ) from error

    def _on_disk(
        self,
        grant: Grant,
        devices: tuple[Device, ...],
        launch: Launch,
        account: accounts.Account | None,
        owners: dict[str, Owner],
        catalog: Catalog,
        alone: bool,
    ) -> Prepared:
        preparation.check_disk(self._config)
        python = interpreter.resolve(
            grant.interpreter, hub_python=self._config.python, state_dir=self._config.state_dir
        )
        folder = preparation.make_folder(self._config, grant.request_id)
        storage = self._config.storage_dir
        storage.mkdir(parents=True, exist_ok=True)
        storage.chmod(0o711 if account else 0o700)
        sources = volumes.make_folders(
            storage, grant.volumes, owners=owners, shared_way=account is not None
        )
        own = Owner(account.uid, account.gid, 0o700) if account else None
        sources |= volumes.make_scratch(folder, grant.volumes, owner=own)
        view = preparation.view_of(
            self._config, grant, folder, sources, catalog, account=account, alone=alone
        )
        preparation.fill_folder(folder, view, account)
        ports = self._two_ports()
        return Prepared(grant, devices, launch, folder, view, python, account, ports)

    def _two_ports(self) -> tuple[int, int]:
        # Ports given out lately are not given again: their servers may not listen yet.
        first = readiness.free_port(frozenset(self._ports))
        second = readiness.free_port(frozenset(self._ports | {first}))
        if len(self._ports) > 2000:
            self._ports.clear()
        self._ports |= {first, second}
        return first, second

    async def spawn(self, prepared: Prepared) -> Live:
        """Start the keeper, record it, and let it start the server.

        Until the journal has the start, the keeper waits, and goes away with the hub.

        Raises:
            StoreError: It could not be recorded; nothing runs.
            StartFailed: The machine cannot start a process.
        """
        grant, devices = prepared.grant, prepared.devices
        killpoints.reach("start.prepared")
        keeper = spawn(grant.request_id, self._config.instance_id)
        started = datetime.now(UTC)
        record = record_of(
            grant,
            devices,
            keeper.key,
            ports=prepared.ports,
            port=prepared.ports[0],
            base_url=prepared.launch.base_url,
            started=started,
        )
        live = Live(session_of(record, record.port), keeper, prepared.folder)
        try:
            killpoints.reach("start.spawned")
            await self._store.save_session(record)
            killpoints.reach("start.recorded")
            start = start_record(grant, devices, keeper.key, started)
            # Shielded: a start that is cancelled here must know whether the record was written.
            writing = asyncio.ensure_future(asyncio.to_thread(self._journal.append_start, start))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.gather(writing, return_exceptions=True)
                raise
            killpoints.reach("start.journaled")
            keeper.release(preparation.orders(self._config, prepared))
            killpoints.reach("start.released")
        except BaseException:
            live.reason = "start_failed"
            # Without orders the keeper ends as soon as its input is closed.
            keeper.dismiss()
            await asyncio.shield(asyncio.ensure_future(self._endings.see_off(live)))
            raise
        return live

    async def bring_up(self, prepared: Prepared, live: Live, progress: Progress) -> Session:
        """Wait until the server answers.

        Raises:
            StartFailed: It ended, or said nothing for too long; the error carries its last lines.
        """
        progress.tell(40, "Starting the notebook server.")
        slowly = asyncio.create_task(_count(progress))
        try:
            found = await readiness.wait_until_ready(
                prepared.ports,
                prepared.launch.base_url,
                died=live.keeper.gone,
                is_ours=partial(_is_ours, self._config.instance_id, live),
                patience=self._config.start_timeout,
            )
        finally:
            slowly.cancel()
        if isinstance(found, readiness.Failure):
            raise await self._failure(prepared, live, found)
        if found != prepared.ports[0]:
            record = record_of(
                prepared.grant,
                prepared.devices,
                live.keeper.key,
                ports=prepared.ports,
                port=found,
                base_url=prepared.launch.base_url,
                started=live.session.started,
            )
            await self._store.save_session(record)
            live.session = session_of(record, found)
        killpoints.reach("start.answered")
        progress.tell(100, "Your notebook server is ready.", last=True)
        return live.session

    async def _failure(self, prepared: Prepared, live: Live, how: readiness.Failure) -> StartFailed:
        if how is readiness.Failure.DIED:
            # What ended it is read before the folder is cleared; the log stays.
            said = await asyncio.to_thread(preparation.read_exit, prepared.folder)
            message = f"The notebook server ended before it was ready{_how(said)}."
        else:
            message = (
                "The notebook server did not answer within"
                f" {self._config.start_timeout:.0f} seconds."
            )
        if live.reason:
            message = "The session was ended while it started."
        return ServerFailed(
            message,
            remedy=(
                "Start again. If it ends the same way, look for what the last lines of its log"
                " name, often a package or a setting in your home folder."
            ),
            details=await asyncio.to_thread(preparation.log_tail, prepared.folder),
        )


def _is_ours(instance_id: str, live: Live, port: int) -> bool:
    if listens_on(port, procs.family(live.keeper.key.pid)):
        return True
    members = procs.sessions_of(instance_id).get(live.session.id, [])
    return listens_on(port, [stat.pid for stat in members])


def _how(said: dict[str, object] | None) -> str:
    code = said.get("code") if said else None
    if not isinstance(code, int):
        return ""
    return f" (exit status {code})" if code >= 0 else f" (signal {-code})"


def _held(grant: Grant, devices: Sequence[Device]) -> str:
    if not devices:
        return "Starting without an accelerator, as you chose."
    names = ", ".join(
        f"{device.model or grant.flavor}{' (simulated)' if device.simulated else ''}"
        for device in devices
    )
    return f"A device is yours: {names}."


async def _count(progress: Progress) -> None:
    for seconds in range(5, 3600, 5):
        await asyncio.sleep(5)
        progress.tell(
            min(40 + seconds, 95), f"Waiting for the notebook server to answer ({seconds} s)."
        )
