"""Choosing among replicas by what they hold and have to do: strategies least-loaded and affinity.

    choose      before the first attempt: the target, and of a local one the replica
    placed      an attempt was given a replica: its load is accounted, and the prompt is there from now on
    learned     an answer said how much of its prompt was cached: the prediction is judged by it

The accounts are this process's own and change in the same breath as the decision.
"""

import random
from collections.abc import Callable, Sequence

import msgspec

from penstock.routing import select
from penstock.routing.load import Lease, Load
from penstock.routing.prefix import BLOCK, BYTES_PER_TOKEN, PrefixIndex, blocks_of, salt_of
from penstock.routing.select import Candidate
from penstock.telemetry.metrics import Routing
from penstock.types.call import Call
from penstock.types.deployment import Deployment, Fleet, ReplicaView, Route, Target
from penstock.types.requests import Request
from penstock.types.usage import Usage

# Of a request of any dialect, in the order in which models read them.
_PROMPT = ("tools", "system", "instructions", "systemInstruction", "messages", "contents", "input", "prompt")

LEAST_JUDGED = 0.1  # of the prompt
RIGHT = 0.8  # of what was predicted

_encode = msgspec.json.Encoder().encode


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
        self._fixed: dict[str, tuple[Route, list[Candidate]]] = {}
        self.decisions: dict[tuple[str, str], int] = {}  # (route, replica) -> how often
        self.predicted: dict[str, int] = {}  # deployment -> tokens
        self.cached: dict[str, int] = {}
        self.regret: dict[str, int] = {}  # route -> tokens

    def choose(
        self, call: Call, request: Request, route: Route, fleet: Fleet, down: Callable[[str], bool]
    ) -> Target:
        """`down`: whether a deployment is left alone, by its name; it is chosen only where all are."""
        candidates = self._candidates(route, fleet)
        if route.strategy == "affinity":
            self._read(call, request)
        best = self._best(call, candidates)
        if down(best.target.deployment.name):
            up = [one for one in candidates if not down(one.target.deployment.name)]
            best = self._best(call, up) if up else best
        call.replica = best.id
        key = (route.name, best.id or best.replica)
        self.decisions[key] = self.decisions.get(key, 0) + 1
        return best.target

    def _read(self, call: Call, request: Request) -> None:
        text = prompt_of(request)
        salt = salt_of(call.key.name) if call.key is not None else 0
        prompt = call.prompt = Prompt(blocks_of(text, salt), len(text) // BYTES_PER_TOKEN)
        found = self.index.match(prompt.blocks)
        prompt.matched = {replica: blocks * BLOCK // BYTES_PER_TOKEN for replica, blocks in found.items()}

    def _best(self, call: Call, candidates: Sequence[Candidate]) -> Candidate:
        roll = random.random()  # noqa: S311 - not a secret
        prompt = call.prompt
        if prompt is None:
            rolls = (roll, random.random())  # noqa: S311 - likewise
            return select.least_loaded(candidates, self.load, rolls)
        best, idlest = select.affine(candidates, prompt.matched, self.load, roll)
        busy = self.load.by_replica
        prompt.chosen, prompt.ahead = best.replica, busy.get(best.replica, 0)
        others = [busy.get(one, 0) + prompt.uncached(one) for one in (best.replica, *prompt.matched)]
        prompt.least = min(idlest + prompt.tokens, *others)
        return best

    def report(self) -> Routing:
        """A copy: another thread reads it."""
        return Routing(
            self.decisions.copy(),
            self.regret.copy(),
            self.predicted.copy(),
            self.cached.copy(),
            len(self.index),
        )

    def _candidates(self, route: Route, fleet: Fleet) -> list[Candidate]:
        """Those of a route without replicas of ours never change."""
        known = self._fixed.get(route.name)
        if known is not None and known[0] is route:
            return known[1]
        candidates = candidates_of(route, fleet)
        if all(target.deployment.pool is None for target in route.targets):
            self._fixed[route.name] = (route, candidates)
        return candidates

    def placed(self, call: Call, deployment: Deployment, view: ReplicaView) -> Lease:
        replica = replica_of(deployment, view)
        prompt = call.prompt
        if prompt is None:
            return self.load.reserve(replica)
        lease = self.load.reserve(replica, prompt.uncached(replica))
        self.index.add(replica, prompt.blocks)
        return lease

    def learned(self, call: Call, deployment: Deployment, view: ReplicaView, usage: Usage) -> None:
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


def candidates_of(route: Route, fleet: Fleet) -> list[Candidate]:
    found: list[Candidate] = []
    for target in route.targets:
        deployment = target.deployment
        if deployment.pool is None:
            found.append(Candidate(target, deployment.name, "", target.weight))
            continue
        ready = fleet.replicas(deployment.pool)
        found += [Candidate(target, replica_of(deployment, view), view.id, target.weight) for view in ready]
        if not ready:
            found.append(Candidate(target, deployment.name, "", target.weight))
    return found


def replica_of(deployment: Deployment, view: ReplicaView) -> str:
    """A replica that was started again is another one: its cache is empty."""
    return deployment.name if deployment.pool is None else f"{view.id}:{view.address.port}"


def prompt_of(request: Request) -> bytes:
    """The text of a prompt: the same beginning for the same beginning, in whatever dialect."""
    body = getattr(request, "body", None)
    if body is None:
        return b""
    return b"".join(_encode(body[name]) for name in _PROMPT if name in body)
