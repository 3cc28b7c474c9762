"""What a key's role opens: operators are told of each attempt, viewers look on."""

import json
from typing import Any

import pytest
from gateways import KEY, chat, gateway

from penstock.testing.upstream import Upstream

ROLES = ("owner", "admin", "operator", "developer", "viewer")
SECRET = "sk-upstream-secret"


def config(
    one: str, two: str, route: str = "targets: [{deployment: a}], fallbacks: [b]", more: str = ""
) -> str:
    keys = "".join(f"  {role}: {{secret: {KEY}-{role}, role: {role}}}\n" for role in ROLES)
    return (
        "builtin: off\nproviders:\n"
        f'  one: {{kind: openai-compatible, base_url: "{one}", api_key: {SECRET}}}\n'
        f'  two: {{kind: openai-compatible, base_url: "{two}", api_key: {SECRET}}}\n'
        f"deployments:\n  a: {{provider: one, model: m}}\n  b: {{provider: two, model: m{more}}}\n"
        f"routes:\n  m: {{{route}}}\nkeys:\n  test: {{secret: {KEY}}}\n{keys}"
    )


def as_(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}-{role}"}


@pytest.mark.parametrize("role", ROLES[:4])
async def test_operators_are_told_of_each_attempt(role: str) -> None:
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        one.behaviour = {"x-test-status": "500"}
        two.behaviour = {"x-test-status": "429", "x-test-retry-after": "7"}
        answer = await gate.post("/v1/chat/completions", chat(), headers=as_(role))
        assert answer.error == (503, "no_healthy_target", None)
        attempts = answer.json["error"].get("attempts")
        if role == "developer":
            assert attempts is None
            return
        assert [(one["deployment"], one["code"]) for one in attempts] == [
            ("a", "upstream_unavailable"),
            ("b", "upstream_rate_limited"),
        ]
        assert all(one["ms"] >= 0 and one.keys() == {"deployment", "code", "ms"} for one in attempts)
        for secret in (SECRET, "127.0.0.1", str(one.port), str(two.port)):
            assert secret.encode() not in answer.body


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/responses", {"model": "m", "input": "hi"}),
    ("/api/chat", {"model": "m", "stream": False, "messages": [{"role": "user", "content": "hi"}]}),
    ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    ("/embed", {"model": "m", "inputs": "hi"}),
    ("/v1/embed", {"model": "m", "texts": ["hi"]}),
]


@pytest.mark.parametrize(("path", "body"), SHAPES, ids=[path for path, _ in SHAPES])
async def test_every_protocol_has_a_place_for_them(path: str, body: dict[str, Any]) -> None:
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        one.behaviour = two.behaviour = {"x-test-status": "500"}
        told = await gate.post(path, body, headers=as_("operator"))
        other = await gate.post(path, body, headers=as_("developer"))
        assert told.status == other.status == 503
        assert '"upstream_unavailable' in json.dumps(told.json) or "a: upstream_unavailable" in str(told.json)
        assert "upstream_unavailable" not in str(other.json)


async def test_attempts_at_one_target_are_told_too() -> None:
    route = "targets: [{deployment: a}], retries: 1"
    async with Upstream() as up, gateway(config(up.url, up.url, route)) as gate:
        up.behaviour = {"x-test-status": "500"}
        answer = await gate.post("/v1/chat/completions", chat(), headers=as_("operator"))
        assert answer.status == 502
        assert [one["deployment"] for one in answer.json["error"]["attempts"]] == ["a", "a"]


async def test_a_target_that_was_full_is_told_without_a_time() -> None:
    async with Upstream() as one, Upstream() as two:
        more = ", concurrency: 1, queue: {waiting: 1, wait: 10ms}"
        async with gateway(config(one.url, two.url, more=more)) as gate:
            two.behaviour = {"x-test-tokens": "50", "x-test-hang": "4"}
            busy = await gate.open("/v1/chat/completions", chat(stream=True) | {"model": "b"})
            one.behaviour = {"x-test-status": "500"}
            answer = await gate.post("/v1/chat/completions", chat(), headers=as_("operator"))
            busy.close()
            assert answer.status == 503
            first, second = answer.json["error"]["attempts"]
            assert (first["deployment"], first["code"]) == ("a", "upstream_unavailable")
            assert second == {"deployment": "b", "code": "queue_timeout"}


async def test_the_caller_s_own_mistakes_have_no_attempts() -> None:
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        one.behaviour = {"x-test-status": "400"}
        answer = await gate.post("/v1/chat/completions", chat(), headers=as_("operator"))
        assert (answer.status, answer.json["error"].get("attempts")) == (400, None)


async def test_viewers_look_on() -> None:
    async with Upstream() as one, Upstream() as two, gateway(config(one.url, two.url)) as gate:
        for path, body in [("/v1/chat/completions", chat()), *SHAPES]:
            answer = await gate.post(path, body, headers=as_("viewer"))
            assert answer.status == 403, path
        assert not one.requests
        background = {"model": "m", "input": "hi", "background": True}
        assert (await gate.post("/v1/responses", background, headers=as_("viewer"))).status == 403
        models = await gate.get("/v1/models", headers=as_("viewer"))
        assert (models.status, len(models.json["data"])) == (200, 3)
        assert await gate.metric("penstock_requests_total", 'code="permission_denied"') == 8
