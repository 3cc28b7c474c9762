"""What the doubles with a brain share: refusing as a vendor does, directives over the brain's answer."""

import itertools
import re
from dataclasses import replace
from typing import Any, Final

from penstock.testing.brain import Ask, Brain, Called, Finish, Reply, Seals, words
from penstock.testing.double import Answer, Directives, Double, Json, Recorded, without

_USAGE: Final = frozenset(["usage", "usageMetadata"])


class Refused(Exception):
    """The request is answered with this error instead."""

    def __init__(
        self, message: str, status: int = 400, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param


class Vendor(Double):
    """A vendor's server: `brain` answers, `seals` signs thoughts. A subclass routes in `respond`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.brain = Brain()
        self.seals = Seals()
        self.ids = itertools.count(1)

    def answer(self, request: Recorded) -> Answer:
        try:
            if (key := self.key_of(request)) is None or self.api_key not in {None, key}:
                raise Refused(self.wrong_key, 401)
            if request.method == "POST" and (status := request.directives.count("status")) is not None:
                raise Refused(f"The test asked for {status}.", status)
            answer = self.respond(request)
        except Refused as exc:
            return self.refuse(exc)
        if request.directives.flag("no-usage"):
            events = None if answer.events is None else without(answer.events, _USAGE)
            answer = answer._replace(body=without(answer.body, _USAGE), events=events)
        return answer

    def refuse(self, exc: Refused) -> Answer:
        return self.error(exc.status, exc.message)

    wrong_key = "Invalid API key."

    def key_of(self, request: Recorded) -> str | None:
        """The caller's key, None when there is none at all."""
        raise NotImplementedError

    def respond(self, request: Recorded) -> Answer:
        """May raise Refused."""
        raise NotImplementedError

    def think(self, ask: Ask, told: Directives) -> Reply:
        """The brain's answer, or what the directives want instead."""
        reply = self.brain.answer(ask)
        if (thought := told.text("reasoning")) is not None:
            reply = replace(reply, thought=thought)
        if (wanted := told.text("tool-call")) is not None:
            name, _, arguments = wanted.partition(":")
            if name in {"", "1", "true"}:
                name = ask.tools[0].name if ask.tools else "tool"
            reply = replace(reply, text="", calls=(Called(name, arguments or "{}"),), finish="calls")
        elif (text := told.text("content")) is not None:
            reply = replace(reply, text=text, calls=(), finish="stop")
        if (count := told.count("tokens")) is not None:
            reply = _lengthened(reply, count, ask.max_tokens)
        return reply

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self.ids):024d}"


def _lengthened(reply: Reply, count: int, limit: int | None) -> Reply:
    spaced = [word if word[:1].isspace() else f" {word}" for word in words(reply.text)] or [" x"]
    text = "".join((words(reply.text) + list(itertools.islice(itertools.cycle(spaced), count)))[:count])
    finish: Finish = "stop"
    if limit is not None and limit < count:
        text, finish = "".join(words(text)[:limit]), "length"
    return replace(reply, text=text, calls=(), finish=finish)


# -- reading requests strictly ---------------------------------------------------------------------------


def only(
    value: Any, known: frozenset[str], path: str, wording: str = "{path}: Extra inputs are not permitted"
) -> None:
    """Refuse a key the vendor does not know."""
    for key in value:
        if key not in known:
            raise Refused(wording.format(path=f"{path}.{key}" if path else key, key=key))


def pieces(text: str) -> list[str]:
    """JSON text as the vendors stream it: in parts that end anywhere."""
    return re.findall(r".{1,7}", text, re.DOTALL)


__all__ = ["Answer", "Json", "Refused", "Vendor", "only", "pieces"]
