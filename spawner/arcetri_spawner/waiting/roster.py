"""Who is in the waiting room: one request or more of a server, found by either."""

from __future__ import annotations

from uuid import UUID

from arcetri_spawner.waiting.model import Entry


class Roster:
    """The requests that have not started yet, oldest first, in memory."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: dict[UUID, Entry] = {}
        self._by_server: dict[tuple[str, str], Entry] = {}

    def find(self, username: str, server_name: str) -> Entry | None:
        """The request of a server that has not started yet, if there is one."""
        entry = self._by_server.get((username, server_name))
        return None if entry is None or entry.starting else entry

    def get(self, request_id: UUID) -> Entry | None:
        """A request that has not started yet, if it is one."""
        entry = self._entries.get(request_id)
        return None if entry is None or entry.starting else entry

    def request_of(self, username: str, server_name: str) -> UUID | None:
        """The request of a server that has not started yet, or that a start has just taken."""
        entry = self._by_server.get((username, server_name))
        return entry.id if entry else None

    def known(self, request_id: UUID) -> Entry | None:
        """A request that has not started yet, or that a start has just taken."""
        return self._entries.get(request_id)

    def entries(self) -> list[Entry]:
        """Everybody, oldest first."""
        return list(self._entries.values())

    def _add(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._by_server[entry.server] = entry

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.id, None)
        if self._by_server.get(entry.server) is entry:
            del self._by_server[entry.server]
            # One that came first, and is still there, is found again.
            others = (one for one in self._entries.values() if one.server == entry.server)
            if other := next(others, None):
                self._by_server[entry.server] = other
