"""Who the primary is, as Redis Sentinel tells it.

Sentinels are asked in turn, and each time the next one first: one that is silent, or has not heard of a
failover yet, is not asked twice in a row, even where who asks gives up before the others had their turn.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unreachable
from redis.exceptions import RedisError

ANSWER_S: Final = 1.0  # for one of them


class Sentinels:
    """urls: theirs, as redis-py reads them. master: what they call the primary and its replicas."""

    def __init__(self, urls: Sequence[str], master: str) -> None:
        self._pools: list[Any] = [
            ConnectionPool.from_url(
                url,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                protocol=2,
                driver_info=None,
            )
            for url in urls
        ]
        self._master = master
        self._next = 0

    async def primary(self) -> tuple[str, int]:
        """Host and port. Raises redis' ConnectionError, which says what each of them said."""
        said: list[str] = []
        for _ in self._pools:
            pool = self._pools[self._next]
            self._next = (self._next + 1) % len(self._pools)
            link = pool.make_connection()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await link.connect()
                    await link.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
                    found = await link.read_response()
            except (RedisError, OSError, TimeoutError) as exc:
                said.append(f"{link.host}:{link.port}: {str(exc) or 'no answer'}")
                continue
            finally:
                await link.disconnect()
            if found is not None:
                return str(found[0]), int(found[1])
            said.append(f"{link.host}:{link.port} knows no master {self._master!r}")
        raise Unreachable(f"no sentinel tells the primary ({'; '.join(said)})")
