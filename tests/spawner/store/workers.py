"""What other processes do to a store while a test watches: ``python workers.py WHAT URL ...``.

Each line printed tells of something that the store has acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID, uuid4

from arcetri_spawner.errors import Denied, StoreError
from arcetri_spawner.policy.model import Grant
from arcetri_spawner.store import Store
from tests.support.builders import CMS, device, grant


def say(*words: object) -> None:
    """Tell the test, at once."""
    print(*words, flush=True)  # noqa: T201 - the way to the test


async def ask(store: Store, account_id: str, count: int) -> None:
    """Ask for many servers of one person at once, who may hold three."""

    async def one(number: int) -> None:
        asked = grant(
            account_id=account_id,
            server_name=f"{uuid4()}-{number}"[:40],
            sessions_limit=3,
            requests_limit=50,
        )
        try:
            await store.open_request(asked)
        except Denied as error:
            say("denied", error.code)
        else:
            say("opened", asked.request_id)

    await asyncio.gather(*(one(number) for number in range(count)))


async def take(store: Store, request_ids: list[UUID]) -> None:
    """Lease one of three devices for each request, with a quota of two."""

    async def one(request_id: UUID) -> None:
        taken = await store.lease(request_id, "t4", [device(n) for n in range(3)], quota=(CMS, 2))
        say("leased", request_id, taken.uuid if taken else "-")

    await asyncio.gather(*(one(request_id) for request_id in request_ids))


async def churn(store: Store, number: int) -> None:
    """Start and end sessions without pause, until killed."""
    account = await store.account_for("i", f"sub-{number}-{uuid4()}", f"user-{number}")
    say("account", account.id, account.name)
    while True:
        asked: Grant = grant(account_id=account.id, username=account.name, sessions_limit=1)
        await store.open_request(asked)
        say("opened", asked.request_id)
        await store.lease(asked.request_id, "t4", [device(n) for n in range(2)], quota=None)
        await store.mark(asked.request_id, "running")
        say("running", asked.request_id)
        await store.free(asked.request_id)
        await store.mark(asked.request_id, "ended", reason="stopped")
        say("ended", asked.request_id)


async def main(what: str, url: str, arguments: list[str]) -> None:
    """Do one of the above with several stores at once."""
    stores = [Store.open(url) for _ in range(2)]
    say("ready")
    if what != "churn":
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    try:
        match what:
            case "ask":
                account_id, count = arguments
                await asyncio.gather(*(ask(store, account_id, int(count)) for store in stores))
            case "take":
                ids = [UUID(argument) for argument in arguments]
                await asyncio.gather(*(take(store, ids) for store in stores))
            case "churn":
                await asyncio.gather(*(churn(store, n) for n, store in enumerate(stores)))
    except StoreError as error:
        say("failed", error.code)
        raise
    for store in stores:
        store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
