"""What the Responses API keeps between requests, through the official SDK."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import structlog
import websockets
from gateways import KEY, Gateway, gateway, remote

from penstock.gateway.kept import Kept, Store
from penstock.gateway.reservations import Reservations
from penstock.lib import tasks
from penstock.testing.brain import Seals
from penstock.testing.responses import ResponsesDouble
from penstock.testing.upstream import Upstream

LOOK: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
TWO_KEYS = """
  other: {secret: sk-other}
"""
LIMITED = """
  limited: {secret: sk-limited, limits: {requests: 60/min}}
"""


@asynccontextmanager
async def door() -> AsyncIterator[tuple[openai.AsyncOpenAI, Upstream, Gateway]]:
    async with Upstream() as up, gateway(remote(up.url, TWO_KEYS)) as gate:
        client = openai.AsyncOpenAI(
            base_url=f"{gate.url}/v1", api_key=KEY, max_retries=0, _strict_response_validation=True
        )
        try:
            yield client, up, gate
        finally:
            await client.close()


def routed(url: str) -> str:
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: k}}
deployments:
  m: {{provider: up, model: one}}
  n: {{provider: up, model: other}}
routes:
  choosy: {{strategy: difficulty, targets: [{{deployment: m, when: easy}}, {{deployment: n, when: hard}}]}}
keys:
  test: {{secret: {KEY}}}
  tight: {{secret: sk-tight, limits: {{tokens: 400/min}}}}
"""


PICTURE = {"type": "input_image", "image_url": "https://pictures.example/1.png"}
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def accounts(one: str, two: str) -> str:
    return f"""
builtin: off
providers:
  first: {{kind: openai-responses, base_url: "{one}", api_key: k}}
  second: {{kind: openai-responses, base_url: "{two}", api_key: k}}
deployments:
  one: {{provider: first, model: gpt-5}}
  two: {{provider: second, model: gpt-5}}
keys:
  test: {{secret: {KEY}}}
"""


def sent(up: Upstream) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in up.requests[-1].body["messages"]]


async def test_a_conversation_goes_on_from_the_response_before() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-content": "one"}
        first = await client.responses.create(model="m", input="hello", instructions="be brief")
        up.behaviour = {"x-test-content": "two"}
        second = await client.responses.create(model="m", input="and?", previous_response_id=first.id)
        assert sent(up) == [("user", "hello"), ("assistant", "one"), ("user", "and?")]
        assert second.previous_response_id == first.id
        third = await client.responses.create(model="m", input="so?", previous_response_id=second.id)
        assert [text for _, text in sent(up)] == ["hello", "one", "and?", "two", "so?"]
        assert third.output_text == "two"


async def test_a_route_that_looks_at_the_request_sees_the_conversation_before() -> None:
    async with Upstream() as up, gateway(routed(up.url)) as gate:
        up.behaviour = {"x-test-content": "one"}
        first = (await gate.post("/v1/responses", {"model": "choosy", "input": "hello"})).json
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        for said in (
            {"input": "and?", "previous_response_id": first["id"]},
            {"input": [{"role": "user", "content": "hello"}, reference, {"role": "user", "content": "and?"}]},
        ):
            answer = await gate.post("/v1/responses", {"model": "choosy", **said})
            assert answer.status == 200
            assert sent(up) == [("user", "hello"), ("assistant", "one"), ("user", "and?")]


async def test_the_conversation_before_counts_for_what_is_reserved() -> None:
    """A few words behind a long conversation are no small request."""
    async with Upstream() as up, gateway(routed(up.url)) as gate:
        key = {"authorization": "Bearer sk-tight"}
        up.behaviour = {"x-test-content": "one", "x-test-prompt-tokens": "250"}
        asked = {"model": "m", "input": "word " * 200, "max_output_tokens": 16}
        first = await gate.post("/v1/responses", asked, headers=key)
        assert first.status == 200
        asked = {"model": "m", "input": "and?", "max_output_tokens": 16}
        chained = {**asked, "previous_response_id": first.json["id"]}
        assert (await gate.post("/v1/responses", chained, headers=key)).status == 429
        assert (await gate.post("/v1/responses", asked, headers=key)).status == 200


