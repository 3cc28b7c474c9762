"""One of all processes that share a database does what one is enough for: whoever holds the lease `control`.

The holder renews it three times within its length. One that cannot (the store fails or is silent, or somebody
else has it) stops what it does, at the latest when the lease would have run out; the next who asks goes on.
Who is stopped properly gives it back, so nobody waits for it to run out.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from penstock.lib import tasks
from penstock.lib.ids import new_id
from penstock.types.errors import StoreUnavailable
from penstock.types.store import Store, StoreLease

NAME: Final = "control"
TTL_S: Final = 30.0

_log = structlog.get_logger("penstock.control")


async def lead(store: Store, work: Callable[[], Awaitable[None]], *, ttl_s: float = TTL_S) -> None:
    """Runs `work`, which is never done, while this process leads; until it is cancelled."""
    holder = f"{socket.gethostname()}/{new_id('')}"
    while True:
        lease = await _asked(store.acquire_lease(NAME, holder, ttl_s))
        if lease is None:
            await asyncio.sleep(ttl_s / 3)
            continue
        _log.info("this process leads", holder=holder)
        try:
            await _while_held(store, lease, work, ttl_s)
        finally:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(ttl_s / 3):
                    await store.release_lease(lease)
        _log.info("this process leads no more", holder=holder)
        await asyncio.sleep(ttl_s * 2 / 3)  # longer than others wait between two questions: it is their turn


async def _while_held(
    store: Store, lease: StoreLease, work: Callable[[], Awaitable[None]], ttl_s: float
) -> None:
    running: tasks.Tasks = set()
    working = tasks.spawn(running, _run(work), "what one does for all")
    try:
        while not working.done():
            await asyncio.wait({working}, timeout=ttl_s / 3)
            held = await _asked(store.renew_lease(lease, ttl_s), within_s=ttl_s / 3)
            if held is None:
                return
            lease = held
    finally:
        await tasks.cancel_and_wait(working)
    working.result()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def _asked(
    question: Awaitable[StoreLease | None], *, within_s: float | None = None
) -> StoreLease | None:
    try:
        async with asyncio.timeout(within_s):
            return await question
    except (StoreUnavailable, TimeoutError) as exc:
        reason = str(exc) or f"no answer within {within_s:g} s"
        _log.warning("nobody knows who leads, as the store does not answer", reason=reason)
        return None
