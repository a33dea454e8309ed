"""Writers in a cluster: each sends its pod's projected token, and the API server says whose it is.

An agent's token says which node its pod runs on, so one agent can never write for another's node,
whatever it claims. Nothing about a token is kept but its digest, for a minute.
"""

from __future__ import annotations

import hashlib
from typing import Final

import anyio.to_thread
import structlog
from anyio import CapacityLimiter

from arcetri_accounting.client.apiserver import ApiServer, NotInCluster
from arcetri_accounting.client.tokenreview import (
    Caller,
    ReviewAway,
    TokenRefused,
    TokenReviewer,
)
from arcetri_accounting.ledger.credentials import (
    AgentCredential,
    Credential,
    Credentials,
    WitnessCredential,
)
from arcetri_accounting.ledger.errors import Forbidden, Refused, ReviewUnavailable, Unauthorized
from arcetri_accounting.ledger.settings import LedgerSettings

_ASKED_AT_ONCE: Final = 4
_log = structlog.get_logger("arcetri.ledger")


class Writers:
    """Everybody who may write: those of the credentials file, and those that the cluster knows."""

    def __init__(self, settings: LedgerSettings) -> None:
        """Read the file, and find the API server where accounts of the cluster may write.

        Raises:
            Refused: One of the two cannot be used.
        """
        self.file = Credentials(settings.credentials)
        self._agents = frozenset(settings.agent_accounts)
        self._witnesses = dict(settings.witness_accounts)
        self._reviewer: TokenReviewer | None = None
        self._limiter: CapacityLimiter | None = None
        if self._agents or self._witnesses:
            try:
                server = ApiServer.of_pod(mounted=settings.service_account)
            except NotInCluster as error:
                raise Refused(
                    f"Accounts of a cluster may write, and the ledger runs in none: {error}",
                    code="not_in_cluster",
                    remedy="Outside of a cluster, give writers a --credentials file instead.",
                ) from None
            self._reviewer = TokenReviewer(settings.audience, server)

    def knows(self, token: str) -> bool:
        """Whether it is anybody's, as far as that is known without asking."""
        reviewer = self._reviewer
        return self.file.knows(token) or (reviewer is not None and reviewer.knows(token))

    async def find(self, token: str) -> Credential:
        """Whose token it is.

        Raises:
            Unauthorized: Nobody's.
            Forbidden: Somebody's who may not write here.
            ReviewUnavailable: The API server cannot be asked now.
        """
        reviewer = self._reviewer
        if reviewer is None or self.file.knows(token):
            return self.file.find(token)
        if self._limiter is None:
            self._limiter = CapacityLimiter(_ASKED_AT_ONCE)
        try:
            caller = await anyio.to_thread.run_sync(reviewer.review, token, limiter=self._limiter)
        except TokenRefused as error:
            raise Unauthorized(
                f"The token is none of a writer's: {error}.",
                remedy="Send the pod's projected token for the ledger's audience, as it is in its"
                " file now, or one that the credentials file has the SHA-256 of.",
            ) from None
        except ReviewAway as error:
            _log.warning("token_not_reviewed", why=str(error))
            raise ReviewUnavailable(
                "The ledger cannot find out whose token this is: the cluster's API server does not"
                " say.",
                remedy="Keep what is to be delivered, and send it again.",
            ) from None
        return self._credential(caller, hashlib.sha256(token.encode()).hexdigest())

    def close(self) -> None:
        """Close the connection to the API server."""
        if self._reviewer is not None:
            self._reviewer.close()

    def _credential(self, caller: Caller, digest: str) -> Credential:
        if caller.name in self._witnesses:
            writer = self._witnesses[caller.name]
            return WitnessCredential(sha256=digest, role="witness", writer=writer)
        if caller.name not in self._agents:
            raise Forbidden(
                f"The service account {caller.name} may not write here.",
                code="account_unknown",
                remedy="Name it in the ledger's settings, if it is an agent's or the hub's.",
            )
        if not caller.node:
            raise Forbidden(
                "The token says of no node that its pod runs there.",
                code="node_unknown",
                remedy="Let the agent send the projected token of its own pod.",
            )
        return AgentCredential(sha256=digest, role="agent", node=caller.node)
