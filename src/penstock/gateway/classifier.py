"""How hard a request is by what it resembles: its vector beside those of examples (routing/examples.py).

A request never waits longer than WAIT_S for this.

    the examples' vectors       are
    --------------------------  ----------------------------------------------------------------------------
    not there yet               made once, in a task of their own: who comes meanwhile waits for that task
    there                       kept for as long as the route is the same, that is until the next reload

    the classifier              the request is judged
    --------------------------  ----------------------------------------------------------------------------
    answers in time             by both scores
    is late, or fails           by its looks alone, and so are all for the next REST_S; one line in the log,
                                until it has answered again
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from penstock.lib import tasks
from penstock.lib.clock import Clock
from penstock.routing.examples import Scale, Vector, scale_of
from penstock.types.deployment import Classifier
from penstock.types.errors import PenstockError, UpstreamInvalid

WAIT_S = 0.2
REST_S = 5.0

Embed = Callable[[Sequence[str]], Awaitable[list[Vector]]]  # raises PenstockError

_log = structlog.get_logger("penstock.gateway")


class _Own:
    """What is known of one route's classifier."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.scale: Scale | None = None
        self.making: asyncio.Task[None] | None = None
        self.rests_until_s = 0.0
        self.is_failing = False


class Classifiers:
    """One per process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_route: dict[str, _Own] = {}
        self._tasks: tasks.Tasks = set()

    async def score(self, route: str, classifier: Classifier, text: str, embed: Embed) -> float | None:
        """From 0 to 1; None where nothing is known in time."""
        own = self._by_route.get(route)
        if own is None or own.classifier is not classifier:
            own = self._by_route[route] = _Own(classifier)
        if own.rests_until_s > self._clock.monotonic():
            return None
        try:
            async with asyncio.timeout(WAIT_S):
                if own.scale is None:
                    await self._examples(route, own, embed)
                if own.scale is None:
                    return None
                (vector,) = await embed((text,))
        except TimeoutError:
            self._failed(route, own, "it took too long")
            return None
        except PenstockError as error:
            self._failed(route, own, error.message)
            return None
        own.is_failing = False
        return own.scale.score(vector)

    async def aclose(self) -> None:
        for task in list(self._tasks):
            await tasks.cancel_and_wait(task)

    async def _examples(self, route: str, own: _Own, embed: Embed) -> None:
        if own.making is None:
            own.making = tasks.spawn(self._tasks, self._make(route, own, embed), "examples")
        await asyncio.shield(own.making)

    async def _make(self, route: str, own: _Own, embed: Embed) -> None:
        easy, hard = own.classifier.easy, own.classifier.hard
        try:
            vectors = await embed((*easy, *hard))
            own.scale = scale_of(vectors[: len(easy)], vectors[len(easy) :])
            if own.scale is None:
                raise UpstreamInvalid("The vectors do not tell easy from hard.")
        except PenstockError as error:
            self._failed(route, own, error.message)
        finally:
            own.making = None

    def _failed(self, route: str, own: _Own, why: str) -> None:
        own.rests_until_s = self._clock.monotonic() + REST_S
        if not own.is_failing:
            own.is_failing = True
            deployment = own.classifier.route.name
            _log.warning("classifier does not answer", route=route, deployment=deployment, why=why)