async def test_a_conversation_moves_between_accounts_without_its_sealed_reasoning() -> None:
    """OpenAI refuses a whole request for reasoning that another organisation's key was given."""
    add: Any = {**LOOK, "name": "add", "description": "Adds two numbers: a + b.", "parameters": NUMBERS}
    async with ResponsesDouble() as one, ResponsesDouble() as two:
        two.seals = Seals(b"another organisation")
        async with gateway(accounts(one.url, two.url)) as gate:
            asked: Any = {"model": "one", "input": "Use add to compute 3 + 4.", "tools": [add]}
            asked["reasoning"] = {"effort": "low", "summary": "auto"}
            for where, lost in (("one", None), ("two", "lossy; dropped=input[].reasoning")):
                first = (await gate.post("/v1/responses", asked)).json
                thought, call = first["output"]
                assert (thought["type"], call["type"]) == ("reasoning", "function_call")
                result = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
                more = {**asked, "model": where, "input": [result], "previous_response_id": first["id"]}
                answer = await gate.post("/v1/responses", more)
                assert (answer.status, answer.headers.get("x-penstock-translation")) == (200, lost)


async def test_a_tool_s_result_goes_on_from_its_call() -> None:
    async with door() as (client, up, _):
        up.plan.append({"x-test-tool-call": 'look:{"a": 1}'})
        first = await client.responses.create(model="m", input="look", tools=[LOOK])
        (call,) = first.output
        assert call.type == "function_call"
        result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "42"}]
        await client.responses.create(model="m", input=result, previous_response_id=first.id, tools=[LOOK])
        assert [role for role, _ in sent(up)] == ["user", "assistant", "tool"]


async def test_a_result_may_answer_a_call_that_is_only_referred_to() -> None:
    """As some SDKs do with what is stored: of the reference its type may be left out."""
    async with door() as (client, up, _):
        for reference in ({"type": "item_reference"}, {}):
            up.plan.append({"x-test-tool-call": 'look:{"a": 1}'})
            first = await client.responses.create(model="m", input="look", tools=[LOOK])
            (call,) = first.output
            assert call.type == "function_call"
            result = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
            given: Any = [{"role": "user", "content": "look"}, {**reference, "id": call.id}, result]
            await client.responses.create(model="m", input=given, tools=[LOOK])
            assert [role for role, _ in sent(up)] == ["user", "assistant", "tool"]


async def test_a_result_of_a_call_that_nobody_made_is_refused() -> None:
    async with door() as (client, up, _):
        first = await client.responses.create(model="m", input="look")
        seen = len(up.requests)
        result: Any = [{"type": "function_call_output", "call_id": "call_x", "output": "42"}]
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="m", input=result, previous_response_id=first.id)
        assert (refused.value.param, len(up.requests)) == ("input[0].call_id", seen)


async def test_what_was_cut_is_no_ground_to_go_on_from() -> None:
    async with door() as (client, up, _):
        up.plan.append({"x-test-tool-call": 'look:{"a": 1', "x-test-finish": "length"})
        first = await client.responses.create(model="m", input="look", tools=[LOOK])
        assert (first.status, first.output[0].type) == ("incomplete", "function_call")
        await client.responses.create(model="m", input="never mind", previous_response_id=first.id)
        assert sent(up) == [("user", "look"), ("user", "never mind")]


async def test_what_is_kept_is_counted() -> None:
    async with door() as (client, _, gate):
        alone = await client.responses.input_tokens.count(model="m", input="and?")
        first = await client.responses.create(model="m", input="many words " * 50)
        counted = client.responses.input_tokens.count
        whole = await counted(model="m", input="and?", previous_response_id=first.id)
        assert whole.input_tokens > alone.input_tokens + 50
        reference: Any = [{"type": "item_reference", "id": first.output[0].id}]
        assert (await counted(model="m", input=reference)).input_tokens > 1
        async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key="sk-other", max_retries=0) as other:
            with pytest.raises(openai.BadRequestError):
                await other.responses.input_tokens.count(
                    model="m", input="and?", previous_response_id=first.id
                )


