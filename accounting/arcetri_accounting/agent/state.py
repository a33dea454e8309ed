"""The agent's state as it is kept: rows of what changes, what is new of it, and once the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, replace
from operator import attrgetter
from typing import Any, Final

from arcetri_accounting.agent.allocations import Ended
from arcetri_accounting.agent.books import Books, Holding
from arcetri_accounting.agent.presence import Known, Presences
from arcetri_accounting.agent.readings import Device
from arcetri_accounting.agent.segments import Piece
from arcetri_accounting.contract.usage import Allocation


def dump_holdings(books: Books) -> list[list[Any]]:
    """What changes of each holding; None stands for the boot that the state is of."""
    rows: list[list[Any]] = []
    for (session, device), one in books.holdings.items():
        piece = one.piece
        rows.append(
            [
                session,
                device,
                one.allocation.generation,
                None if one.boot_id == books.boot_id else one.boot_id,
                one.alive_at,
                [
                    piece.b0,
                    piece.offset,
                    piece.through,
                    piece.util_ms,
                    piece.busy,
                    piece.carry,
                    piece.occupied_ms,
                    piece.unobserved_ms,
                    piece.energy_mj,
                    piece.energy_method,
                    piece.mem_peak,
                ],
                None if one.end is None else astuple(one.end),
            ]
        )
    return rows


def dump_fixed(one: Holding | Known) -> str:
    """What does not change of a holding, or of a device that keeps its uuid.

    A device's weight may change, with MIG mode.
    """
    if isinstance(one, Known):
        return json.dumps(astuple(one.device))
    return json.dumps(
        {
            "allocation": one.allocation.model_dump(mode="json"),
            "username": one.username,
            "began": one.began,
            "pid": one.pid,
            "ticks": one.pid_start_ticks,
        }
    )


def load_holding(row: list[Any], boot: str, fixed: str) -> Holding:
    """A holding as it was, in a state of that boot."""
    _session, _device, generation, boot_id, alive_at, piece, end = row
    kept = json.loads(fixed)
    allocation = Allocation.model_validate({**kept["allocation"], "generation": generation})
    return Holding(
        allocation,
        kept["username"],
        boot if boot_id is None else boot_id,
        kept["began"],
        Piece(*piece),
        kept["pid"],
        kept["ticks"],
        alive_at,
        None if end is None else Ended(*end),
    )


_GROWS: Final = (
    "through",
    "util_ms",
    "busy",
    "occupied_ms",
    "unobserved_ms",
    "energy_mj",
    "energy_method",
    "mem_peak",
)
"""What changes of a piece where everything goes on."""
_grown: Final = attrgetter(*_GROWS)


def dump_news(books: Books, presences: Presences) -> dict[str, list[Any]]:
    """What is new of the rows where everything goes on, in their order: all that grows with time.

    It is a fourth of them, and kept once in each cycle.
    """
    return {
        "holdings": [[one.alive_at, *_grown(one.piece)] for one in books.holdings.values()],
        "devices": [known.through for known in presences.known.values()],
    }


def load_news(news: Mapping[str, list[Any]], books: Books, presences: Presences) -> None:
    """Bring what was loaded from rows up to what is new of them.

    Raises:
        ValueError: It is not of these rows.
    """
    for one, (alive_at, *grown) in zip(books.holdings.values(), news["holdings"], strict=True):
        one.alive_at = alive_at
        for name, value in zip(_GROWS, grown, strict=True):
            setattr(one.piece, name, value)
    for known, through in zip(presences.known.values(), news["devices"], strict=True):
        known.through = through


def dump_devices(presences: Presences) -> list[list[Any]]:
    """What changes of every known device."""
    return [
        [
            uuid,
            known.device.weight,
            known.generation,
            known.state,
            known.fresh,
            known.b0,
            known.offset,
            known.through,
        ]
        for uuid, known in presences.known.items()
    ]


def load_device(row: list[Any], fixed: str) -> Known:
    """A device as it was known."""
    return Known(replace(Device(*json.loads(fixed)), weight=row[1]), *row[2:])
