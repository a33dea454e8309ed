"""One machine: sessions as processes, devices leased, a journal that an observer reads."""

from arcetri_spawner.backends.local.backend import LocalBackend
from arcetri_spawner.backends.local.config import LocalConfig
from arcetri_spawner.backends.local.procs import end_instance
from arcetri_spawner.backends.local.queue import LocalQueue

__all__ = ["LocalBackend", "LocalConfig", "LocalQueue", "end_instance"]
