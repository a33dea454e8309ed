"""Back in line: what an ended session's request is followed by, at its place."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from arcetri_spawner.policy.model import Grant


def successor(grant: Grant) -> Grant:
    """The request that goes back in line for one whose session was ended.

    A session has its request's id in the ledger, so that one cannot be used again. Who stands in
    line for it has the same place, and is decided about anew when their turn comes.
    """
    return replace(grant, request_id=uuid4(), earlier=(*grant.earlier, grant.request_id))
