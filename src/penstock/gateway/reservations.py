"""Limits and budgets along the walk: reserved before a call is sent, extended while it streams, settled once.

    reserve       for the key, its team and the route: all of it or RateLimitExceeded, BudgetExceeded ...
    attempt       for a deployment and its provider; a refusal sends the call to the next target
    extending     a stream that says more than was reserved reserves more, or ends by the same errors
    settle        what was used: what the upstream said, else what was counted

How much a call will take is not known before it ends. Reserved are the prompt, estimated by the bytes of
its text, and as many tokens as 95 % of the route's answers stay below, or the client wants at most: so a
client that asks for 64k tokens under a limit of 20k is served, and the limit holds all the same. An answer
that is not streamed may take more than was reserved for it: that is booked, and the next call waits for it.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import structlog

from penstock.gateway.alerts import Alerts
from penstock.gateway.consumed import size_of
from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.providers.openai_completions import expected_choices, media_bytes
from penstock.telemetry.metrics import LedgerRow
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Route
from penstock.types.errors import (
    BudgetExceeded,
    ConcurrencyLimitExceeded,
    LimitsUnavailable,
    PenstockError,
    RateLimitExceeded,
    UpstreamRateLimited,
)
from penstock.types.events import Delta
from penstock.types.ledger import Claim, Cost, Lease, Ledger, LedgerUnavailable, Refusal
from penstock.types.money import format_usd
from penstock.types.requests import ChatRequest, CompletionRequest, Request

TTL_S = 60.0  # a lease that nobody hears of for so long is that of a process that died
BEAT_S = TTL_S / 4
BEAT_TOGETHER = 250  # leases: a store does nothing else meanwhile, and has to answer in time
BYTES_PER_TOKEN = 4
LARGE_BYTES = 8 * 1024  # a body above it may be large for the media in it
USUAL_ANSWER = 256.0  # tokens, until a route has had answers
MORE_TOKENS = 256  # that a stream reserves at a time
OPENAI = "openai"  # a dialect
QUANTILE = 0.95
STEP = 0.1  # of the learned quantile, by which one answer moves it
UP, DOWN = 1 + STEP * QUANTILE, 1 - STEP * (1 - QUANTILE)

RETRY_S = 1.0  # after which a call of the same caller may have ended
_SETTLED_IN_S = 5.0  # when the server stops

_log = structlog.get_logger("penstock.gateway")

Emit = Callable[[Sequence[Delta]], Awaitable[None]]


class Needs(msgspec.Struct, frozen=True, gc=False):
    """What a call is expected to take, and what of that is its answer: tokens, and pico-USD for each.

    choices: how many answers it asks for.
    """

    cost: Cost
    answer: int = 0
    answer_price: int = 0
    choices: int = 1

    def without_answer(self) -> "Needs":
        """The answer is reserved as it comes."""
        tokens, pico = self.cost.tokens - self.answer, self.cost.pico_usd - self.answer * self.answer_price
        return Needs(Cost(1, tokens, pico), 0, self.answer_price, self.choices)


_NOTHING = Needs(Cost(1))
_ANSWERED = (ChatRequest, CompletionRequest)  # a union would be made anew for each call


class Reservations:
    """One per process. `is_shared`: the ledger is elsewhere, so nobody waits until a call is settled."""

    def __init__(
        self, ledger: Ledger, clock: Clock, *, alerts: Alerts | None = None, is_shared: bool = False
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._alerts = alerts
        self._is_shared = is_shared
        self._held: dict[Lease, int] = {}  # pico-USD that it reserved
        self._settling: tasks.Tasks = set()
        self._answers: dict[str, float] = {}  # route -> tokens that 95 % of its answers stay below
        self._refused: dict[tuple[str, str], int] = {}  # (kind of scope, resource) -> how often

    # -- of the caller

    async def reserve(self, call: Call, request: Request, route: Route) -> None:
        """Raises RateLimitExceeded, ConcurrencyLimitExceeded, BudgetExceeded, LimitsUnavailable."""
        key = call.key
        claims = route.claims
        if key is not None:
            claims = key.claims + claims
            if key.model_claims:
                claims += key.model_claims.get(route.name, ())
        if not claims:
            return
        needs = self._needs(call, request, route)
        found, reserved = await self._ask(claims, needs)
        if isinstance(found, Refusal):
            self._count(found)
            call.refusal = found
            raise refused(found)
        call.lease, call.needs, call.reserved = found, needs, reserved.answer

    def extending(self, call: Call, request: Request, lease: Lease, emit: Emit) -> Emit:
        """`emit`, after what it tells was reserved.

        A piece of an answer is a token at least. Targets that do not speak as OpenAI does put many into one:
        of those the text is counted, too.
        """
        needs: Needs = call.needs
        if not any(limit.resource in ("tokens", "pico_usd") for one in lease.claims for limit in one.limits):
            return emit
        reserved, told, size_bytes = call.reserved, 0, 0
        dialect: str = getattr(request, "dialect", OPENAI)

        async def told_to(deltas: Sequence[Delta]) -> None:
            nonlocal reserved, told, size_bytes
            is_first = not told
            told += len(deltas)
            tokens, spoken = told, call.dialect or dialect
            if spoken != OPENAI:
                size_bytes += sum(size_of(delta, spoken) for delta in deltas)
                tokens = max(told, math.ceil(size_bytes / BYTES_PER_TOKEN))
            if tokens > reserved:
                more = max(MORE_TOKENS, tokens - reserved)
                try:
                    await self._extend(lease, Cost(tokens=more, pico_usd=more * needs.answer_price))
                except PenstockError:
                    if is_first:  # the client hears of none
                        for attempt in call.attempts:
                            attempt.is_told = False
                    raise
                reserved += more
            await emit(deltas)

        return told_to

    async def settle(self, call: Call, lease: Lease) -> None:
        """Once, after it was accounted. A call of unknown cost takes what was expected of its money."""
        call.lease = None
        usage = call.usage
        if usage is not None and usage.completion_tokens:
            self._learn(call.labels.route, usage.completion_tokens // call.needs.choices)
        tokens = 0 if usage is None else usage.total_tokens
        pico = call.needs.cost.pico_usd if call.cost is None else call.cost.total
        if self._alerts is not None:
            try:
                self._alerts.settled(lease, self._held[lease], pico)
            except Exception:  # noqa: BLE001 - a bug there may not keep what the call reserved
                _log.exception("bug in the alerts of budgets", id=call.id)
        await self._settle(lease, Cost(1, tokens, pico))

    # -- of a target

    @contextlib.asynccontextmanager
    async def of_attempt(self, call: Call, request: Request, deployment: Deployment) -> AsyncIterator[None]:
        """Raises UpstreamRateLimited: another target may have room."""
        needs = call.needs or Needs(Cost(1, _prompt_tokens(call, request) + round(USUAL_ANSWER)))
        found, _ = await self._ask(deployment.claims, needs)
        if isinstance(found, Refusal):
            self._count(found)
            raise UpstreamRateLimited(
                f"{deployment.name} is at its own limit of {found.limit.resource}.",
                retry_after_s=found.retry_after_s,
            )
        before = len(call.attempts)
        try:
            yield
        finally:
            made = call.attempts[before:]
            tokens = sum(attempt.usage.total_tokens for attempt in made if attempt.usage is not None)
            await self._settle(found, Cost(min(1, len(made)), tokens))

    # -- the ledger

    async def run(self) -> None:
        """Keeps the leases of running calls alive."""
        while True:
            await asyncio.sleep(BEAT_S)
            held = [*self._held]
            for first in range(0, len(held), BEAT_TOGETHER):
                some = [lease for lease in held[first : first + BEAT_TOGETHER] if lease in self._held]
                try:
                    await self._ledger.heartbeat(some, self._clock.monotonic())
                except LedgerUnavailable:
                    continue  # the ledger has said so in the log
                except Exception:  # noqa: BLE001 - a bug in there must not stop the gateway
                    _log.exception("bug in the heartbeat of leases")

    async def close(self) -> None:
        """Everything is settled, as far as the store answers."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=_SETTLED_IN_S)
        try:
            await self._ledger.close()
        except LedgerUnavailable as exc:
            _log.warning("what is left of budgets was not given back", error=str(exc))

    async def _ask(self, claims: Sequence[Claim], needs: Needs) -> tuple[Lease | Refusal, Needs]:
        """Also what was reserved: not the answer, where no limit has ever room for it."""
        try:
            found = await self._ledger.reserve(claims, needs.cost, self._clock.monotonic(), TTL_S)
            if isinstance(found, Refusal):
                if found.retry_after_s is not None or not needs.answer:
                    return found, needs
                needs = needs.without_answer()
                found = await self._ledger.reserve(claims, needs.cost, self._clock.monotonic(), TTL_S)
                if isinstance(found, Refusal):
                    return found, needs
        except LedgerUnavailable as exc:
            raise LimitsUnavailable("Limits cannot be checked at the moment; try again.") from exc
        self._held[found] = needs.cost.pico_usd
        return found, needs

    async def _extend(self, lease: Lease, more: Cost) -> None:
        try:
            refusal = await self._ledger.extend(lease, more, self._clock.monotonic())
        except LedgerUnavailable as exc:
            raise LimitsUnavailable("Limits cannot be checked at the moment.") from exc
        if refusal is not None:
            self._count(refusal)
            raise refused(refusal)
        self._held[lease] += more.pico_usd

    async def _settle(self, lease: Lease, actual: Cost) -> None:
        self._held.pop(lease, None)
        if self._is_shared:
            tasks.spawn(self._settling, self._settle_now(lease, actual), "settle")
        else:
            await self._settle_now(lease, actual)

    async def _settle_now(self, lease: Lease, actual: Cost) -> None:
        try:
            await self._ledger.settle(lease, actual, self._clock.monotonic())
        except LedgerUnavailable as exc:
            _log.warning("a call was not settled: what it reserved counts as used", error=str(exc))

    def report(self) -> LedgerRow:
        """A copy: another thread reads it."""
        return LedgerRow(len(self._held), self._refused.copy())

    # -- what is expected

    def _needs(self, call: Call, request: Request, route: Route) -> Needs:
        if request.__class__ is ChatRequest and request.counts_only:
            return _NOTHING
        prompt = _prompt_tokens(call, request)
        answer, choices = 0, 1
        if isinstance(request, _ANSWERED):
            usual, choices = self._answers.get(route.name, USUAL_ANSWER), expected_choices(request)
            answer = round(usual if request.max_tokens is None else min(usual, request.max_tokens)) * choices
        prompt_price, answer_price = route.dearest
        pico = prompt * prompt_price + answer * answer_price
        return Needs(Cost(1, prompt + answer, pico), answer, answer_price, choices)

    def _learn(self, route: str, tokens: int) -> None:
        """A step up for what is above, a small one down for what is below: it settles at the quantile."""
        known = self._answers.get(route)
        if known is None:
            self._answers[route] = float(tokens)
        elif tokens > known:
            self._answers[route] = min(float(tokens), known * UP)
        else:
            self._answers[route] = max(1.0, known * DOWN)

    def _count(self, refusal: Refusal) -> None:
        resource = "money" if refusal.limit.resource == "pico_usd" else refusal.limit.resource
        key = (refusal.scope.kind, resource)
        self._refused[key] = self._refused.get(key, 0) + 1
        if self._alerts is not None:
            self._alerts.refused(refusal)


