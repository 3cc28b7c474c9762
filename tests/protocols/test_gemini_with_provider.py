"""Both sides of the Gemini dialect against each other."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from typed_events import TEXTS, answers, said, typed

from penstock.lib.sse import SSESplitter
from penstock.protocols.gemini import Generate
from penstock.providers.gemini import GeminiCodec
from penstock.types.call import Call
from penstock.types.conversation import Conversation, TextPart, Turn
from penstock.types.deployment import Deployment
from penstock.types.events import Event, Events, ReasoningEnd
from penstock.types.requests import ChatRequest

CODEC = GeminiCodec()
DEPLOYMENT = Deployment("d", "gemini-2.5-flash", CODEC, CODEC.operations)
GENERATE = Generate("public", stream=True, sse=True)
HELLO = {"role": "user", "parts": [{"text": "hello"}]}


@given(answers(issuer="gemini"), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(events: list[Event], size: int) -> None:
    request = GENERATE.decode({"contents": [dict(HELLO)]})
    encoder = GENERATE.encoder(request, Call("r", "/", "chat", 0.0, 0, model="public"))
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    data = b"".join(encoder.stream([typed(*batch)]) for batch in batches) + encoder.stream_end()
    foreign = ChatRequest("m", {}, lift=lambda _: Conversation([Turn("user", [TextPart("x")])]))
    reader = CODEC.reader(foreign, DEPLOYMENT)
    found: list[Event] = []
    for event in SSESplitter().feed(data):
        delta = reader.event(event.data)
        assert isinstance(delta, Events)
        found += delta.events
    assert reader.is_complete
    told, meant = said(found), said(events)
    meant["text"] += meant.pop("refusal")
    told.pop("refusal")
    for one in (told, meant):
        for call in one["calls"]:
            call["arguments"] = json.loads(call["arguments"])
    assert told == meant
    assert all(event.issuer == "gemini" for event in found if isinstance(event, ReasoningEnd))


ARGUMENTS = st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9) | st.booleans(), max_size=2)
SIGNATURES = st.sampled_from([None, "c2ln", "YWJjZA=="])
SCHEMAS = st.sampled_from(
    [
        {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
        {
            "type": "OBJECT",
            "properties": {"b_c": {"type": "ARRAY", "items": {"type": "INTEGER"}}},
            "required": ["b_c"],
        },
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Legal requests: user turns, thoughts, calls with and without ids, and their results."""
    contents: list[dict[str, Any]] = []
    for turn in range(draw(st.integers(1, 3))):
        contents.append({"role": "user", "parts": [{"text": draw(TEXTS)}]})
        parts: list[dict[str, Any]] = []
        if draw(st.booleans()):
            parts.append({"text": draw(TEXTS), "thought": True, "thoughtSignature": "c2ln"})
        parts.append({"text": draw(TEXTS)})
        results = []
        for number in range(draw(st.integers(0, 3))):
            name = draw(st.sampled_from(["weather", "now"]))
            call: dict[str, Any] = {"name": name, "args": draw(ARGUMENTS)}
            response: dict[str, Any] = {"name": name}
            response["response"] = draw(ARGUMENTS | TEXTS.map(lambda text: {"output": text}))
            if draw(st.booleans()):
                call["id"] = response["id"] = f"id_{turn}_{number}"
            signature = draw(SIGNATURES)
            signed = {"thoughtSignature": signature} if signature else {}
            parts.append({"functionCall": call, **signed})
            results.append({"functionResponse": response})
        contents.append({"role": "model", "parts": parts})
        if results:
            contents.append({"role": "user", "parts": results})
    body: dict[str, Any] = {"contents": [*contents, HELLO]}
    if draw(st.booleans()):
        body["systemInstruction"] = {"parts": [{"text": draw(TEXTS)}]}
    body["tools"] = [
        {"functionDeclarations": [{"name": "weather", "parameters": draw(SCHEMAS)}, {"name": "now"}]},
        {"googleSearch": {}},
    ]
    config: dict[str, Any] = {}
    if draw(st.booleans()):
        config |= {"temperature": 0.5, "maxOutputTokens": 7, "stopSequences": ["x"], "candidateCount": 2}
    if draw(st.booleans()):
        del body["tools"][0]  # beside functions it is asked for in words
        config |= {"responseMimeType": "application/json", "responseSchema": draw(SCHEMAS)}
    if draw(st.booleans()):
        config["thinkingConfig"] = {"thinkingBudget": draw(st.integers(-1, 99)), "includeThoughts": True}
    body["generationConfig"] = config
    return body


@given(requests())
@settings(max_examples=150, deadline=None)
def test_lifted_lowered_and_lifted_again(body: dict[str, Any]) -> None:
    """Made ids become real ones the first time; after that nothing moves."""
    first = GENERATE.decode(json.loads(json.dumps(body))).conversation()
    seen = ChatRequest("m", {}, lift=lambda _: first, n=first.n)
    lowered = CODEC.encode(seen, DEPLOYMENT)
    assert not lowered.dropped
    again = GENERATE.decode(json.loads(lowered.body)).conversation()
    if first.thinking is not None and first.thinking.enabled is False:
        again.thinking = first.thinking  # no thoughts to include
    assert again.turns == first.turns
    assert again == first
