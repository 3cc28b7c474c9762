"""How a gateway process reaches the others of the same server, where there are several (penstock/workers)."""

from collections.abc import Awaitable, Callable
from typing import Protocol

# body -> what this process has to say to it; None: nothing
Answering = Callable[[bytes], Awaitable[bytes | None]]
Hearing = Callable[[bytes], None]


class Others(Protocol):
    """`subject` says who is meant: a part of the gateway, the same one in each process."""

    @property
    def number(self) -> int:
        """Which of them this process is."""
        ...

    async def ask(
        self, subject: str, body: bytes, wait_s: float = 5.0, *, one_knows: bool = False
    ) -> list[bytes]:
        """What the other processes answered within that time. Who has nothing to say is not in it.

        one_knows: nobody is waited for once there is an answer.
        """
        ...

    def tell(self, subject: str, body: bytes) -> None:
        """To all others; nobody answers, and who is not there now never hears it."""
        ...

    def answers(self, subject: str, answer: Answering) -> None:
        """How this process answers the others' questions."""
        ...

    def hears(self, subject: str, hear: Hearing) -> None:
        """What it does with their news."""
        ...
