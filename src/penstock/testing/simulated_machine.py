"""The machine of a simulated engine: what takes how long, and what is cached. No I/O, no clock.

    Speed       how fast it is, and how much it holds
    Blocks      its KV cache
    Job         one request, and what becomes of it
    Machine     requests in, ticks out; it is told the time, so that tests need not sleep

The life of a request:

    waiting     first in, first out; the head waits for a place, for its blocks and for the prompt before it
    prefill     one prompt at a time at the full rate, without the blocks that are cached; ends with token 1
    decode      all sequences in step; a token takes `decode_s` and grows with their number at that moment

Its times are exact. What an answer adds to the cache is not kept, other than in vLLM: the next turn of the
conversation computes it with its question.
"""

import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast


@dataclass(frozen=True)
class Speed:
    """How fast the simulated machine is, and how much it holds."""

    prefill_tokens_s: float = 6000.0
    decode_s: float = 0.02  # per token of a sequence that runs alone
    decode_growth: float = 0.03  # more of it for each other sequence: decode_s * (1 + growth * (n - 1))
    decode_beside_prefill: float = 1.0  # factor on decode_s while a prompt is computed
    max_running: int = 64  # in prefill or decode
    kv_blocks: int = 16_384
    block_tokens: int = 16
    time_scale: float = 1.0  # all durations are divided by it

    def __post_init__(self) -> None:
        if min(self.prefill_tokens_s, self.time_scale) <= 0 or min(self.decode_s, self.decode_growth) < 0:
            raise ValueError("rates and time_scale must be above 0, durations and growth not below it")
        if self.decode_beside_prefill < 1:
            raise ValueError("decode_beside_prefill is a factor of at least 1")
        if min(self.max_running, self.kv_blocks, self.block_tokens) < 1:
            raise ValueError("max_running, kv_blocks and block_tokens must be at least 1")

    def prefill(self, tokens: int) -> float:
        """Seconds."""
        return tokens / self.prefill_tokens_s / self.time_scale

    def token(self, running: int, *, beside_prefill: bool = False) -> float:
        """Seconds between two tokens of one of so many sequences."""
        slowed = self.decode_beside_prefill if beside_prefill else 1.0
        return self.decode_s * (1 + self.decode_growth * (running - 1)) * slowed / self.time_scale


def block_hashes(text: str, size: int) -> tuple[int, ...]:
    """One hash per full block of `size` characters, each over its block and the hash before it.

    Python's own hash: a process may draw other values than the next, but only their equality is looked at.
    """
    found: list[int] = []
    before = 0
    for start in range(0, len(text) - size + 1, size):
        before = hash((before, text[start : start + size]))
        found.append(before)
    return tuple(found)


class Blocks:
    """The KV cache. Every block is free, idle (cached, nobody's), or pinned by the requests that run.

    A prompt's full blocks are shared by hash. What else a request needs, for the rest of its prompt and for
    its answer, is its own; it is set aside at once, so nothing is ever preempted, and is not cached.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._pinned: dict[int, int] = {}  # hash -> how many requests
        self._idle: OrderedDict[int, None] = OrderedDict()  # the least recently used first
        self._own = 0

    @property
    def pinned(self) -> int:
        return len(self._pinned) + self._own

    @property
    def cached(self) -> int:
        """Blocks that another request could share."""
        return len(self._pinned) + len(self._idle)

    @property
    def used(self) -> int:
        return self.pinned + len(self._idle)

    def known(self, hashes: Iterable[int]) -> int:
        """How many of the first ones are there."""
        count = 0
        for one in hashes:
            if one not in self._pinned and one not in self._idle:
                break
            count += 1
        return count

    def take(self, hashes: Sequence[int], own: int) -> bool:
        """Pin a prompt's blocks and `own` others, evicting idle ones; False, and no change, if it cannot."""
        idle = [one for one in hashes if one in self._idle]
        new = len(hashes) - len(idle) - sum(map(self._pinned.__contains__, hashes)) + own
        if self.pinned + len(idle) + new > self.capacity:
            return False
        for one in idle:
            del self._idle[one]
        pinned = self._pinned
        for one in hashes:
            pinned[one] = pinned.get(one, 0) + 1
        self._own += own
        while self.used > self.capacity:
            self._idle.popitem(last=False)
        return True

    def give_back(self, hashes: Sequence[int], own: int, computed: int | None = None) -> None:
        """Only the first `computed` stay cached. The end of a prompt is evicted before its beginning."""
        pinned, idle = self._pinned, self._idle
        keep = len(hashes) if computed is None else computed
        for index in range(len(hashes) - 1, -1, -1):
            one = hashes[index]
            if (count := pinned[one]) > 1:
                pinned[one] = count - 1
                continue
            del pinned[one]
            if index < keep:
                idle[one] = None
        self._own -= own


