"""From one dialect to another: what it costs beside forwarding in one.

In this process, without sockets: the codecs of both sides, over the same conversation (a system prompt, two tools,
a tool round trip, eight messages, 6 KB) and the same answer of 200 text events. A pair's cost is its CPU time less
that of forwarding in its upstream's dialect, measured in the same round.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.harness import Bench, spread
from bench.reach import Reach
from penstock.lib.sse import SSESplitter
from penstock.protocols import INBOUND, find
from penstock.providers import CONNECTORS
from penstock.providers.profiles import profile
from penstock.types.call import Call
from penstock.types.deployment import Codec, Credentials, Deployment
from penstock.types.events import Event, Events, Finish, Started, Text, UsageReport
from penstock.types.usage import Usage
from penstock.types.wire import Inbound

NAME = "translation"
TITLE = "Translation between dialects"
IS_LONG = False

PATHS = {
    "openai": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:streamGenerateContent",
}
KINDS = {"openai": "openai", "responses": "openai-responses", "anthropic": "anthropic", "gemini": "gemini"}
PIECES = 200
PIECE = "water runs "
REQUEST_BOUND_US = 60.0
EVENT_BOUND_US = 8.0
LOOPS = 40  # of one measurement


def run(bench: Bench) -> dict[str, Any]:
    requests = {dialect: _request(dialect) for dialect in PATHS}
    codecs = {dialect: _codec(dialect) for dialect in PATHS}
    streams = {dialect: _stream(dialect, requests[dialect]) for dialect in PATHS}
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(max(bench.rounds, 2)):
        for client in PATHS:
            for upstream in PATHS:
                codec = codecs[upstream]
                per_request = _time(lambda c=client, k=codec: _ask(c, requests[c], k))  # type: ignore[misc]
                per_event = (
                    _time(
                        lambda c=client, k=codec, u=upstream: _answer(c, requests[c], k, streams[u])  # type: ignore[misc]
                    )
                    / PIECES
                )
                seen.setdefault((client, upstream), []).append((per_request, per_event))
    result: dict[str, Any] = {}
    for client in PATHS:
        for upstream in PATHS:
            own = seen[upstream, upstream]
            pairs = list(zip(seen[client, upstream], own, strict=True))
            result[f"{client} -> {upstream}"] = {
                "request_us": spread([pair[0] for pair, _ in pairs]),
                "event_us": spread([pair[1] for pair, _ in pairs]),
                "more_per_request_us": spread([pair[0] - base[0] for pair, base in pairs]),
                "more_per_event_us": spread([pair[1] - base[1] for pair, base in pairs]),
            }
    return result


def _inbound(dialect: str) -> Inbound:
    path = PATHS[dialect]
    found = INBOUND.get(path) or find(path, b"alt=sse")
    if found is None:
        raise RuntimeError(f"{path} answers nothing")
    return found


def _codec(dialect: str) -> Codec:
    row = profile(KINDS[dialect])
    codec: Codec = CONNECTORS.load(row.codec)(row, Credentials(api_key="sk-bench"), row.title).codec
    return codec


def _deployment(codec: Codec) -> Deployment:
    return Deployment("m", "upstream-model", codec, codec.operations)


def _call() -> Call:
    call = Call("req_0123456789", "/", "chat", 0.0, 1_790_000_000)
    call.model = "m"
    call.is_stream = True
    return call


def _ask(client: str, raw: bytes, codec: Codec) -> None:
    codec.encode(_inbound(client).decode(json_decode(raw)), _deployment(codec))


def _answer(client: str, raw: bytes, codec: Codec, events: list[bytes]) -> bytes:
    inbound = _inbound(client)
    request = inbound.decode(json_decode(raw))
    reader = codec.reader(request, _deployment(codec))
    encoder = inbound.encoder(request, _call())
    out = b""
    for event in events:
        delta = reader.event(event)
        if delta is not None:
            out = encoder.stream((delta,))
    return out + encoder.stream_end()


def _time(work: Callable[[], object]) -> float:
    """CPU microseconds of one call: the median of several loops."""
    work()
    times = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(LOOPS):
            work()
        times.append((time.process_time() - began) / LOOPS * 1e6)
    return statistics.median(times)


# -- the conversation, in each dialect: written once in OpenAI's, translated by the codecs that are measured


def _request(dialect: str) -> bytes:
    own = INBOUND[PATHS["openai"]].decode(json.loads(json.dumps(CONVERSATION)))
    codec = _codec(dialect)
    body: dict[str, Any] = json.loads(codec.encode(own, _deployment(codec)).body)
    if dialect != "gemini":  # there the path says both
        body |= {"model": "m", "stream": True}
    return json.dumps(body).encode()


def _stream(dialect: str, raw: bytes) -> list[bytes]:
    """The events of an upstream of that dialect."""
    inbound = _inbound(dialect)
    encoder = inbound.encoder(inbound.decode(json_decode(raw)), _call())
    events: list[Event] = [Started("id_1", "upstream-model"), *(Text(PIECE) for _ in range(PIECES))]
    events += [UsageReport(Usage(900, PIECES)), Finish("stop")]
    data = b"".join(
        encoder.stream((Events([event], event.usage if isinstance(event, UsageReport) else None, True),))
        for event in events
    )
    return SSESplitter().feed_data(data + encoder.stream_end())


def json_decode(raw: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Gives the {name} of a place; use it whenever the user asks for the {name}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "a town and its country"},
                    "unit": {"type": "string", "enum": ["metric", "imperial"]},
                },
                "required": ["place"],
            },
        },
    }
    for name in ("weather", "population")
]
_CALLS = [
    {
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": '{"place": "Rome, Italy"}'},
    }
    for name in ("weather", "population")
]
CONVERSATION: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "temperature": 0.7,
    "max_tokens": 500,
    "tools": _TOOLS,
    "messages": [
        {"role": "system", "content": "You answer briefly. " * 40},
        {"role": "user", "content": "What is a penstock? " * 20},
        {"role": "assistant", "content": "A pipe that leads water to a turbine. " * 30},
        {"role": "user", "content": "And how is the weather in Rome, and how many live there?"},
        {"role": "assistant", "content": None, "tool_calls": _CALLS},
        {"role": "tool", "tool_call_id": "call_weather", "content": "sunny, 24 degrees. " * 20},
        {"role": "tool", "tool_call_id": "call_population", "content": "2.8 million. " * 20},
        {"role": "user", "content": "Thank you. Say it in one sentence, please. " * 10},
    ],
}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| client -> upstream | CPU us per request | more than forwarding | CPU us per event | more than forwarding |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in result.items():
        cells = [
            row[key]["median"]
            for key in ("request_us", "more_per_request_us", "event_us", "more_per_event_us")
        ]
        lines.append(f"| {name} | {cells[0]:.1f} | {cells[1]:+.1f} | {cells[2]:.2f} | {cells[3]:+.2f} |")
    return "\n".join(lines)


def reaches(result: dict[str, Any]) -> list[Reach]:
    requests = max((row["more_per_request_us"]["median"] for row in result.values()), default=None)
    events = max((row["more_per_event_us"]["median"] for row in result.values()), default=None)
    return [
        Reach("translation, CPU of the dearest pair's request", REQUEST_BOUND_US, requests, "us"),
        Reach("translation, CPU of the dearest pair's event", EVENT_BOUND_US, events, "us"),
    ]
