"""Choosing among targets by what they can, hold, have to do, cost, and how fast they have been.

    choose      before the first attempt: the target, and of a local one the replica
    placed      an attempt was given a replica: its load is accounted, and the prompt is there from now on
    learned     an answer said how much of its prompt was cached: the prediction is judged by it

The accounts are this process's own and change in the same breath as the decision. Of several processes each
tells the others what was sent where: the load within a tenth of a second (workers/view.py), the blocks of
prompts in SAY_S.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec

from penstock.gateway.health import Health, replica_of
from penstock.gateway.wishes import SESSION
from penstock.routing import difficulty, select, sticky
from penstock.routing.constraints import Needs, fits, needs_of
from penstock.routing.load import Lease, Load
from penstock.routing.prefix import BLOCK, BYTES_PER_TOKEN, PrefixIndex, blocks_of, salt_of
from penstock.routing.select import Candidate
from penstock.routing.speed import Speeds
from penstock.telemetry.metrics import Routing
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Fleet, ReplicaView, Route, Sticky, Target
from penstock.types.errors import InvalidRequest
from penstock.types.others import Others
from penstock.types.requests import ChatRequest, Request
from penstock.types.usage import Usage

# Of a request of any dialect, in the order in which models read them.
_PROMPT = ("tools", "system", "instructions", "systemInstruction", "messages", "contents", "input", "prompt")

USUAL_ANSWER = 256.0  # tokens, until a route has had answers
NEWEST = 0.05  # weight of the newest answer in their average
EXPLORES = 0.05  # of the calls of a `fastest` route go to anybody, so that what is known stays true
SUBJECT = "prompts"
SAY_S = 0.02  # how long what was placed waits for more
LEAST_JUDGED = 0.1  # of the prompt
RIGHT = 0.8  # of what was predicted

Placed = list[tuple[str, str, list[int]]]  # replica, its seat (routing.prefix), blocks

_encode = msgspec.json.Encoder().encode
_encode_placed = msgspec.msgpack.Encoder().encode
_decode_placed = msgspec.msgpack.Decoder(Placed).decode


class Prompt:
    """What is known of a call's prompt, and what was predicted when a replica was chosen; in tokens."""

    __slots__ = ("ahead", "blocks", "chosen", "least", "matched", "tokens")

    def __init__(self, blocks: Sequence[int], tokens: int) -> None:
        self.blocks = blocks
        self.tokens = tokens
        self.matched: dict[str, int] = {}  # replica -> tokens of it that should be in its cache
        self.chosen = ""  # replica
        self.ahead = 0  # what there was to do before it
        self.least = 0.0  # before it and for it, at the best of all

    def uncached(self, replica: str) -> int:
        return max(0, self.tokens - self.matched.get(replica, 0))