async def test_a_response_is_kept_listed_and_deleted() -> None:
    async with door() as (client, _, _):
        made = await client.responses.create(model="m", input="hello", metadata={"a": "b"})
        again = await client.responses.retrieve(made.id)
        assert again == made
        items = await client.responses.input_items.list(made.id)
        assert [item.content[0].text for item in items.data] == ["hello"]  # type: ignore[union-attr]
        await client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError) as raised:
            await client.responses.retrieve(made.id)
        assert raised.value.code == "response_not_found"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="m", input="x", previous_response_id=made.id)
        assert (refused.value.code, refused.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )


async def test_what_is_not_stored_is_not_there() -> None:
    async with door() as (client, _, _):
        made = await client.responses.create(model="m", input="hello", store=False)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


async def test_another_key_sees_nothing() -> None:
    async with door() as (client, _, gate):
        made = await client.responses.create(model="m", input="hello")
        async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key="sk-other", max_retries=0) as other:
            with pytest.raises(openai.NotFoundError):
                await other.responses.retrieve(made.id)
            with pytest.raises(openai.BadRequestError):
                await other.responses.create(model="m", input="x", previous_response_id=made.id)
            with pytest.raises(openai.NotFoundError):
                await other.responses.delete(made.id)
        assert (await client.responses.retrieve(made.id)).id == made.id


async def test_items_are_listed_in_pages() -> None:
    async with door() as (client, _, _):
        given: Any = [{"role": "user", "content": f"{number}"} for number in range(5)]
        made = await client.responses.create(model="m", input=given)
        first = await client.responses.input_items.list(made.id, limit=2, order="asc")
        assert [item.content[0].text for item in first.data] == ["0", "1"]  # type: ignore[union-attr]
        assert first.has_more
        rest = [item.content[0].text async for item in first]  # type: ignore[union-attr]
        assert rest == ["0", "1", "2", "3", "4"]


async def test_items_of_every_sort_are_listed() -> None:
    async with door() as (client, up, _):
        up.plan.append({"x-test-tool-call": 'look:{"a": 1}'})
        said: Any = [{"role": "assistant", "content": "I looked."}, {"role": "user", "content": "look"}]
        first = await client.responses.create(model="m", input=said, tools=[LOOK])
        (call,) = first.output
        assert call.type == "function_call"
        again: Any = [
            {"type": "function_call_output", "call_id": call.call_id, "output": "42"},
            call.to_dict(),  # once more, by mistake: ids are places in the list
            {"type": "function_call_output", "call_id": call.call_id, "output": [PICTURE]},
        ]
        made = await client.responses.create(model="m", input=again, previous_response_id=first.id)
        kinds = ["message", "message", "function_call", "function_call_output"]
        for order, wanted in (("asc", [*kinds, *kinds[2:]]), ("desc", [*kinds[2:], *kinds][::-1])):
            listed = client.responses.input_items.list(made.id, limit=1, order=order)  # type: ignore[arg-type]
            assert sorted([item.type async for item in listed]) == sorted(wanted)


async def test_a_background_response_is_polled() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-delay-between": "0.01", "x-test-content": "done at last"}
        made = await client.responses.create(model="m", input="hello", background=True)
        assert made.status == "in_progress"
        while made.status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
            made = await client.responses.retrieve(made.id)
        assert (made.status, made.output_text) == ("completed", "done at last")


async def test_a_background_stream_is_followed_again_where_it_broke() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-delay-between": "0.01", "x-test-tokens": "20"}
        seen: list[int] = []
        texts: list[str] = []
        response_id = ""
        stream = await client.responses.create(model="m", input="hello", background=True, stream=True)
        async for event in stream:
            seen.append(event.sequence_number)
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
            if len(texts) == 5:
                break
        await stream.close()
        again = await client.responses.retrieve(response_id, stream=True, starting_after=seen[-1])
        async for event in again:
            seen.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
        assert seen == list(range(len(seen)))
        final = await client.responses.retrieve(response_id)
        assert final.status == "completed"
        assert final.output_text == "".join(texts)


async def test_a_background_stream_says_its_id_before_the_model_says_anything() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-hold": "1"}
        stream = await client.responses.create(model="m", input="hello", background=True, stream=True)
        created = await anext(stream)
        assert created.type == "response.created"
        assert (await client.responses.retrieve(created.response.id)).status == "in_progress"
        up.release()
        assert [event.type async for event in stream][-1] == "response.completed"


