"""Random answers as typed events, and what they say whatever way they were told."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from penstock.types.events import (
    Event,
    Events,
    Finish,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Started,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
)
from penstock.types.usage import Usage

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
SIGNATURES = st.text("ABCxyz019+/=", min_size=1, max_size=8)
ARGUMENTS = st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9) | st.none(), max_size=2).map(json.dumps)


def typed(*events: Event) -> Events:
    """One delta, as a reader gives it."""
    usage = next((event.usage for event in reversed(events) if isinstance(event, UsageReport)), None)
    has_content = any(isinstance(event, Text | Reasoning | RefusalText | ToolStart) for event in events)
    return Events(list(events), usage, has_content)


@st.composite
def answers(draw: st.DrawFn, issuer: str = "anthropic") -> list[Event]:
    """A legal sequence: blocks of reasoning and text, then tool calls that may overlap, then the finish."""
    events: list[Event] = [Started("msg_1", "up")]
    for _ in range(draw(st.integers(0, 2))):
        events += [Reasoning(text) for text in draw(st.lists(TEXTS, max_size=3))]
        if draw(st.booleans()):
            events.append(ReasoningEnd(draw(SIGNATURES), issuer=issuer))
        events += [Text(text) for text in draw(st.lists(TEXTS, min_size=1, max_size=3))]
    calls = draw(st.lists(ARGUMENTS, max_size=3))
    left: list[tuple[int, list[Event]]] = []
    for index, arguments in enumerate(calls):
        cut = draw(st.integers(0, len(arguments)))
        pieces = [piece for piece in (arguments[:cut], arguments[cut:]) if piece]
        own: list[Event] = [ToolStart(index, f"call_{index}", f"tool_{index}")]
        left.append((index, [*own, *(ToolDelta(index, piece) for piece in pieces), ToolEnd(index)]))
    overlap = draw(st.booleans())
    started = 0
    while any(own for _, own in left):
        waiting = [own for index, own in left if own and (index < started + 1 if overlap else True)]
        chosen = draw(st.sampled_from(waiting)) if overlap else waiting[0]
        event = chosen.pop(0)
        if isinstance(event, ToolStart):
            started = event.index + 1
        events.append(event)
    if not calls and draw(st.booleans()):
        events.append(RefusalText(draw(TEXTS)))
    events.append(UsageReport(Usage(10, 5, cached_tokens=3, reasoning_tokens=2, cache_write_tokens=1)))
    events.append(Finish("tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))))
    return events


def said(events: Sequence[Event], choice: int = 0) -> dict[str, Any]:
    """What an answer says: the same for two ways of telling it."""
    calls: dict[int, dict[str, Any]] = {}
    texts = {Text: "", Reasoning: "", RefusalText: ""}
    signatures: list[tuple[str, str]] = []
    finish = None
    for event in events:
        if getattr(event, "choice", choice) != choice:
            continue
        match event:
            case Text(text) | Reasoning(text) | RefusalText(text):
                texts[type(event)] += text
            case ReasoningEnd(signature, redacted):
                if signature or redacted:
                    signatures.append((event.issuer, signature or redacted or ""))
            case ToolStart(index, call_id, name):
                calls[index] = {"id": call_id, "name": name, "arguments": ""}
            case ToolDelta(index, arguments):
                calls[index]["arguments"] += arguments
            case Finish(reason):
                finish = reason
    return {
        "text": texts[Text],
        "reasoning": texts[Reasoning],
        "refusal": texts[RefusalText],
        "calls": [calls[index] for index in sorted(calls)],
        "signatures": signatures,
        "finish": finish,
    }
