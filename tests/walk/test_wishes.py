"""What a client may ask of the walk by header, what its key binds it to, and conversations that stay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateways import KEY, Gateway, chat, gateway

from penstock.gateway import pace
from penstock.gateway.wishes import is_hurry
from penstock.testing.upstream import Upstream
from penstock.types.call import Call

FREE = {"authorization": "Bearer sk-free"}
BOUND = {"authorization": "Bearer sk-bound"}


def config(ups: list[Upstream], route: str) -> str:
    places = ("data_region: eu, data_policy: [no-training]", "data_region: us", "data_region: eu")
    providers = "".join(
        f'  p{at}: {{kind: openai-compatible, base_url: "{up.url}", api_key: k, {place}}}\n'
        for at, (up, place) in enumerate(zip(ups, places, strict=True))
    )
    deployments = "".join(f"  d{at}: {{provider: p{at}, model: m}}\n" for at in range(len(ups)))
    return f"""
builtin: off
providers:
{providers}
deployments:
{deployments}
routes:
  m: {{{route}}}
keys:
  test: {{secret: {KEY}}}
  free: {{secret: sk-free, overrides: [deployment, timeout]}}
  bound: {{secret: sk-bound, requires: {{region: [eu], data_policy: [no-training]}}}}
"""


ALL = "targets: [{deployment: d0}, {deployment: d1}, {deployment: d2}]"
TIERS = "targets: [{deployment: d0}, {deployment: d1, tier: 2}, {deployment: d2, tier: 2}]"


@contextlib.asynccontextmanager
async def three(route: str = ALL) -> AsyncIterator[tuple[list[Upstream], Gateway]]:
    async with contextlib.AsyncExitStack() as stack:
        ups = [await stack.enter_async_context(Upstream()) for _ in range(3)]
        yield ups, await stack.enter_async_context(gateway(config(ups, route)))


async def asked(gate: Gateway, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gate.post("/v1/chat/completions", chat(), headers=sent)


async def places_of(gate: Gateway, times: int, **headers: str) -> set[str]:
    answers = [await asked(gate, **headers) for _ in range(times)]
    assert {answer.status for answer in answers} == {200}
    return {answer.headers["x-penstock-deployment"] for answer in answers}


async def test_one_deployment_by_header() -> None:
    async with three() as (_, gate):
        assert await places_of(gate, 8, **FREE, x_penstock_deployment="d1") == {"d1"}
        wrong = await asked(gate, **FREE, x_penstock_deployment="d9")
        assert wrong.error == (400, "invalid_request", "x-penstock-deployment")
        assert "d0, d1, d2" in wrong.json["error"]["message"]
        refused = await asked(gate, x_penstock_deployment="d1")
        assert refused.error == (403, "permission_denied", "x-penstock-deployment")
        assert "d0" not in refused.json["error"]["message"]


async def test_a_deployment_that_was_asked_for_has_no_substitute() -> None:
    async with three() as (ups, gate):
        ups[1].behaviour = {"x-test-status": "500"}
        answer = await asked(gate, **FREE, x_penstock_deployment="d1")
        assert answer.error == (502, "upstream_unavailable", None)
        assert [len(up.requests) for up in ups] == [0, 1, 0]


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", "1e9"])
async def test_a_timeout_that_is_none(value: str) -> None:
    async with three() as (_, gate):
        answer = await asked(gate, x_penstock_timeout=value)
        assert answer.error == (400, "invalid_request", "x-penstock-timeout")


async def test_a_timeout_is_for_all_attempts_together() -> None:
    async with three() as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-headers": "5"}
        started_s = asyncio.get_running_loop().time()
        answer = await asked(gate, x_penstock_timeout="0.3")
        assert answer.status in (503, 504)
        assert asyncio.get_running_loop().time() - started_s < 4  # three times 0.3 s would do, 5 s would not
        assert sum(len(up.requests) for up in ups) < 3


async def test_a_client_s_own_hurry_takes_a_target_from_nobody() -> None:
    async with three() as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-headers": "0.2"}
        for stream in (False, True) * 8:
            asked_ = {**chat(), "stream": stream}
            answer = await gate.post("/v1/chat/completions", asked_, headers={"x-penstock-timeout": "0.02"})
            assert answer.status in (502, 503, 504)
        assert await gate.metric("penstock_deployment_down") == 0
        assert await gate.metric("penstock_breaker_state") == 0


async def test_a_target_that_answers_nobody_is_found_out_by_clients_with_little_time() -> None:
    tiers = "targets: [{deployment: d0}], fallbacks: [d1]"
    async with three(tiers) as (ups, gate):
        ups[0].behaviour = {"x-test-delay-headers": "30"}
        hurried = {"x-penstock-timeout": "1.5"}
        late = await asyncio.gather(
            *(gate.post("/v1/chat/completions", chat(), headers=hurried) for _ in range(6))
        )
        assert {answer.status for answer in late} == {504}
        assert await gate.metric("penstock_deployment_down", '"d0"') == 1
        answer = await gate.post("/v1/chat/completions", chat(), headers=hurried)
        assert (answer.status, answer.headers["x-penstock-deployment"]) == (200, "d1")


@pytest.mark.parametrize(
    ("limit_s", "answered_s", "now_s", "expected"),
    [
        (None, None, 600.0, False),
        (5.0, None, 14.0, False),  # it failed before
        (5.0, None, 15.0, False),  # and answered nobody
        (5.0, 11.0, 15.0, False),  # since then
        (5.0, 13.0, 15.0, True),
        (2.5, None, 12.5, True),  # it had half a second of it
    ],
)
def test_who_is_to_blame(
    limit_s: float | None, answered_s: float | None, now_s: float, expected: bool
) -> None:
    call = Call("c", "", "chat", 10.0, 0, limit_s=limit_s)
    assert is_hurry(call, 12.0, answered_s, now_s) is expected


async def test_long_answers_that_are_cut_take_their_target_from_nobody() -> None:
    async with three(f"{ALL}, timeouts: {{total: 1500ms}}") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-between": "0.05", "x-test-tokens": "1000"}
        answers = await asyncio.gather(
            *(gate.post("/v1/chat/completions", chat(stream=True)) for _ in range(18))
        )
        assert {one.events[-1]["error"]["code"] for one in answers} == {"upstream_timeout"}
        assert await gate.metric("penstock_breaker_state") == 0


async def test_a_time_that_the_upstream_was_given_is_its_own_fault() -> None:
    async with three(f"{ALL}, timeouts: {{first_token: 50ms}}") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-headers": "5"}
        while not await gate.metric("penstock_deployment_down"):
            answer = await gate.post(
                "/v1/chat/completions", chat(stream=True), headers={"x-penstock-timeout": "20"}
            )
            assert answer.status in (503, 504)


async def test_a_client_that_hurries_is_not_spared_the_least_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WINDOW_S", 0.3)
    async with three(f"{ALL}, timeouts: {{min_rate: 100}}") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-between": "0.1", "x-test-tokens": "1000"}
        answer = await gate.post(
            "/v1/chat/completions", chat(stream=True), headers={"x-penstock-timeout": "60"}
        )
        assert answer.events[-1]["error"]["code"] == "upstream_timeout"


async def test_more_time_than_the_route_gives_is_for_keys_that_may() -> None:
    async with three(f"{ALL}, timeouts: {{total: 200ms}}") as (ups, gate):
        for up in ups:
            up.behaviour = {"x-test-delay-headers": "0.5"}
        assert (await asked(gate)).status == 504
        assert (await asked(gate, x_penstock_timeout="5")).error[1] == "permission_denied"
        assert (await asked(gate, **FREE, x_penstock_timeout="5")).status == 200


async def test_only_where_the_data_may_go() -> None:
    async with three() as (ups, gate):
        assert await places_of(gate, 30, x_penstock_require="region=eu") == {"d0", "d2"}
        assert await places_of(gate, 6, x_penstock_require="region=eu, Data-Policy=no-training") == {"d0"}
        assert await places_of(gate, 6, **BOUND) == {"d0"}
        none = await asked(gate, **BOUND, x_penstock_require="region=us")
        assert none.error == (403, "permission_denied", None)
        bad = await asked(gate, x_penstock_require="eu")
        assert bad.error == (400, "invalid_request", "x-penstock-require")
        ups[0].behaviour = {"x-test-status": "500"}
        failed = await asked(gate, **BOUND)
        assert failed.status == 502  # and not elsewhere
        assert len(ups[1].requests) == 0


async def test_tiers_are_asked_in_their_order_and_shared_within() -> None:
    for broken, expected in ((0, {"d0"}), (1, {"d1", "d2"}), (2, {"d2"})):
        async with three(TIERS) as (ups, gate):  # anew: a route has a budget of further attempts
            for up in ups[:broken]:
                up.behaviour = {"x-test-status": "500"}
            assert await places_of(gate, 4) <= expected


async def test_a_conversation_stays_and_others_go_elsewhere() -> None:
    async with three(f"{ALL}, sticky: conversation") as (ups, gate):
        places = []
        for number in range(12):
            turns = [{"role": "user", "content": f"number {number}"}]
            seen = set()
            for turn in range(3):
                answer = await gate.post("/v1/chat/completions", {"model": "m", "messages": turns})
                seen.add(answer.headers["x-penstock-deployment"])
                turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"t{turn}"}]
            assert len(seen) == 1
            places.append(seen.pop())
        assert len(set(places)) == 3
        (home,) = await places_of(gate, 5, x_penstock_session="s1")
        ups[int(home[1])].behaviour = {"x-test-status": "500"}
        (other,) = await places_of(gate, 5, x_penstock_session="s1")
        assert other != home


async def test_a_key_stays() -> None:
    async with three(f"{ALL}, sticky: key") as (_, gate):
        assert len(await places_of(gate, 10)) == 1


async def test_the_cheapest_unless_it_has_been_slow() -> None:
    text = """
builtin: off
providers:
  a: {{kind: openai, base_url: "{0}", api_key: k}}
  b: {{kind: openai, base_url: "{1}", api_key: k}}
deployments:
  dear: {{provider: a, model: gpt-4o}}
  cheap: {{provider: b, model: gpt-4o-mini}}
routes:
  m: {{targets: [{{deployment: dear}}, {{deployment: cheap}}], strategy: cheapest, latency: 100ms}}
keys:
  test: {{secret: sk-test}}
"""
    async with Upstream() as one, Upstream() as two, gateway(text.format(one.url, two.url)) as gate:
        assert await places_of(gate, 3) == {"cheap"}
        two.behaviour = {"x-test-delay-headers": "0.6"}
        await places_of(gate, 1)
        assert await places_of(gate, 5) == {"dear"}