async def test_a_background_stream_that_fails_at_once_begins_as_any_other() -> None:
    async with door() as (client, up, _):
        up.plan.append({"x-test-status": "500"})
        async with client.responses.stream(model="m", input="hello", background=True) as stream:
            events = [event async for event in stream]
        kinds = ["response.created", "response.in_progress", "response.failed"]
        assert [event.type for event in events] == kinds
        assert events[-1].type == "response.failed"
        error = (await client.responses.retrieve(events[-1].response.id)).error
        assert error is not None
        assert error == events[-1].response.error


async def test_a_client_that_leaves_a_background_stream_is_no_bug() -> None:
    async with door() as (client, up, gate):
        up.behaviour = {"x-test-hold": "1"}
        with structlog.testing.capture_logs() as logs:
            stream = await client.responses.create(model="m", input="hello", background=True, stream=True)
            created = await anext(stream)
            assert created.type == "response.created"
            await stream.close()
            await asyncio.sleep(0.05)
            up.release()
            await gate.settled("penstock_requests_total", at_least=1)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == []
        made = await client.responses.retrieve(created.response.id)
        while made.status == "in_progress":
            await asyncio.sleep(0.01)
            made = await client.responses.retrieve(made.id)
        assert made.status == "completed"


async def test_a_background_response_is_cancelled_and_its_upstream_let_go() -> None:
    async with door() as (client, up, gate):
        up.behaviour = {"x-test-delay-between": "0.01", "x-test-tokens": "10000"}
        made = await client.responses.create(model="m", input="hello", background=True)
        await asyncio.sleep(0.1)
        cancelled = await client.responses.cancel(made.id)
        assert cancelled.status == "cancelled"
        assert (await client.responses.retrieve(made.id)).status == "cancelled"
        await asyncio.wait_for(up.requests[-1].ended.wait(), 5)
        assert up.requests[-1].cancelled_at is not None
        assert await gate.settled("penstock_requests_total", at_least=1) == 1
        up.behaviour = {}
        whole = await client.responses.create(model="m", input="x")
        with pytest.raises(openai.BadRequestError):
            await client.responses.cancel(whole.id)


async def test_a_background_request_that_is_refused_is_answered_at_once() -> None:
    async with door() as (client, up, _):
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="nope", input="x", background=True)
        up.plan.append({"x-test-status": "500"})
        made = await client.responses.create(model="m", input="x", background=True)
        while made.status == "in_progress":
            await asyncio.sleep(0.01)
            made = await client.responses.retrieve(made.id)
        assert made.status == "failed"
        assert made.error is not None


async def test_a_server_that_stops_leaves_no_background_behind() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.01", "x-test-tokens": "100000"}
        asked = {"model": "m", "input": "x", "background": True}
        answer = await gate.post("/v1/responses", asked)
        assert answer.json["status"] == "in_progress"


async def test_a_websocket_asks_for_one_response_after_the_other() -> None:
    async with door() as (client, up, _):
        up.behaviour = {"x-test-content": "one two"}
        async with client.responses.connect() as connection:
            texts = []
            response_id = None
            for text in ("hello", "and?"):
                await connection.response.create(
                    model="m", input=text, store=False, previous_response_id=response_id or openai.omit
                )
                async for event in connection:
                    if event.type == "response.output_text.delta":
                        texts.append(event.delta)
                    if event.type == "response.completed":
                        response_id = event.response.id
                        break
            assert "".join(texts) == "one twoone two"
            assert [text for _, text in sent(up)] == ["hello", "one two", "and?"]