def _prompt_tokens(call: Call, request: Request) -> int:
    """By the bytes of its text; what images, sounds and files take is known when it is answered."""
    size_bytes = call.body_bytes
    if request.__class__ is ChatRequest:
        size_bytes += request.recalled_bytes
    if size_bytes > LARGE_BYTES:
        size_bytes = max(0, size_bytes - media_bytes(getattr(request, "body", None)))
    return size_bytes // BYTES_PER_TOKEN


def refused(refusal: Refusal) -> PenstockError:
    """In words for the caller: which limit, how much of it is used, and when there is room again."""
    scope, limit = refusal.scope, refusal.limit
    whose = f"the {scope.kind} {scope.called!r}" + (f" for {', '.join(scope.models)}" if scope.models else "")
    room = "" if refusal.retry_after_s is None else f" There is room in {_time(refusal.retry_after_s)}."
    if limit.resource == "concurrency":
        return ConcurrencyLimitExceeded(
            f"Too many calls at once: {whose} has {refusal.used + refusal.reserved} under way"
            f" and may have {limit.amount}.",
            retry_after_s=RETRY_S,
        )
    is_money = limit.resource == "pico_usd"
    amount, used, reserved = (
        f"{format_usd(number)} USD" if is_money else str(number)
        for number in (limit.amount, refusal.used, refusal.reserved)
    )
    what = "" if is_money else f" {limit.resource.removesuffix('s') if limit.amount == 1 else limit.resource}"
    said = (
        f"{whose} may use {amount}{what} {_within(limit.window)}; used: {used}, reserved: {reserved}.{room}"
    )
    if is_money:
        return BudgetExceeded(f"The budget is used up: {said}", retry_after_s=refusal.retry_after_s)
    return RateLimitExceeded(f"The limit is reached: {said}", retry_after_s=refusal.retry_after_s)


_UNITS = (("days", 86_400), ("hours", 3_600))


def _within(window: int | str | None) -> str:
    if isinstance(window, int):
        exact = [(unit, length) for unit, length in _UNITS if window % length == 0]
        return f"in any {_time(window, exact)}"
    return "in all" if window == "total" else f"a {window}"


def _time(seconds: float, units: Sequence[tuple[str, int]] = _UNITS) -> str:
    """Rounded up: 59.2 -> 60 s, 811071 -> 10 days."""
    for unit, length in units:
        if seconds >= 2 * length:
            return f"{math.ceil(seconds / length)} {unit}"
    return f"{max(1, math.ceil(seconds))} s"
