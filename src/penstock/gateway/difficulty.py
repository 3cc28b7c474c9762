"""How hard a request of a route by difficulty is.

    x-penstock-difficulty: easy | medium | hard    the client's own word, for one request
    a classifier that answers in time              CLASSIFIED of its score, the rest of that of the looks
    a request that may not go to the classifier    by its looks: its key, or it, requires another data region
    a request that cannot be read                  hard, to be safe

Only chat is judged; anything else that such a route is asked for goes by weight.
"""

from collections.abc import Sequence

from penstock.gateway import failover
from penstock.gateway.deps import Deps
from penstock.gateway.wishes import wanted_of
from penstock.lib.floats import from_float32
from penstock.routing.difficulty import (
    Decision,
    Thresholds,
    features_of,
    level_of,
    question_of,
    score,
    shortened,
)
from penstock.routing.examples import Vector
from penstock.routing.route import is_allowed
from penstock.types.call import Call
from penstock.types.conversation import Conversation
from penstock.types.deployment import LEVELS, Classifier, Difficulty, Route
from penstock.types.errors import InvalidRequest, UpstreamInvalid
from penstock.types.events import Delta, Vectors
from penstock.types.requests import ChatRequest, EmbeddingRequest, Request

HEADER = b"x-penstock-difficulty"
CLASSIFIED = 0.5
START, END = 600, 300  # characters of the question that are classified: some 250 tokens


async def judge(call: Call, request: Request, route: Route, deps: Deps) -> Decision | None:
    """None for what is no chat. Raises InvalidRequest for a header that says nothing we know."""
    plan = route.difficulty
    if plan is None or not isinstance(request, ChatRequest):
        return None
    said = call.headers.get(HEADER)
    decision = await _judged(call, request, route.name, plan, deps) if said is None else _asked(said)
    levels = deps.balance.levels
    key = (route.name, decision.level)
    levels[key] = levels.get(key, 0) + 1
    return decision


def _asked(said: bytes) -> Decision:
    name = said.decode("latin-1").strip().lower()
    for level in LEVELS:
        if level == name:
            return Decision(level)
    header = HEADER.decode()
    raise InvalidRequest(f"The header {header} is one of {', '.join(LEVELS)}.", param=header)


async def _judged(call: Call, request: ChatRequest, route: str, plan: Difficulty, deps: Deps) -> Decision:
    try:
        conversation = request.conversation()
    except InvalidRequest:  # a target of its own dialect may take it all the same
        return Decision("hard", 1.0, (("unread", 1.0),))
    value, parts = score(features_of(conversation))
    if plan.classifier is not None:
        resembled = await _resembled(call, conversation, route, plan.classifier, deps)
        if resembled is not None:
            shift = CLASSIFIED * (resembled - value)
            value += shift
            parts = (*parts, ("classifier", shift))
    return Decision(level_of(value, Thresholds(plan.medium, plan.hard), plan.levels), value, parts)


async def _resembled(
    call: Call, conversation: Conversation, route: str, classifier: Classifier, deps: Deps
) -> float | None:
    text = shortened(question_of(conversation), START, END)
    place = classifier.route.targets[0].deployment.place
    if not text.strip() or not all(is_allowed(place, one) for one in wanted_of(call, call.key)):
        return None

    async def embed(texts: Sequence[str]) -> list[Vector]:
        return await _embed(call, texts, classifier.route, deps)

    return await deps.classifiers.score(route, classifier, text, embed)


async def _embed(call: Call, texts: Sequence[str], route: Route, deps: Deps) -> list[Vector]:
    """Their vectors, by the way of all requests. Raises PenstockError."""
    (target,) = route.targets
    own = Call(call.id, call.path, "embedding", deps.clock.monotonic(), call.created, model=route.name)
    got: list[Delta] = []

    async def keep(deltas: Sequence[Delta]) -> None:
        got.extend(deltas)

    is_ours = target.deployment.pool is not None  # vendors may refuse a field they do not know
    request = EmbeddingRequest(route.name, list(texts), truncate=is_ours)
    await failover.run(own, request, target, route=route, deps=deps, emit=keep)
    (answer,) = got
    if not isinstance(answer, Vectors) or len(answer.vectors) != len(texts):
        raise UpstreamInvalid(f"{route.name} sent no vector for some of the texts.")
    return [from_float32(one) if isinstance(one, bytes) else one for one in answer.vectors]
