"""What the supervisor makes of what workers say."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.fleet import PoolStatus
from penstock.telemetry import sums
from penstock.telemetry.metrics import SUBJECT as METRICS
from penstock.telemetry.sums import Families, Family
from penstock.types.deployment import ReplicaView
from penstock.types.errors import PenstockError
from penstock.workers.hub import Hub, Worker
from penstock.workers.link import Link
from penstock.workers.messages import Accepting, Answer, Answers, Any_, Ask, Busy
from penstock.workers.totals import Totals


class NoEngines:
    newest_s = -math.inf

    def status(self) -> list[PoolStatus]:
        return []

    def replicas(self, pool: str) -> tuple[ReplicaView, ...]:
        raise AssertionError(pool)

    def unready(self, pool: str) -> PenstockError:
        raise AssertionError(pool)

    def suspect(self, replica: ReplicaView) -> None:
        raise AssertionError(replica)


class Reads:
    """In the place of a link."""

    is_behind = False


class Listening(Worker):
    """A worker that keeps what it is sent."""

    def __init__(self, number: int) -> None:
        super().__init__(number, number)
        self.link = cast("Link", Reads())
        self.sent: list[Any_] = []
        self.got = asyncio.Event()

    def send(self, message: Any_) -> None:
        self.sent.append(message)
        self.got.set()

    async def next(self, kind: type[Any_]) -> Any_:
        while not (found := [one for one in self.sent if isinstance(one, kind)]):
            self.got.clear()
            await self.got.wait()
        self.sent.remove(found[0])
        return found[0]


def counted(value: float) -> bytes:
    return sums.encode([Family("penstock_x", "X", "counter", [("penstock_x_total", (), value)])])


def crew(*numbers: int) -> tuple[Hub, list[Listening]]:
    hub = Hub(NoEngines(), Totals(Families), lambda _: None)
    workers = [Listening(number) for number in numbers]
    for worker in workers:
        hub.joined(worker)
        hub.heard(worker, Accepting())
    return hub, workers


async def scraped(hub: Hub, asker: Listening, own: float, others: dict[Listening, float]) -> float:
    """What a scrape at `asker` shows, when these answer."""
    hub.heard(asker, Ask(1, METRICS, counted(own), 5.0))
    for other, value in others.items():
        ask = await other.next(Ask)
        assert isinstance(ask, Ask)
        hub.heard(other, Answer(ask.number, counted(value)))
    return await shown(asker, own)


async def shown(asker: Listening, own: float) -> float:
    said = await asker.next(Answers)
    assert isinstance(said, Answers)
    added = sums.summed(sums.decode(body) for body in (counted(own), *said.bodies))
    return sum(value for family in added for _, _, value in family.samples)


async def test_who_dies_between_its_answer_and_the_last_one_is_counted_once() -> None:
    hub, (first, second, third) = crew(1, 2, 3)
    assert await scraped(hub, first, 1, {second: 10, third: 100}) == 111
    hub.heard(first, Ask(2, METRICS, counted(1), 5.0))
    asks = [await one.next(Ask) for one in (second, third)]
    assert isinstance(asks[0], Ask)
    hub.heard(second, Answer(asks[0].number, counted(20)))
    hub.left(second)
    hub.heard(third, Answer(asks[0].number, counted(100)))
    assert await shown(first, 1) == 121
    assert await scraped(hub, first, 1, {third: 100}) == 121


async def test_who_asks_and_dies_is_counted_once() -> None:
    hub, (first, second) = crew(1, 2)
    assert await scraped(hub, first, 5, {second: 10}) == 15
    hub.heard(first, Ask(2, METRICS, counted(7), 5.0))
    hub.left(first)
    asked = await second.next(Ask)
    assert isinstance(asked, Ask)
    hub.heard(second, Answer(asked.number, counted(10)))
    assert await scraped(hub, second, 10, {}) == 17


async def test_who_hangs_is_not_waited_for_where_one_knows() -> None:
    hub, (first, second, _) = crew(1, 2, 3)
    hub.heard(first, Ask(1, "responses", b"where is it?", 3600.0, one_knows=True))
    asked = await second.next(Ask)
    assert isinstance(asked, Ask)
    hub.heard(second, Answer(asked.number, b"here"))
    assert await first.next(Answers) == Answers(1, [b"here"])


REPLICAS = st.sampled_from(["a#0:9", "b#0:9", "c#0:9"])
BUSY = st.builds(
    Busy,
    st.dictionaries(REPLICAS, st.tuples(st.integers(1, 9), st.integers(0, 99))),
    st.dictionaries(REPLICAS, st.integers(1, 9)),
)


@given(said=st.lists(BUSY, min_size=1, max_size=5))
def test_each_hears_the_sum_of_what_the_others_have(
    said: list[Busy], strictly: Callable[[Callable[[], Awaitable[Any]]], None]
) -> None:
    async def check() -> None:
        hub, workers = crew(*range(len(said) + 1))  # one of them has nothing, ever
        for worker, busy in zip(workers, said, strict=False):
            hub.heard(worker, busy)
        hub._tell_busy()
        for at, worker in enumerate(workers):
            others = said[:at] + said[at + 1 :]
            load: Counter[str] = Counter()
            tokens: Counter[str] = Counter()
            held: Counter[str] = Counter()
            for one in others:
                load.update({replica: calls for replica, (calls, _) in one.load.items()})
                tokens.update({replica: number for replica, (_, number) in one.load.items()})
                held.update(one.held)
            told = Busy({replica: (load[replica], tokens[replica]) for replica in load}, dict(held))
            assert worker.told == told

    strictly(check)


async def test_many_that_change_at_once_are_told_of_once() -> None:
    hub, workers = crew(*range(32))
    for at, worker in enumerate(workers):
        worker.sent.clear()
        hub.heard(worker, Busy({"a#0:9": (at + 1, 5)}, {}))
    while not workers[0].sent:
        await asyncio.sleep(0.001)
    total = sum(range(1, 33))
    for at, worker in enumerate(workers):
        assert worker.sent == [Busy({"a#0:9": (total - at - 1, 31 * 5)}, {})]
