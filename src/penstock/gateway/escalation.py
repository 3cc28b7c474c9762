"""Answers of smaller models that are not good enough go to the next harder target of a route by difficulty.

    the attempt is of                          its answer
    -----------------------------------------  --------------------------------------------------------------
    a whole answer, and somebody harder is up  waits until it is complete and judged
    a stream, with `escalate_streams`          likewise: nothing of it is told before
    another stream                             is passed on; only a refusal in its first words is seen in time
    the hardest that is up, or a fallback      is passed on: there is nobody to ask instead

    the verdict     is
    --------------  ------------------------------------------------------------------------------------------
    schema          a text that is not of the JSON schema, or no JSON object, which was asked for
    refusal         the model or its filter says so, or the text begins by that (routing/refusals.py)
    logprob         where the answer tells log probabilities: their mean is below the route's

An answer that is not given is an attempt with the outcome `escalated`; it is no failure of its target, and
costs nothing of the retry budget. If nobody harder can answer, it is given after all, unless it is of the
wrong form: a client that asked for a form gets that or an error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from penstock.gateway.deps import Deps
from penstock.gateway.said import Said
from penstock.gateway.structured import Emit, Escalated, Schema, SchemaMismatch
from penstock.routing.difficulty import is_harder
from penstock.routing.refusals import is_refusal
from penstock.types.call import Attempt, Call
from penstock.types.deployment import LEVELS, Difficulty, Labels, Route, Target, Verdict
from penstock.types.errors import InvalidRequest
from penstock.types.events import Delta
from penstock.types.requests import ChatRequest
from penstock.types.usage import Usage

NOTHING: frozenset[Verdict] = frozenset()

_log = structlog.get_logger("penstock.gateway")


class _Kept(NamedTuple):
    """A whole answer that was not given, and what its call said of it."""

    deltas: Sequence[Delta]
    target: Target
    attempt: Attempt | None
    labels: Labels
    deployment: str
    usage: Usage | None
    dialect: str
    dropped: tuple[str, ...]


class Escalation:
    """Of one call of a route by difficulty. `begin` and `end` enclose each of its attempts."""

    def __init__(
        self, call: Call, request: ChatRequest, plan: Difficulty, *, route: Route, deps: Deps, emit: Emit
    ) -> None:
        self._call = call
        self._request = request
        self._plan = plan
        self._route = route
        self._deps = deps
        self._emit = emit
        self._schema = _schema_of(request) if "schema" in plan.escalates else None
        self._target: Target | None = None  # that is asked now, if its answer is judged
        self._said = Said(request.dialect)
        self._held: list[Delta] = []
        self._kept: _Kept | None = None

    def begin(self, target: Target) -> Emit:
        """The `emit` of an attempt at `target`."""
        holds = not self._call.is_stream or self._plan.holds_streams
        is_judged = bool(self._plan.escalates) and bool(self._harder(target))
        self._target = target if is_judged else None
        self._call.held_for = self._plan.escalates if is_judged and holds else NOTHING
        self._said, self._held = Said(self._request.dialect), []
        return self._judge if is_judged else self._emit

    async def _judge(self, deltas: Sequence[Delta]) -> None:
        """Raises Escalated for a stream that begins with a refusal."""
        if self._target is not None:
            self._said.see(deltas)
            if self._call.held_for:
                self._held += deltas
                return
            if "refusal" in self._plan.escalates and self._refuses():
                raise Escalated("refusal")
            self._target = None  # the client has the first of it: no way back
        await self._emit(deltas)

    async def end(self) -> None:
        """The attempt came to its end, and its answer is told. Raises Escalated where it is not."""
        if self._target is None or not self._call.held_for:
            return
        if (verdict := self._verdict()) is not None and self._harder(self._target):
            raise Escalated(verdict)
        await self._tell(self._held)

    def next(self, verdict: Verdict) -> Target:
        """Who is asked instead, as the answer of the current attempt was not good enough."""
        call = self._call
        asked = self._target
        if asked is None:
            msg = "an answer that was not judged"
            raise AssertionError(msg)
        attempt = next((one for one in reversed(call.attempts) if one.deployment == call.deployment), None)
        if attempt is not None:
            attempt.error, attempt.outcome, attempt.is_told = None, "escalated", False
        balance = self._deps.balance
        key = (self._route.name, verdict)
        balance.escalations[key] = balance.escalations.get(key, 0) + 1
        if self._held and verdict != "schema":
            self._kept = _Kept(
                self._held,
                asked,
                attempt,
                call.labels,
                call.deployment,
                call.usage,
                call.dialect,
                call.dropped,
            )
        harder = self._harder(asked) or self._harder(asked, even_down=True)
        nearest = min((one.when for one in harder if one.when is not None), key=LEVELS.index)
        best = [one for one in harder if one.when == nearest]
        if call.difficulty is not None:
            verdicts = (*call.difficulty.escalated, verdict)
            call.difficulty = call.difficulty._replace(escalated=verdicts, aim=nearest)
        chosen = balance.again(call, self._request, self._route, best, self._deps.health)
        _log.info(
            "answer escalated",
            id=call.id,
            deployment=call.deployment,
            verdict=verdict,
            next=chosen.deployment.name,
        )
        return chosen

    def is_enough(self, step: Target) -> bool:
        """Whether an answer that was put aside is better than asking `step`."""
        return self._kept is not None and not is_harder(step.when, self._kept.target.when)

    async def give_kept(self) -> bool:
        """Tells the answer that was put aside, if there is one: nobody had a better one."""
        kept, call = self._kept, self._call
        if kept is None:
            return False
        call.labels, call.deployment, call.usage = kept.labels, kept.deployment, kept.usage
        call.dialect, call.dropped = kept.dialect, kept.dropped
        if kept.attempt is not None:
            kept.attempt.is_told = True
        await self._tell(kept.deltas)
        return True

    async def _tell(self, deltas: Sequence[Delta]) -> None:
        self._call.held_for = NOTHING
        self._call.first_content_s = self._deps.clock.monotonic()
        await self._emit(deltas)

    def _harder(self, than: Target, *, even_down: bool = False) -> list[Target]:
        """Targets of a harder level that can do what is asked, and are up."""
        return [
            one
            for one in self._deps.balance.able(self._route, self._request)
            if is_harder(one.when, than.when)
            and self._call.operation in one.deployment.operations
            and (even_down or not self._deps.health.is_down(one.deployment))
        ]

    def _verdict(self) -> Verdict | None:
        wanted = self._plan.escalates
        if not self._said.is_readable:
            return None
        if "refusal" in wanted and self._refuses():
            return "refusal"
        if self._schema is not None:
            try:
                self._schema.check(self._said)
            except SchemaMismatch:
                return "schema"
        if "logprob" in wanted:
            known = [one for choice in self._said.choices.values() for one in choice.logprobs]
            if known and sum(known) / len(known) < self._plan.min_logprob:
                return "logprob"
        return None

    def _refuses(self) -> bool:
        choices = self._said.choices.values()
        return bool(choices) and all(
            one.is_declined or (not one.has_calls and is_refusal(one.text)) for one in choices
        )


def _schema_of(request: ChatRequest) -> Schema | None:
    """None where no form was asked for, or one that only its own vendor understands."""
    try:
        form = request.conversation().format
    except InvalidRequest:
        return None
    if form is None:
        return None
    try:
        return Schema({"type": "object"} if form.schema is None else form.schema)
    except ValueError:
        return None
