"""Lines, however they were cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator


class Lines:
    """Puts together what was cut; what comes after the last newline is waited for."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def take(self, piece: bytes) -> Iterator[bytes]:
        """The lines that are whole with this piece, without empty ones."""
        *whole, rest = piece.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._rest, whole[0]))
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        yield from (line for line in whole if line.strip())