class Balance:
    """One per process."""

    def __init__(self) -> None:
        self.load = Load()
        self.index = PrefixIndex()
        self.speeds = Speeds()
        self._answers: dict[str, float] = {}  # route -> tokens of an answer, on average
        self._fixed: dict[str, tuple[Route, list[Candidate]]] = {}
        self.decisions: dict[tuple[str, str], int] = {}  # (route, replica) -> how often
        self.predicted: dict[str, int] = {}  # deployment -> tokens
        self.cached: dict[str, int] = {}
        self.regret: dict[str, int] = {}  # route -> tokens
        self.levels: dict[tuple[str, str], int] = {}  # (route, level) -> how often
        self.escalations: dict[tuple[str, str], int] = {}  # (route, reason)

        self._others: Others | None = None
        self._placed: Placed = []  # of which they were not told yet

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(SUBJECT, self._hear)

    def _hear(self, body: bytes) -> None:
        for replica, seat, blocks in _decode_placed(body):
            self.index.add(replica, blocks, seat=seat)

    def _say(self) -> None:
        placed, self._placed = self._placed, []
        if self._others is not None:
            self._others.tell(SUBJECT, _encode_placed(placed))

    def choose(self, call: Call, request: Request, route: Route, fleet: Fleet, health: Health) -> Target:
        """The best of those that can and are up."""
        if route.strategy == "affinity":
            self._read(call, request)
        elif route.strategy == "cheapest":
            call.prompt = Prompt((), len(prompt_of(request)) // BYTES_PER_TOKEN)
        candidates: Sequence[Candidate] = self._candidates(route, fleet)
        if route.is_mixed:
            candidates = self._able(candidates, request)
        roll = _roll(call, request, route)
        best = self._best(call, request, route, health.standing(candidates, roll))
        if not health.is_up(best):
            up = [one for one in candidates if health.is_up(one)]
            best = self._best(call, request, route, health.standing(up, roll)) if up else best
        if route.strategy != "weighted":
            key = (route.name, best.id or best.replica)
            self.decisions[key] = self.decisions.get(key, 0) + 1
        call.replica = best.id
        return best.target

    def again(
        self, call: Call, request: Request, route: Route, targets: Sequence[Target], health: Health
    ) -> Target:
        """Who is next of `targets`, after others have failed."""
        left = [_of_target(one) for one in targets]
        call.replica = ""
        able = health.standing(self._able(left, request), _roll(call, request, route))
        return self._best(call, request, route, able).target

    def _able(self, candidates: Sequence[Candidate], request: Request) -> Sequence[Candidate]:
        """Those that are not known to be unable; all, if all are."""
        operation = request.operation
        candidates = [
            one for one in candidates if operation in one.target.deployment.operations
        ] or candidates
        if not isinstance(request, ChatRequest):
            return candidates
        needs = _needs(request)
        return [one for one in candidates if fits(one.target.deployment, needs)] or candidates

    def able(self, route: Route, request: Request) -> list[Target]:
        """The targets of a route that are not known to be unable; all, if all are."""
        return [one.target for one in self._able([_of_target(one) for one in route.targets], request)]

    def _read(self, call: Call, request: Request) -> None:
        text = prompt_of(request)
        salt = salt_of(call.key.name) if call.key is not None else 0
        prompt = call.prompt = Prompt(blocks_of(text, salt), len(text) // BYTES_PER_TOKEN)
        found = self.index.match(prompt.blocks)
        prompt.matched = {replica: blocks * BLOCK // BYTES_PER_TOKEN for replica, blocks in found.items()}

    def _best(self, call: Call, request: Request, route: Route, candidates: Sequence[Candidate]) -> Candidate:
        roll, other_roll = random.random(), random.random()  # noqa: S311 - not secrets
        match route.strategy:
            case "affinity":
                return self._affine(call.prompt, candidates, roll)
            case "least-loaded":
                return select.least_loaded(candidates, self.load, (roll, other_roll))
            case "weighted" if route.sticky is not None:
                return sticky.rendezvous(candidates, _session(call, request, route.sticky))
            case "cheapest":
                if route.latency_s is not None:
                    candidates = self._in_time(candidates, route.latency_s, call.started_s)
                answer = self._answer_tokens(request, route)
                tokens = call.prompt.tokens
                return select.least(candidates, lambda one: _price(one, tokens, answer), roll)
            case "difficulty" if call.difficulty is not None:
                return select.preferred(candidates, difficulty.preference(call.difficulty), roll)
            case "fastest" if other_roll >= EXPLORES:
                return select.least(candidates, lambda one: self._expected_s(one, request, route), roll)
            case _:
                return select.weighted_of(candidates, roll)

    def _affine(self, prompt: Prompt, candidates: Sequence[Candidate], roll: float) -> Candidate:
        best, idlest = select.affine(candidates, prompt.matched, self.load, roll)
        busy = self.load.by_replica
        prompt.chosen, prompt.ahead = best.replica, busy.get(best.replica, 0)
        others = [busy.get(one, 0) + prompt.uncached(one) for one in (best.replica, *prompt.matched)]
        prompt.least = min(idlest + prompt.tokens, *others)
        return best

    def _answer_tokens(self, request: Request, route: Route) -> int:
        """As many as the route's answers have on average, and no more than the client wants."""
        usual = self._answers.get(route.name, USUAL_ANSWER)
        limit: int | None = getattr(request, "max_tokens", None)
        return round(usual if limit is None else min(usual, limit))

    def _expected_s(self, one: Candidate, request: Request, route: Route) -> float:
        """A deployment of which nothing is known is tried first."""
        expected_s = self.speeds.expected_s(one.target.deployment.name, self._answer_tokens(request, route))
        return 0.0 if expected_s is None else expected_s

    def _in_time(
        self, candidates: Sequence[Candidate], latency_s: float, now_s: float
    ) -> Sequence[Candidate]:
        """Without those that have been late; one of them is tried again now and then."""
        return [
            one for one in candidates if not self.speeds.is_late(one.target.deployment.name, latency_s, now_s)
        ] or candidates

    def report(self) -> Routing:
        """A copy: another thread reads it."""
        return Routing(
            self.decisions.copy(),
            self.regret.copy(),
            self.predicted.copy(),
            self.cached.copy(),
            len(self.index),
            self.levels.copy(),
            self.escalations.copy(),
        )

    def _candidates(self, route: Route, fleet: Fleet) -> list[Candidate]:
        """Those of a route that is indifferent to replicas of ours never change."""
        known = self._fixed.get(route.name)
        if known is not None and known[0] is route:
            return known[1]
        if route.difficulty is None and any(target.deployment.pool is not None for target in route.targets):
            return candidates_of(route, fleet)
        candidates = [
            _of_target(target) for target in route.targets
        ]  # the fleet knows the least used replica
        self._fixed[route.name] = (route, candidates)
        return candidates

    def placed(self, call: Call, deployment: Deployment, view: ReplicaView) -> Lease:
        replica = replica_of(deployment, view)
        prompt = call.prompt
        if prompt is None:
            return self.load.reserve(replica)
        lease = self.load.reserve(replica, prompt.uncached(replica))
        seat = "" if deployment.pool is None else view.id
        self.index.add(replica, prompt.blocks, seat=seat)
        if self._others is not None and prompt.blocks:
            if not self._placed:
                asyncio.get_running_loop().call_later(SAY_S, self._say)
            self._placed.append((replica, seat, list(prompt.blocks)))
        return lease

    def learned(self, call: Call, deployment: Deployment, view: ReplicaView, usage: Usage) -> None:
        attempt, route = call.attempts[-1], call.labels.route
        if attempt.first_content_s is not None and attempt.ended_s is not None:
            first_s = attempt.first_content_s - attempt.started_s
            rest_s = attempt.ended_s - attempt.first_content_s
            self.speeds.saw(attempt.label, first_s, rest_s, usage.completion_tokens, now_s=attempt.ended_s)
        if usage.completion_tokens:
            known = self._answers.get(route, float(usage.completion_tokens))
            self._answers[route] = known + NEWEST * (usage.completion_tokens - known)
        self._judge_prompt(call, deployment, view, usage)

    def _judge_prompt(self, call: Call, deployment: Deployment, view: ReplicaView, usage: Usage) -> None:
        """Regret: how many tokens more had to be read before the answer than at the best candidate, as it was
        predicted; one that was chosen and predicted rightly regrets nothing.
        """
        prompt, replica = call.prompt, replica_of(deployment, view)
        if prompt is None or usage.is_estimated or not usage.prompt_tokens or replica != prompt.chosen:
            return
        name, route = deployment.name, call.labels.route
        if self.cached.get(name):  # some engines do not say it (vLLM: --enable-prompt-tokens-details)
            self._judge(prompt, replica, prompt.tokens * usage.cached_tokens / usage.prompt_tokens)
        read = prompt.tokens * (1 - usage.cached_tokens / usage.prompt_tokens)
        self.regret[route] = self.regret.get(route, 0) + max(0, round(prompt.ahead + read - prompt.least))
        self.predicted[name] = self.predicted.get(name, 0) + min(
            prompt.matched.get(replica, 0), usage.prompt_tokens
        )
        self.cached[name] = self.cached.get(name, 0) + usage.cached_tokens

    def _judge(self, prompt: Prompt, replica: str, cached: float) -> None:
        """What was predicted against `cached` tokens, in the prompt's own estimate; a little says little."""
        predicted = prompt.matched.get(replica, 0)
        if predicted >= LEAST_JUDGED * prompt.tokens:
            self.index.judge(replica, was_right=cached >= RIGHT * predicted)


def _session(call: Call, request: Request, by: Sticky) -> int:
    key = "" if call.key is None else call.key.name
    return sticky.session_of(by, key, call.headers.get(SESSION, b""), getattr(request, "body", {}))


def _roll(call: Call, request: Request, route: Route) -> Callable[[Candidate], float] | None:
    by = route.sticky
    return None if by is None else lambda one: sticky.roll(one, _session(call, request, by))


def _of_target(target: Target) -> Candidate:
    return Candidate(target, target.deployment.name, "", target.weight)


def _needs(request: ChatRequest) -> Needs:
    try:
        return needs_of(request.conversation())
    except InvalidRequest:  # a target of its own dialect may take it all the same
        return Needs()


def _price(one: Candidate, prompt: int, answer: int) -> float | None:
    """Pico-USD of such a call; only compared. What is our own is paid for, unless it has a price."""
    price = one.target.deployment.price
    prices = None if price is None else price.at(prompt)
    if prices is None or prices.input is None or prices.output is None:
        return None
    return float(prices.input * prompt + prices.output * answer)


def candidates_of(route: Route, fleet: Fleet) -> list[Candidate]:
    found: list[Candidate] = []
    for target in route.targets:
        deployment = target.deployment
        if deployment.pool is None:
            found.append(_of_target(target))
            continue
        ready = fleet.replicas(deployment.pool)
        found += [Candidate(target, replica_of(deployment, view), view.id, target.weight) for view in ready]
        if not ready:
            found.append(_of_target(target))
    return found


def prompt_of(request: Request) -> bytes:
    """The text of a prompt: the same beginning for the same beginning, in whatever dialect."""
    body = getattr(request, "body", None)
    if body is None:
        return b""
    return b"".join(_encode(body[name]) for name in _PROMPT if name in body)