async def test_what_is_wrong_in_a_websocket_is_an_event() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        url = gate.url.replace("http", "ws") + "/v1/responses"
        headers = {"authorization": f"Bearer {KEY}"}
        async with websockets.connect(url, additional_headers=headers) as socket:
            for message, code, param in (
                ("{", "invalid_request", None),
                ('{"type": "x"}', "invalid_request", "type"),
                ('{"type": "response.create", "model": "nope", "input": "x"}', "model_not_found", "model"),
                ('{"type": "response.create", "model": "m", "input": 3}', "invalid_request", "input"),
            ):
                await socket.send(message)
                answer = json.loads(await socket.recv())
                assert answer["type"] == "error"
                assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
            await socket.send('{"type": "response.create", "model": "m", "input": "x"}')
            assert json.loads(await socket.recv())["type"] == "response.created"
        with pytest.raises(websockets.exceptions.InvalidStatus):
            await websockets.connect(url, additional_headers={"authorization": "Bearer wrong"})


async def test_a_websocket_that_goes_lets_its_upstream_go() -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        up.behaviour = {"x-test-delay-between": "0.01", "x-test-tokens": "10000"}
        url = gate.url.replace("http", "ws") + "/v1/responses"
        async with websockets.connect(url, additional_headers={"x-api-key": KEY}) as socket:
            await socket.send('{"type": "response.create", "model": "m", "input": "x"}')
            await socket.recv()
        await asyncio.wait_for(up.requests[-1].ended.wait(), 5)
        assert up.requests[-1].cancelled_at is not None


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/responses/resp_nope", "GET", 404),
        ("/v1/responses/resp_nope/cancel", "POST", 404),
        ("/v1/responses/compact", "POST", 404),
        ("/v1/responses/resp_nope", "PUT", 405),
        ("/v1/responses", "GET", 405),
    ],
)
async def test_what_is_not_there_is_said(path: str, method: str, status: int) -> None:
    async with Upstream() as up, gateway(remote(up.url)) as gate:
        answer = await gate.get(path, method=method)
        assert answer.status == status
        assert answer.json["error"]["code"]
        nobody = await gate.get("/v1/responses/resp_x", headers={"authorization": "Bearer wrong"})
        assert nobody.status == 401


async def test_what_is_deleted_while_it_is_made_stays_deleted() -> None:
    async with door() as (client, up, gate):
        up.behaviour = {"x-test-delay-between": "0.05", "x-test-tokens": "100"}
        made = await client.responses.create(model="m", input="hi", background=True)
        await client.responses.delete(made.id)
        await gate.settled("penstock_requests_total", at_least=1)
        await asyncio.sleep(0.05)  # its task ends after it was counted
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


async def test_a_request_id_is_no_response_id() -> None:
    """Clients say the first: twice, or as it was of another's request."""
    async with door() as (_, _, gate):
        asked = {"model": "m", "input": "hello"}
        made = (await gate.post("/v1/responses", asked, headers={"x-request-id": "trace-1"})).json
        again = (await gate.post("/v1/responses", asked, headers={"x-request-id": "trace-1"})).json
        assert made["id"] != again["id"]
        assert made["output"][0]["id"] != again["output"][0]["id"]
        other = {"authorization": "Bearer sk-other"}
        for body in (asked, {**asked, "background": True}):
            headers = {**other, "x-request-id": made["id"].replace("resp_", "req_")}
            assert (await gate.post("/v1/responses", body, headers=headers)).status == 200
        for one in (made, again):
            assert (await gate.get(f"/v1/responses/{one['id']}")).json == one


async def test_a_background_request_that_must_wait_for_the_ledger_costs_nothing_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_there, may_go_on = asyncio.Event(), asyncio.Event()

    async def reserve(*_: Any) -> None:
        is_there.set()
        await may_go_on.wait()

    monkeypatch.setattr(Reservations, "reserve", reserve)
    looks = 0

    def find(store: Store, owner: str, wanted: str) -> Kept | None:
        nonlocal looks
        looks += 1
        return None

    async with Upstream() as up, gateway(remote(up.url, LIMITED)) as gate:
        asked = {"model": "m", "input": "hello", "background": True}
        headers = {"authorization": "Bearer sk-limited"}
        running: tasks.Tasks = set()
        answer = tasks.spawn(running, gate.post("/v1/responses", asked, headers=headers), "background")
        await is_there.wait()
        monkeypatch.setattr(Store, "find", find)
        for _ in range(50):
            await asyncio.sleep(0)
        monkeypatch.undo()
        may_go_on.set()
        assert (await answer).json["status"] == "in_progress"
        assert looks == 0
