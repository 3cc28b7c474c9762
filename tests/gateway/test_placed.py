"""Where prompts are, as the accounts of two processes of one server have it."""

import asyncio
from typing import Any

from penstock.gateway.balance import Balance, Prompt
from penstock.types.call import Call
from penstock.types.deployment import Address, Deployment, ReplicaView

CODEC: Any = None  # never called here
POOLED = Deployment("own", "m", CODEC, frozenset({"chat"}), pool="p", is_balanced=True)


class Wire:
    """Brings what one process says to the other, at once."""

    def __init__(self, other: Balance) -> None:
        self._other = other
        self.told = asyncio.Event()

    def hears(self, subject: str, hearing: Any) -> None:
        """One way is enough."""

    def tell(self, subject: str, body: bytes) -> None:
        self._other._hear(body)
        self.told.set()


async def test_a_replica_that_is_started_again_has_forgotten_everything() -> None:
    here, there = Balance(), Balance()
    wire: Any = Wire(there)
    here.join(wire)
    for port in (1, 2):
        call = Call("c", "", "chat", 0.0, 0)
        call.prompt = Prompt([1, 2, 3], 768)
        view = ReplicaView("p#0", "ready", Address(port=port))
        here.load.release(here.placed(call, POOLED, view))
        await wire.told.wait()
        wire.told.clear()
    for balance in (here, there):
        assert balance.index.match([1, 2, 3]) == {"p#0:2": 3}
        assert len(balance.index) == 3
