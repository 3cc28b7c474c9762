"""What several tests of wire formats need: requests, calls, and the rules of OpenAI's chat stream."""

import json
from pathlib import Path
from typing import Any

from openai.types.chat import ChatCompletionChunk

from penstock.types.call import Call

WIRE = Path(__file__).parent.parent / "wire"

USER = {"role": "user", "content": "hello"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def chat_body(**fields: Any) -> dict[str, Any]:
    return {"model": "public", "messages": [dict(USER)], **fields}


def new_call(path: str = "/v1/chat/completions", call_id: str = "req_0123") -> Call:
    call = Call(call_id, path, "chat", 0.0, 1_700_000_000)
    call.model = "public"
    return call


def events(data: bytes) -> list[Any]:
    """The JSON of each event; the string [DONE] as itself. Fails on bytes that are no event stream."""
    assert data == b"" or data.endswith(b"\n\n"), data
    out: list[Any] = []
    for block in data.split(b"\n\n")[:-1]:
        assert block.startswith(b"data: "), block
        payload = block[6:]
        out.append("[DONE]" if payload == b"[DONE]" else json.loads(payload))
    return out


def recorded(name: str) -> list[bytes]:
    """The data of each event of a recording."""
    blocks = (WIRE / name).read_bytes().split(b"\n\n")
    return [block[6:] for block in blocks if block.startswith(b"data: ")]


def check_chat_stream(data: bytes, *, include_usage: bool) -> dict[int, dict[str, Any]]:
    """Breaks on any breach of the rules of protocols.md section 2.1; gives what the text says per choice.

    role first and once - deltas - one finish per choice - nothing of that choice after it - the usage chunk
    if asked for - [DONE]; id, object, created and model the same throughout.
    """
    parsed = events(data)
    assert parsed[-1] == "[DONE]"
    assert "[DONE]" not in parsed[:-1]
    chunks = parsed[:-1]
    if include_usage:
        last = chunks.pop()
        _check_envelope(last)
        assert last["choices"] == []
        usage = last["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        ChatCompletionChunk.model_validate(last, strict=True)
        assert last["id"] == chunks[0]["id"]
    said: dict[int, dict[str, Any]] = {}
    assert len({(c["id"], c["object"], c["created"], c["model"]) for c in chunks}) == 1
    for chunk in chunks:
        _check_envelope(chunk)
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert chunk["choices"]
        assert ("usage" in chunk) is include_usage
        assert chunk.get("usage") is None
        for choice in chunk["choices"]:
            _check_choice(said, choice)
    assert all(choice["finish_reason"] for choice in said.values())
    return said


def _check_envelope(chunk: dict[str, Any]) -> None:
    assert chunk["object"] == "chat.completion.chunk"
    assert chunk["model"] == "public"
    assert chunk["id"]
    assert chunk["created"] > 0


def _check_choice(said: dict[int, dict[str, Any]], choice: dict[str, Any]) -> None:
    delta = choice["delta"]
    is_first = choice["index"] not in said
    state = said.setdefault(
        choice["index"], {"content": "", "reasoning": "", "refusal": "", "calls": [], "finish_reason": None}
    )
    assert state["finish_reason"] is None, "a delta after the finish"
    assert ("role" in delta) is is_first
    assert delta.get("role", "assistant") == "assistant"
    state["content"] += delta.get("content") or ""
    state["reasoning"] += delta.get("reasoning") or ""
    assert delta.get("reasoning") == delta.get("reasoning_content")
    state["refusal"] += delta.get("refusal") or ""
    for piece in delta.get("tool_calls", ()):
        calls = state["calls"]
        assert 0 <= piece["index"] <= len(calls), "tool call indexes rise by one"
        if piece["index"] == len(calls):
            assert piece["id"]
            assert piece["type"] == "function"
            calls.append({"id": piece["id"], "name": piece["function"]["name"], "arguments": ""})
            assert calls[-1]["name"]
        else:
            assert "id" not in piece
            assert "name" not in piece["function"]
        calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
    state["finish_reason"] = choice["finish_reason"]
    if state["finish_reason"] == "tool_calls":
        assert state["calls"]