@dataclass(slots=True, eq=False)
class Job:
    """One request to the machine, and what the machine says of it: times are None until they are known."""

    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()  # of the prompt's full blocks
    marks: tuple[int, ...] = ()  # after how many tokens to tell; the first and the last are always told
    slow: float = 1.0  # factor on its own prefill and decode; the others are not held up by it

    arrived_at: float = 0.0
    cached_tokens: int = 0
    prefill_at: float | None = None
    first_at: float | None = None
    ended_at: float | None = None
    phase: Literal["new", "waiting", "prefill", "lag", "decode", "ended", "cancelled"] = "new"


class Tick(NamedTuple):
    """So many tokens of the job were out at that time."""

    job: Job
    at: float
    tokens: int

    @property
    def is_last(self) -> bool:
        return self.tokens == self.job.output_tokens


class Machine:
    """Requests in, ticks out. Each call takes the present time, which never goes back.

    `_decoded` counts the tokens a sequence has got that was there from the beginning of the busy period:
    sequences in step get theirs at the same moments, so one number that runs slower the more of them there
    are tells exactly when each is done, however often the batch changes on the way.
    """

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.blocks = Blocks(speed.kv_blocks)
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.queried_tokens = 0  # of prompts looked up in the cache, ever
        self.hit_tokens = 0
        self._now = -math.inf
        self._computing: Job | None = None
        self._timers: list[tuple[float, int, Job]] = []  # ends of prefill and of lag
        self._decoding = 0
        self._decoded = 0.0
        self._marks: list[
            tuple[float, int, int, Job]
        ] = []  # at which `_decoded`, and how many tokens that is
        self._serials = itertools.count()
        self._ticks: list[Tick] = []

    def submit(self, job: Job, now: float) -> None:
        """Raises ValueError for one that the machine can never hold."""
        if job.prompt_tokens < 1 or job.output_tokens < 1 or job.slow < 1:
            raise ValueError("a job has a prompt, an answer, and a `slow` of at least 1")
        if self._size(job) > self.speed.kv_blocks:
            raise ValueError(
                f"{job.prompt_tokens} tokens and {job.output_tokens} for the answer do not fit into "
                f"{self.speed.kv_blocks} blocks of {self.speed.block_tokens}"
            )
        self._run(now)
        job.arrived_at, job.phase = now, "waiting"
        self.waiting.append(job)
        self._admit()

    def cancel(self, job: Job, now: float) -> None:
        """Frees its place and its blocks; nothing for one that has ended."""
        self._run(now)
        match job.phase:
            case "waiting":
                self.waiting.remove(job)
            case "prefill":
                done = (now - cast(float, job.prefill_at)) * self.speed.prefill_tokens_s
                tokens = job.cached_tokens + int(done * self.speed.time_scale)
                self._computing = None
                self._leave(job, computed=tokens // self.speed.block_tokens)
            case "lag":
                self._leave(job)
            case "decode":
                self._decoding -= 1
                self._leave(job)
            case _:
                return
        job.phase = "cancelled"  # its timers and marks are dropped when they come up
        self._admit()

    def advance(self, now: float) -> list[Tick]:
        """What has happened until now, in order, since the last call."""
        self._run(now)
        ticks, self._ticks = self._ticks, []
        return ticks

    def next_at(self) -> float | None:
        """When `advance` will have something to do, if nothing arrives or leaves before; None if never."""
        while self._timers and self._timers[0][2].phase == "cancelled":
            heapq.heappop(self._timers)
        while self._marks and self._marks[0][3].phase == "cancelled":
            heapq.heappop(self._marks)
        at = self._timers[0][0] if self._timers else math.inf
        if self._marks:
            at = min(at, self._now + (self._marks[0][0] - self._decoded) * self._token())
        return None if at == math.inf else max(at, self._now)

    # -- one event after the other ---------------------------------------------------------------------

    def _run(self, until: float) -> None:
        while (at := self.next_at()) is not None and at <= until:
            if self._timers and self._timers[0][0] <= at:
                self._pass(at)
                self._timer(heapq.heappop(self._timers)[2])
            else:
                self._now = at
                self._decoded, _, tokens, job = heapq.heappop(
                    self._marks
                )  # exactly, without a rounding error
                self._tell(job, tokens)
            self._admit()
        self._pass(until)

    def _pass(self, until: float) -> None:
        """Time in which nothing happens but decoding."""
        if until <= self._now:
            return
        if self._decoding and (seconds := self._token()):
            self._decoded += (until - self._now) / seconds
        self._now = until

    def _token(self) -> float:
        return self.speed.token(self._decoding, beside_prefill=self._computing is not None)

    def _admit(self) -> None:
        """Start the next prompt, if there is one and there is room."""
        if self._computing is not None or not self.waiting or self.running >= self.speed.max_running:
            return
        job = self.waiting[0]
        cached = self.blocks.known(job.blocks) * self.speed.block_tokens
        if not self.blocks.take(job.blocks, self._size(job) - len(job.blocks)):
            return
        self.waiting.popleft()
        if cached >= job.prompt_tokens:  # the last token must be computed, or there is nothing to sample from
            cached -= self.speed.block_tokens
        job.cached_tokens, job.prefill_at, job.phase = cached, self._now, "prefill"
        self.queried_tokens += job.prompt_tokens
        self.hit_tokens += cached
        self.running += 1
        self._computing = job
        self._wake(job, self._now + self.speed.prefill(job.prompt_tokens - cached))

    def _wake(self, job: Job, at: float) -> None:
        heapq.heappush(self._timers, (at, next(self._serials), job))

    def _timer(self, job: Job) -> None:
        if job.phase == "prefill":
            self._computing = None
            if job.slow > 1:  # the prompt after it does not wait for that
                job.phase = "lag"
                lag = self.speed.prefill(job.prompt_tokens - job.cached_tokens) * (job.slow - 1)
                self._wake(job, self._now + lag)
                return
        self._decode(job)

    def _decode(self, job: Job) -> None:
        """The first token is out."""
        job.phase, job.first_at = "decode", self._now
        if not self._decoding:
            self._decoded = 0.0  # a busy period begins; marks that are left are of cancelled jobs
            self._marks.clear()
        self._decoding += 1
        for tokens in {*job.marks, job.output_tokens}:
            if 1 < tokens <= job.output_tokens:
                mark = self._decoded + (tokens - 1) * job.slow, next(self._serials), tokens, job
                heapq.heappush(self._marks, mark)
        self._tell(job, 1)

    def _tell(self, job: Job, tokens: int) -> None:
        if tokens == job.output_tokens:
            job.phase, job.ended_at = "ended", self._now
            self._decoding -= 1
            self._leave(job)
        self._ticks.append(Tick(job, self._now, tokens))

    def _leave(self, job: Job, computed: int | None = None) -> None:
        self.running -= 1
        self.blocks.give_back(job.blocks, self._size(job) - len(job.blocks), computed)

    def _size(self, job: Job) -> int:
        return -(-(job.prompt_tokens + job.output_tokens) // self.speed.block_tokens)
