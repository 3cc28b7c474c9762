"""A race of two attempts that is left by its client at any moment: nothing runs on, and all is accounted."""

import asyncio
import contextlib
from collections.abc import Sequence

from penstock.gateway.hedge import Emit, _Race
from penstock.lib import tasks
from penstock.providers.openai import OpenAICodec
from penstock.types.call import Attempt, Call
from penstock.types.deployment import Deployment, Labels, Route, Target
from penstock.types.events import Chunk, Delta
from penstock.types.usage import Usage

WINNER, LOSER = (
    Target(Deployment(name, name, OpenAICodec(), frozenset({"chat"})), Labels("m", name))
    for name in ("winner", "loser")
)
ROUTE = Route("m", (WINNER, LOSER))
USED = {"winner": Usage(10, 5), "loser": Usage(10, 0)}


async def emit(deltas: Sequence[Delta]) -> None:
    """To the client."""


class Attempts:
    """Each needs a while to be cancelled, and says then what it used."""

    def __init__(self) -> None:
        self.running = 0

    async def __call__(self, call: Call, target: Target, route: Route, emit: Emit) -> None:
        name = target.deployment.name
        attempt = Attempt(name, name, 0.0)
        call.attempts.append(attempt)
        self.running += 1
        try:
            if name == "winner":
                attempt.is_told = True
                await emit([Chunk({})])
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(3):
                await asyncio.sleep(0)
            attempt.usage = call.usage = USED[name]
            self.running -= 1
            raise


async def left_in_the_end(*targets: Target) -> tuple[Call, int]:
    """The call after its client left while its race was being cleared away, and what still runs of it."""
    attempts = Attempts()
    call = Call("req_1", "/v1/chat/completions", "chat", 0.0, 0)
    race = _Race(call, ROUTE, emit, attempts)
    for target in targets:
        race.start(target, "")
    await race.is_over(None)
    stopping: tasks.Tasks = set()
    stop = tasks.spawn(stopping, race.stop(), "stop")
    await asyncio.sleep(0)
    stop.cancel()
    await asyncio.wait((stop,))
    return call, attempts.running


async def test_what_the_winner_used_is_known() -> None:
    call, running = await left_in_the_end(WINNER)
    assert (call.usage, running) == (USED["winner"], 0)


async def test_the_loser_is_gone_and_accounted() -> None:
    call, running = await left_in_the_end(LOSER, WINNER)
    assert running == 0
    assert call.usage == USED["winner"]
    assert [(one.deployment, one.is_told, one.usage) for one in call.attempts] == [
        ("winner", True, USED["winner"]),
        ("loser", False, USED["loser"]),
    ]


async def test_a_loser_that_missed_its_cancellation_ends_all_the_same() -> None:
    async def attempt(call: Call, target: Target, route: Route, emit: Emit) -> None:
        if target is LOSER:
            with contextlib.suppress(asyncio.CancelledError):  # as asyncio.wait_for may
                await asyncio.Event().wait()
        await emit([Chunk({})])

    race = _Race(Call("req_1", "/v1/chat/completions", "chat", 0.0, 0), ROUTE, emit, attempt)
    race.start(LOSER, "")
    race.start(WINNER, "")
    await race.is_over(None)
    await race.finish([])
    await race.stop()
