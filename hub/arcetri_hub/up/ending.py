"""Ending sessions when no hub runs: at the end of the platform, and for a fresh start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from arcetri_hub.settings import SETTINGS_VARIABLE, SettingsError, read_settings

_MODULE = "arcetri_hub.up.endsessions"


async def end_sessions(settings_file: Path, log: Path, hurry: asyncio.Event) -> None:
    """End every session of the platform that ``settings_file`` describes; its hub must be gone.

    A process of its own does it as the hub would, with leases, journal and reasons. Whatever that
    leaves running, because it failed or because of ``hurry``, is killed.
    """
    try:
        settings = await asyncio.to_thread(read_settings, settings_file)
    except SettingsError:
        return  # no platform got as far as starting anything
    if not hurry.is_set():
        await _as_the_hub_would(settings_file, log, hurry)
    from arcetri_spawner.backends.local.procs import end_instance

    await asyncio.to_thread(end_instance, settings.instance_id, grace=0.0)


async def _as_the_hub_would(settings_file: Path, log: Path, hurry: asyncio.Event) -> None:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _MODULE,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, SETTINGS_VARIABLE: str(settings_file)},
            start_new_session=True,
        )
    done = asyncio.ensure_future(process.wait())
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait((done, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not done.done():
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await done
