"""Gemini's answers, judged by google-genai: its stream reader, its types, its client."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from google import genai
from google.genai import errors as sdk_errors
from google.genai import types as sdk
from google.genai._api_client import HttpResponse  # its own reader of streams
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_events import answers, said, typed

from penstock.protocols.gemini import Generate, find
from penstock.types.call import Call
from penstock.types.conversation import ReasoningPart, TextPart, ToolCallPart
from penstock.types.errors import InternalError, PenstockError, UpstreamCut, UpstreamInvalid
from penstock.types.events import (
    Answer,
    Chunk,
    Citation,
    Counted,
    Delta,
    Event,
    Finish,
    Image,
    Reasoning,
    ReasoningEnd,
    RefusalText,
    Text,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageReport,
    Vectors,
)
from penstock.types.usage import Usage
from penstock.types.wire import Encoder

WIRE = Path(__file__).parent.parent / "wire" / "gemini"
HELLO = {"role": "user", "parts": [{"text": "hello"}]}


def encoder(*, sse: bool = True, stream: bool = True, **fields: Any) -> Encoder:
    inbound = Generate("public", stream=stream, sse=sse)
    request = inbound.decode({"contents": [HELLO], **fields})
    return inbound.encoder(request, Call("req_1", "/", "chat", 0.0, 0, model="public"))


def streamed(*batches: Sequence[Event], sse: bool = True) -> bytes:
    one = encoder(sse=sse)
    return b"".join(one.stream([typed(*batch)]) for batch in batches) + one.stream_end()


def whole(*batches: Sequence[Event]) -> sdk.GenerateContentResponse:
    one = encoder(stream=False)
    for batch in batches:
        one.fold([typed(*batch)])
    return sdk.GenerateContentResponse.model_validate_json(one.answer())


def read(data: bytes) -> list[sdk.GenerateContentResponse]:
    """As the SDK reads a stream; strict, for its types forbid what they do not know."""
    response = HttpResponse({}, response_stream=httpx2.Response(200, content=data))
    return [sdk.GenerateContentResponse.model_validate(piece) for piece in response.segments()]


def told(pieces: Sequence[sdk.GenerateContentResponse]) -> dict[str, Any]:
    """What the client holds after an answer, sent back as history and lifted."""
    parts: list[Any] = []
    finish = None
    for piece in pieces:
        for candidate in piece.candidates or ():
            assert finish is None
            finish = candidate.finish_reason.value if candidate.finish_reason else None
            if candidate.content is None:  # Google's own last piece may have none
                continue
            assert candidate.content.role == "model"
            parts += [
                part.model_dump(mode="json", by_alias=True, exclude_none=True)
                for part in candidate.content.parts or ()
            ]
    inbound = Generate("public", stream=False, sse=False)
    request = inbound.decode({"contents": [HELLO, {"role": "model", "parts": parts}, HELLO]})
    found = request.conversation().turns[1].parts
    reasoning = [part for part in found if isinstance(part, ReasoningPart)]
    return {
        "text": "".join(part.text for part in found if isinstance(part, TextPart)),
        "reasoning": "".join(part.text for part in reasoning),
        "calls": [
            {"id": part.id, "name": part.name, "arguments": json.loads(part.arguments)}
            for part in found
            if isinstance(part, ToolCallPart)
        ],
        "signatures": [
            (part.issuer, part.signature or part.redacted)
            for part in reasoning
            if part.signature or part.redacted
        ],
        "finish": finish,
    }


def expected(events: Sequence[Event]) -> dict[str, Any]:
    found = said(events)
    found["text"] += found.pop("refusal")
    for call in found["calls"]:
        call["arguments"] = json.loads(call["arguments"])
    found["finish"] = "MAX_TOKENS" if found["finish"] == "length" else "STOP"
    return found


@given(answers(), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_any_answer_through_the_sdk(events: list[Event], size: int) -> None:
    batches = [events[start : start + size] for start in range(0, len(events), size)]
    pieces = read(streamed(*batches))
    assert told(pieces) == expected(events)
    assert told([whole(*batches)]) == expected(events)
    array = [
        sdk.GenerateContentResponse.model_validate(one) for one in json.loads(streamed(*batches, sse=False))
    ]
    assert array == pieces
    for usage in (pieces[-1].usage_metadata, whole(*batches).usage_metadata):
        assert usage is not None
        assert (usage.prompt_token_count, usage.candidates_token_count) == (10, 3)
        assert (usage.thoughts_token_count, usage.cached_content_token_count) == (2, 3)
        assert usage.total_token_count == 15


def test_only_the_last_piece_ends() -> None:
    data = streamed([Text("a")], [Finish("stop")], [UsageReport(Usage(1, 2))])
    assert data.startswith(b'data: {"')
    assert b"[DONE]" not in data
    pieces = [json.loads(block[6:]) for block in data.split(b"\n\n")[:-1]]
    assert len(pieces) == 2
    assert pieces[1]["candidates"][0]["finishReason"] == "STOP"
    assert pieces[1]["usageMetadata"] == {
        "promptTokenCount": 1,
        "candidatesTokenCount": 2,
        "totalTokenCount": 3,
    }
    assert {(piece["modelVersion"], piece["responseId"]) for piece in pieces} == {("public", "req_1")}


def test_calls_leave_whole_and_in_order() -> None:
    events: list[Event] = [
        ToolStart(0, "a", "f", signature="c2ln"),
        ToolStart(1, "b", "g"),
        ToolDelta(1, "{}"),
        ToolEnd(1),
        ToolDelta(0, '{"x": "Zü'),
        ToolDelta(0, 'rich"}'),
        ToolEnd(0),
        Finish("tool_calls"),
    ]
    pieces = read(streamed(*([event] for event in events)))
    parts = [part for piece in pieces for part in piece.candidates[0].content.parts]  # type: ignore[union-attr,index]
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.id, call.args) for call in calls] == [("a", {"x": "Zürich"}), ("b", {})]
    assert parts[0].thought_signature == b"sig"


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", "nope"])
def test_arguments_that_are_no_object(arguments: str) -> None:
    one = encoder()
    with pytest.raises(UpstreamInvalid):
        one.stream([typed(ToolStart(0, "a", "f"), ToolDelta(0, arguments), ToolEnd(0))])


def test_a_call_cut_by_the_limit_is_left_out() -> None:
    cut = [
        ToolStart(0, "a", "f"),
        ToolDelta(0, '{"x": '),
        ToolStart(1, "b", "g"),
        ToolDelta(1, "{}"),
        ToolEnd(1),
    ]
    pieces = read(streamed([Text("hm"), *cut], [Finish("length")]))
    assert told(pieces)["calls"] == [{"id": "b", "name": "g", "arguments": {}}]
    assert told(pieces)["finish"] == "MAX_TOKENS"


def test_custom_tools_take_one_text() -> None:
    events = [ToolStart(0, "a", "sql", "custom"), ToolDelta(0, "SELECT 1"), ToolEnd(0), Finish("tool_calls")]
    found = whole(events)
    assert found.function_calls is not None
    assert found.function_calls[0].args == {"input": "SELECT 1"}


def test_images_citations_logprobs_and_candidates() -> None:
    logprob = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "b", "logprob": -1.5}],
    }
    found = whole(
        [Text("a", 0, {"content": [logprob]}), Text("b", 1), Image("image/png", "iVBORw==")],
        [Citation("https://example.org", "E", start=0, end=1), Text("c", 0, {"content": [logprob]})],
        [Finish("stop", 1), Finish("content_filter", 0)],
    )
    assert found.candidates is not None
    first, second = found.candidates
    assert first.finish_reason is sdk.FinishReason.SAFETY
    assert first.citation_metadata is not None
    assert first.citation_metadata.citations is not None
    assert first.citation_metadata.citations[0].uri == "https://example.org"
    assert first.logprobs_result is not None
    assert len(first.logprobs_result.chosen_candidates or ()) == 2
    assert first.content is not None
    assert first.content.parts is not None
    assert first.content.parts[1].inline_data is not None
    assert first.content.parts[1].inline_data.mime_type == "image/png"
    assert second.index == 1
    assert second.content is not None
    assert second.content.parts is not None
    assert second.content.parts[0].text == "b"


def test_redacted_thoughts() -> None:
    pieces = read(streamed([ReasoningEnd(None, "secret", "anthropic"), Text("x"), Finish("stop")]))
    assert told(pieces)["signatures"] == [("anthropic", "secret")]


@pytest.mark.parametrize(
    "events",
    [
        [ToolDelta(0, "{}")],
        [ToolEnd(0)],
        [ToolStart(1, "a", "f")],
        [ToolStart(0, "a", "f"), ToolEnd(0), ToolEnd(0)],
        [ToolStart(0, "a", "f"), ToolEnd(0), ToolDelta(0, "{}")],
        [ToolStart(0, "a", "f"), Finish("stop")],
    ],
)
def test_misuse(events: list[Event]) -> None:
    with pytest.raises(InternalError):
        encoder().stream([typed(*events)])


def test_no_end_without_a_finish() -> None:
    one = encoder()
    one.stream([typed(Text("a"))])
    with pytest.raises(InternalError):
        one.stream_end()
    with pytest.raises(InternalError):
        encoder().stream_end()
    with pytest.raises(InternalError):
        encoder().stream([Counted(1)])
    with pytest.raises(UpstreamInvalid):
        encoder(stream=False).answer()
    two = encoder()
    two.stream([typed(Text("a"), Finish("stop"))])
    two.stream_end()
    for again in (two.stream_end, lambda: two.stream([]), lambda: two.stream_error(UpstreamCut("x"))):
        with pytest.raises(InternalError):
            again()


def test_what_follows_a_finish_is_dropped() -> None:
    pieces = read(streamed([Text("a"), Finish("stop"), Text("b")], [Text("c"), Finish("length")]))
    assert told(pieces)["text"] == "a"
    assert told(pieces)["finish"] == "STOP"


def test_pings_are_nothing_to_the_sdk() -> None:
    one = encoder()
    data = one.ping * 2 + one.stream([typed(Text("a"))]) + one.ping + one.stream([typed(Finish("stop"))])
    assert told(read(data + one.stream_end()))["text"] == "a"
    array = encoder(sse=False)
    data = array.ping + array.stream([typed(Text("a"))]) + array.ping + array.stream([typed(Finish("stop"))])
    assert len(json.loads(data + array.stream_end())) == 2


def test_errors_inside_streams() -> None:
    one = encoder()
    data = one.stream([typed(Text("a"))]) + one.stream_error(UpstreamCut("cut"))
    last = data.split(b"\n\n")[-2]
    assert last.startswith(b'data: {"error":')
    array = encoder(sse=False)
    found = json.loads(array.stream([typed(Text("a"))]) + array.stream_error(UpstreamCut("cut")))
    assert found[1]["error"]["status"] == "UNAVAILABLE"
    assert json.loads(encoder(sse=False).stream_error(UpstreamCut("cut")))[0]["error"]["code"] == 502


# -- a target of the same dialect


@pytest.mark.parametrize(
    "name", ["parallel_calls.sse", "max_tokens.sse", "safety.sse", "blocked.sse", "signed_text.sse"]
)
def test_the_same_dialect_keeps_what_it_was_told(name: str) -> None:
    blocks = [json.loads(block[6:]) for block in (WIRE / name).read_bytes().split(b"\n\n") if block]
    one, folded = encoder(), encoder(stream=False)
    data = b""
    for block in blocks:
        data += one.stream([Chunk(json.loads(json.dumps(block)))])
        folded.fold([Chunk(json.loads(json.dumps(block)))])
    data += one.stream_end()
    own = {"modelVersion": "public", "responseId": "req_1"}
    assert [json.loads(block[6:]) for block in data.split(b"\n\n")[:-1]] == [block | own for block in blocks]
    read(data)
    together = sdk.GenerateContentResponse.model_validate_json(folded.answer())
    assert together.model_version == "public"
    if name != "blocked.sse":
        assert told([together]) | {"calls": []} == told(read(data)) | {"calls": []}


def test_a_whole_answer_of_the_same_dialect() -> None:
    raw = json.loads((WIRE / "candidates.json").read_bytes())
    one = encoder(stream=False)
    one.fold([Answer(json.loads(json.dumps(raw)))])
    assert json.loads(one.answer()) == raw | {"modelVersion": "public", "responseId": "req_1"}


# -- the official client


class Door:
    """A server of one page: reads a request, finds its inbound object, answers with `deltas`."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.error: PenstockError | None = None
        self.breaks = False
        self.seen: list[Any] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        parts = urlsplit(head.split(" ")[1])
        inbound = find(parts.path, parts.query.encode())
        assert inbound is not None, parts
        status, kind, out = 200, "application/json", b""
        try:
            request = inbound.decode(json.loads(body))
            self.seen.append(request)
            if self.error is not None and not self.breaks:
                raise self.error
            one = inbound.encoder(request, Call("req_1", "/", "chat", 0.0, 0, model="public"))
            if request.stream:
                kind = one.stream_type
                out = one.ping + b"".join(one.stream([delta]) + one.ping for delta in self.deltas)
                out += one.stream_error(self.error) if self.error else one.stream_end()
            else:
                one.fold(self.deltas)
                out = one.answer()
        except PenstockError as error:
            status, out = error.status, inbound.error_body(error, "req_1")
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(out)}\r\n"
            "connection: close\r\n\r\n".encode()
            + out
        )
        await writer.drain()
        writer.close()


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Door, genai.Client]]:
    page = Door()
    server = await asyncio.start_server(page, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = genai.Client(api_key="k", http_options=sdk.HttpOptions(base_url=f"http://127.0.0.1:{port}"))
    try:
        yield page, client
    finally:
        await client.aio.aclose()
        server.close()
        await server.wait_closed()


CALLS: list[Event] = [
    Reasoning("hm"),
    ReasoningEnd("proof", issuer="anthropic"),
    RefusalText("No, but: "),
    ToolStart(0, "c1", "weather"),
    ToolDelta(0, '{"city": "x"}'),
    ToolEnd(0),
    UsageReport(Usage(3, 4)),
    Finish("tool_calls"),
]


async def test_the_client_and_its_history() -> None:
    async with served() as (page, client):
        tool = sdk.Tool(
            function_declarations=[
                sdk.FunctionDeclaration(
                    name="weather",
                    parameters=sdk.Schema(
                        type=sdk.Type.OBJECT, properties={"city": sdk.Schema(type=sdk.Type.STRING)}
                    ),
                )
            ]
        )
        config = sdk.GenerateContentConfig(
            tools=[tool],
            system_instruction="be brief",
            temperature=0.5,
            max_output_tokens=9,
            automatic_function_calling=sdk.AutomaticFunctionCallingConfig(disable=True),
        )
        page.deltas = [typed(*CALLS)]
        found = await client.aio.models.generate_content(model="openai/gpt-5", contents="hi", config=config)
        assert found.function_calls is not None
        assert found.function_calls[0].args == {"city": "x"}
        request = page.seen[-1]
        assert (request.model, request.max_tokens) == ("openai/gpt-5", 9)
        assert request.conversation().tools[0].parameters == {
            "type": "object",
            "properties": {"city": {"type": "string"}},
        }
        assert found.candidates is not None
        result = sdk.Part.from_function_response(name="weather", response={"result": "rain"})
        result.function_response.id = found.function_calls[0].id  # type: ignore[union-attr]
        history: Any = [
            sdk.Content(role="user", parts=[sdk.Part(text="hi")]),
            found.candidates[0].content,
            sdk.Content(role="user", parts=[result]),
        ]
        page.deltas = [typed(Text("It rains."), Finish("stop"))]
        found = await client.aio.models.generate_content(model="m", contents=history, config=config)
        assert found.text == "It rains."
        turns = page.seen[-1].conversation().turns
        assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool"]
        assert turns[2].parts[0] == ReasoningPart("hm", "proof", issuer="anthropic")
        assert turns[3].parts[0].call_id == "c1"
        assert turns[3].parts[0].content == [TextPart("rain")]


async def test_the_client_streams() -> None:
    async with served() as (page, client):
        page.deltas = [
            typed(Text("Zü")),
            typed(Text("rich\u2028")),
            typed(UsageReport(Usage(1, 2)), Finish("length")),
        ]
        stream = await client.aio.models.generate_content_stream(model="m", contents="hi")
        pieces = [piece async for piece in stream]
        assert "".join(piece.text or "" for piece in pieces) == "Zürich\u2028"
        assert pieces[-1].candidates[0].finish_reason is sdk.FinishReason.MAX_TOKENS  # type: ignore[index]
        assert pieces[-1].usage_metadata.total_token_count == 3  # type: ignore[union-attr]


async def test_the_client_and_errors() -> None:
    async with served() as (page, client):
        page.error = UpstreamCut("The answer was cut.")
        with pytest.raises(sdk_errors.ServerError) as before:
            await client.aio.models.generate_content(model="m", contents="hi")
        assert (before.value.code, before.value.status) == (502, "UNAVAILABLE")
        page.breaks, page.deltas = True, [typed(Text("half"))]
        stream = await client.aio.models.generate_content_stream(model="m", contents="hi")
        got = (await anext(stream)).text
        with pytest.raises(sdk_errors.ServerError) as inside:
            await anext(stream)
        assert (got, inside.value.code, inside.value.message) == ("half", 502, "The answer was cut.")
        with pytest.raises(sdk_errors.ClientError, match="temperature"):
            await client.aio.models.generate_content(
                model="m", contents="hi", config=sdk.GenerateContentConfig(temperature=9)
            )


async def test_the_client_counts_and_embeds() -> None:
    async with served() as (page, client):
        page.deltas = [Counted(7)]
        assert (await client.aio.models.count_tokens(model="m", contents="hi")).total_tokens == 7
        page.deltas = [Vectors([[0.5, 1.0], [1.0, 0.5]])]
        config = sdk.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=2)
        found = await client.aio.models.embed_content(
            model="text-embedding-004", contents=["a", "b"], config=config
        )
        assert found.embeddings is not None
        assert [row.values for row in found.embeddings] == [[0.5, 1.0], [1.0, 0.5]]
        assert page.seen[-1].inputs == ["a", "b"]
        assert page.seen[-1].purpose == "query"
