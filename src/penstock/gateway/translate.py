"""What a request needs before a target of another dialect can be told of it, and its answer after that.

before    reasoning that the client's format has lost is put back     (thoughts.py)
          media the vendor would not fetch by itself is fetched       (media.py)
after     reasoning before tool calls is remembered
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from penstock.gateway.deps import Deps
from penstock.gateway.thoughts import Watcher
from penstock.types.call import Call
from penstock.types.conversation import Conversation, MediaPart, ToolResultPart
from penstock.types.deployment import Codec
from penstock.types.events import Delta
from penstock.types.requests import ChatRequest

Emit = Callable[[Sequence[Delta]], Awaitable[None]]


async def prepare(call: Call, request: ChatRequest, codec: Codec, deps: Deps) -> None:
    """Completes the request's Conversation, in place. Raises InvalidRequest."""
    conversation = request.conversation()
    if call.key is not None:
        deps.thoughts.recall(call.key.name, conversation)
    wanted = [part for part in media_of(conversation) if is_fetched(part.url, codec)]
    if wanted:
        fetched = await asyncio.gather(*(deps.media.fetch(part.url or "") for part in wanted))
        for part, (media_type, data) in zip(wanted, fetched, strict=True):
            part.media_type, part.data, part.url = media_type, data, None


def is_fetched(url: str | None, codec: Codec) -> bool:
    return url is not None and url.startswith(("http://", "https://")) and not codec.takes_url(url)


def media_of(conversation: Conversation) -> list[MediaPart]:
    found: list[MediaPart] = []
    for turn in conversation.turns:
        for part in turn.parts:
            if isinstance(part, MediaPart):
                found.append(part)
            elif isinstance(part, ToolResultPart):
                found += [inner for inner in part.content if isinstance(inner, MediaPart)]
    return found


def watched(call: Call, request: ChatRequest, emit: Emit, deps: Deps) -> Emit:
    """`emit` that remembers thoughts on the way."""
    if call.key is None:
        return emit
    turns = request.conversation().turns
    watcher = Watcher(deps.thoughts, call.key.name, turns, by_content=request.dialect == "ollama")

    async def seen(deltas: Sequence[Delta]) -> None:
        watcher.see(deltas)
        await emit(deltas)

    return seen
