"""A time limit for an answer over the network that does not take our being busy for the other's silence.

`asyncio.timeout` counts on while the event loop is busy with something else, or its process is not given a
core. Then the answer lies in the socket, but timers are looked at before sockets are: it would be lost.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

LATE_S: Final = 0.02  # a timer that fires so much later than it should: the loop was busy


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raises TimeoutError after `seconds`; twice as late where the loop was busy when they were over."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + seconds

    def look() -> None:
        is_late = loop.time() - due_s > LATE_S
        limit.reschedule(loop.time() + (seconds if is_late else 0.0))

    timer = loop.call_at(due_s, look)
    try:
        async with asyncio.timeout(None) as limit:
            yield
    finally:
        timer.cancel()
