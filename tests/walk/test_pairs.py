"""What two workers of one gateway know of each other: engines, load, prompts, thoughts, probes, responses."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import websockets
from gateways import KEY, Gateway, chat
from pairs import crowd, hub_of, joined, pair, until

from penstock import serve
from penstock.admin.idempotency import Idempotency
from penstock.auth.login import Logins, Session
from penstock.auth.tokens import Said
from penstock.config import problems
from penstock.engines import ENGINES
from penstock.gateway import probes
from penstock.gateway.alerts import Alerts
from penstock.gateway.thoughts import Thoughts
from penstock.lib import http1, tasks
from penstock.lib.clock import SystemClock
from penstock.models.store import Progress
from penstock.runtime.fleet import Fleet
from penstock.testing.engine import FakeEngine
from penstock.testing.upstream import Upstream
from penstock.types.conversation import Conversation, ReasoningPart, TextPart, ToolCallPart, Turn
from penstock.types.deployment import Pool
from penstock.types.door import Answer as Told
from penstock.types.errors import Conflict, ModelLoading
from penstock.types.ledger import Claim, Lease, Limit, Rest, Scope
from penstock.types.webhooks import Event
from penstock.workers.messages import Engines

CHAT = "/v1/chat/completions"
USD = 10**12
Engine = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    after = set(psutil.Process().children(recursive=True)) - before
    # PostgreSQL of other tests starts workers when it likes.
    assert not [one for one in after if one.status() != "zombie" and one.name() != "postgres"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """What stands for llama.cpp."""

    def use(*arguments: str) -> None:
        fake = FakeEngine(*arguments)
        for name in ("llamacpp", fake.name):
            monkeypatch.setitem(ENGINES._loaded, name, fake)

    return use


def local(replicas: int = 1, route: str = "", loading: str = "20s") -> str:
    return f"""
builtin: off
deployments:
  own: {{model: "builtin:chat", replicas: {replicas}}}
routes:
  m: {{targets: [{{deployment: own}}], timeouts: {{loading: {loading}}}, {route}}}
keys: {{test: {{secret: {KEY}}}}}
"""


def far(url: str, deployment: str = "", more: str = "") -> str:
    return f"""
builtin: off
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: sk-upstream}}
deployments:
  m: {{provider: up, model: m-1, {deployment}}}
keys: {{test: {{secret: {KEY}}}}}
{more}
"""


async def said(gate: Gateway, text: str = "hi") -> str:
    answer = await gate.post(CHAT, chat(text))
    assert answer.status == 200, answer.body
    content: str = answer.json["choices"][0]["message"]["content"]
    return content


# -- engines


async def test_one_engine_answers_both(engine: Engine) -> None:
    engine("--say-pid")
    async with pair(local()) as both:
        first, second = [await said(gate) for gate in both.gates]
        assert first == second
        for gate in both.gates:
            assert await gate.metric("penstock_requests_total") == 2
            assert await gate.metric("penstock_replicas{", 'state="ready"') == 1


async def test_a_model_that_loads_is_told_of_in_the_same_words(engine: Engine) -> None:
    engine("--mute")
    async with pair(local(loading="300ms")) as both:
        for gate in both.gates:
            answer = await gate.post(CHAT, chat())
            assert answer.error[:2] == (503, "model_loading")
            assert "own is loading (starting)" in answer.json["error"]["message"]
            assert answer.headers["retry-after"] == "2"


async def test_a_model_that_cannot_be_loaded_is_said_at_once(engine: Engine) -> None:
    engine("--refuse", "broken file")
    async with pair(local()) as both:
        for gate in both.gates:
            answer = await gate.post(CHAT, chat())
            assert answer.error[:2] == (502, "upstream_unavailable")
            assert "could not be loaded" in answer.json["error"]["message"]


async def test_progress_reaches_the_workers() -> None:
    async def slow(_source: str, report: Callable[[Any], None]) -> str:
        report(Progress("file:/m", "downloading", done_bytes=42_000_000, total_bytes=100_000_000))
        await asyncio.Event().wait()
        return ""

    async with http1.Client() as client:
        pool = Pool(name="p", engine="fake", source="file:/m")
        fleet = Fleet([pool], slow, lambda _: FakeEngine(), client=client)
        hub = hub_of(fleet)
        running: tasks.Tasks = set()
        tasks_ = [tasks.spawn(running, fleet.run(), "fleet"), tasks.spawn(running, hub.run(), "hub")]
        with serve.listen("127.0.0.1", 0) as door:
            async with joined(hub, door, 0) as part:
                await until(lambda: part.fleet.status() and part.fleet.status()[0].fetching)
                with pytest.raises(ModelLoading, match="downloading, 42% of 100 MB"):
                    await part.fleet.acquire("p", 0.0)
                (status,) = part.fleet.status()
                assert status.fetching is not None
                assert status.fetching.done_bytes == 42_000_000
        for task in tasks_:
            await tasks.cancel_and_wait(task)


async def test_a_suspected_replica_is_nobody_s_until_it_has_answered() -> None:
    async def here(_source: str, _report: Callable[[Any], None]) -> str:
        return "/m"

    async with http1.Client() as client:
        pool = Pool(name="p", engine="fake", source="file:/m")

        def changed() -> None:
            hub.fleet_changed()

        fleet = Fleet([pool], here, lambda _: FakeEngine(), client=client, changed=changed)
        hub = hub_of(fleet)
        running: tasks.Tasks = set()
        task = tasks.spawn(running, fleet.run(), "fleet")
        with serve.listen("127.0.0.1", 0) as door:
            async with joined(hub, door, 0) as one, joined(hub, door, 1) as other:
                view = await one.fleet.acquire("p", 10)
                one.fleet.release(view)
                same = await other.fleet.acquire("p", 10)
                other.fleet.release(same)
                assert same == view
                seen: list[bool] = []
                take = other.fleet.take

                def watched(told: Engines) -> None:
                    take(told)
                    seen.append(bool(other.fleet.replicas("p")))

                other.fleet.take = watched  # type: ignore[method-assign]
                one.fleet.suspect(view)
                assert one.fleet.replicas("p") == ()
                one.fleet.suspect(view)  # it is known
                again = await one.fleet.acquire("p", 10)  # it was well
                one.fleet.release(again)
                assert again == view
                await until(lambda: other.fleet.replicas("p"))
                assert seen[0] is False
        await tasks.cancel_and_wait(task)


# -- load and prompts


async def test_each_sees_what_the_other_has_running(engine: Engine) -> None:
    engine("--slow-s", "0.3")
    async with pair(local(2, "strategy: least-loaded")) as both:
        await until(lambda: all(len(part.fleet.replicas("own")) == 2 for part in both.parts))
        first, second = both.gates
        held = await first.open(CHAT, chat(stream=True))
        load = both.parts[1].fleet._load
        await until(lambda: load.by_replica)
        (busy,) = load.by_replica
        assert load.running(busy) == 1
        assert load.own() == {}
        answers = [await second.open(CHAT, chat(stream=True))]
        assert len(load.by_replica) == 2  # the idle one was chosen
        for stream in (held, *answers):
            await stream.read(1 << 20)
        await until(lambda: not load.by_replica)


async def test_a_prompt_that_one_has_sent_is_known_to_the_other(engine: Engine) -> None:
    engine("--say-pid")
    async with pair(local(3, "strategy: affinity")) as both:
        await until(lambda: all(len(part.fleet.replicas("own")) == 3 for part in both.parts))
        first, second = both.gates
        indexes = [part._hears["prompts"].__self__.index for part in both.parts]  # type: ignore[attr-defined]
        for number in range(3):
            text = f"{number} " * 3000
            where = await said(first, text)
            for _ in range(2):
                await until(lambda: len(indexes[0]) == len(indexes[1]))  # it was told
                await until(
                    lambda: not any(part.fleet._load.by_replica for part in both.parts)
                )  # nor is busy
                assert await said(second, text) == where


async def test_slots_are_divided() -> None:
    async with Upstream(behaviour={"x-test-hang": "3"}) as up, pair(far(up.url, "concurrency: 3")) as both:
        open_: tasks.Tasks = set()
        for gate in both.gates:
            for _ in range(4):
                tasks.spawn(open_, gate.open(CHAT, chat(stream=True)), "a client")
        async with asyncio.timeout(10):
            while await both.gates[0].metric("penstock_queue_waiting") != 5:
                await asyncio.sleep(0.01)
        assert await both.gates[1].metric("penstock_queue_running") == 3
        assert len(up.requests) == 3
        for task in list(open_):
            await tasks.cancel_and_wait(task)


# -- probes


async def test_one_probe_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LOOK_S", 0.01)
    monkeypatch.setattr(problems, "_SHORTEST_PROBES_S", 0.05)
    more = "routes: {r: {targets: [{deployment: m}], fallbacks: [other]}}"
    async with Upstream(behaviour={"x-test-status": "401"}) as sick, Upstream() as well:
        config = far(sick.url, "probe: {every: 1s}", more).replace(
            "deployments:",
            f"  well: {{kind: openai-compatible, base_url: '{well.url}', api_key: k}}\ndeployments:\n"
            "  other: {provider: well, model: o}",
        )
        async with pair(config) as both:
            await until(lambda: sick.requests)
            assert await both.gates[0].settled("penstock_probes_total", at_least=1) == 1
            for gate in both.gates:
                answer = await gate.post(CHAT, chat() | {"model": "r"})
                assert answer.status == 200
                assert answer.json["model"] == "r"
            assert len(sick.requests) == 1  # it is left alone by both
            assert len(well.requests) == 2


# -- what a next request needs


async def test_thoughts_of_one_are_put_back_by_the_other() -> None:
    clock = SystemClock()
    here, there = Thoughts(clock), Thoughts(clock)
    async with crowd() as (one, other):
        here.join(one)
        there.join(other)
        part = ReasoningPart("so", signature="sig", issuer="anthropic")
        here.remember("k", {"toolu_01ABCDEF": "own"}, [part])
        await until(lambda: len(there))
        call = ToolCallPart("toolu_01ABCDEF", "look", "{}")
        asked = Turn("user", [TextPart("look")])
        conversation = Conversation([asked, Turn("assistant", [call])])
        there.recall("k", conversation)
        assert conversation.turns[1].parts == [part, call]
        assert call.signature == "own"
        assert len(there) == len(here) == 1


async def test_a_websocket_goes_on_from_a_response_of_the_other() -> None:
    async with Upstream() as up, pair(far(up.url)) as both:
        up.behaviour = {"x-test-content": "one"}
        made = (await both.gates[0].post("/v1/responses", {"model": "m", "input": "hello"})).json
        url = both.gates[1].url.replace("http", "ws") + "/v1/responses"
        async with websockets.connect(url, additional_headers={"authorization": f"Bearer {KEY}"}) as ws:
            asked = {"type": "response.create", "model": "m", "input": "and?"}
            await ws.send(json.dumps({**asked, "previous_response_id": made["id"]}))
            assert json.loads(await ws.recv())["type"] == "response.created"
            await ws.send(json.dumps({**asked, "previous_response_id": "resp_unknown"}))
            async with asyncio.timeout(10):
                while (event := json.loads(await ws.recv()))["type"] != "error":
                    pass
            assert event["error"]["code"] == "previous_response_not_found"
        sent = [(one["role"], one["content"]) for one in up.requests[-1].body["messages"]]
        assert sent == [("user", "hello"), ("assistant", "one"), ("user", "and?")]


async def test_what_one_key_has_the_other_never_sees() -> None:
    async with Upstream() as up:
        config = far(up.url).replace("keys: {", "keys: {other: {secret: sk-other}, ")
        async with pair(config) as both:
            made = (await both.gates[0].post("/v1/responses", {"model": "m", "input": "hello"})).json
            headers = {"authorization": "Bearer sk-other"}
            assert (await both.gates[1].get(f"/v1/responses/{made['id']}")).status == 200
            assert (await both.gates[1].get(f"/v1/responses/{made['id']}", headers=headers)).status == 404
            body = {"model": "m", "input": "x", "previous_response_id": made["id"]}
            refused = await both.gates[1].post("/v1/responses", body, headers=headers)
            assert refused.error[:2] == (400, "previous_response_not_found")


# -- what admins, and people who sign in, are promised


@pytest.mark.parametrize("size", [2, 3, 5])
async def test_the_same_post_at_all_is_done_once(size: int) -> None:
    done: list[int] = []
    async with crowd(size) as parts:
        desks = [Idempotency(SystemClock()) for _ in parts]
        for desk, part in zip(desks, parts, strict=True):
            desk.join(part)

        async def act() -> Told:
            done.append(1)
            await asyncio.sleep(0.02)
            return Told(status=201, body=b"secret %d" % len(done))

        for turn in range(10):
            answers = await asyncio.gather(
                *(desk.once("k", f"name {turn}", b"body", act) for desk in desks for _ in range(2))
            )
            assert len(done) == turn + 1
            assert {answer.body for answer in answers} == {b"secret %d" % len(done)}
            replayed = [("idempotency-replayed", "true") in answer.headers for answer in answers]
            assert replayed.count(False) == 1
        with pytest.raises(Conflict):
            await desks[0].once("k", "name 0", b"another body", act)
        late = Idempotency(SystemClock())
        late.join(parts[0])
        with pytest.raises(Conflict):
            await late.once("k", "name 0", b"another body", act)
        assert len(done) == 10


async def test_a_post_that_failed_at_one_is_done_by_the_other() -> None:
    async with crowd() as parts:
        desks = [Idempotency(SystemClock()) for _ in parts]
        for desk, part in zip(desks, parts, strict=True):
            desk.join(part)

        async def fail() -> Told:
            await asyncio.sleep(0.01)
            raise Conflict("no")

        async def act() -> Told:
            return Told(status=201)

        failed, made = await asyncio.gather(
            desks[0].once("k", "n", b"b", fail), desks[1].once("k", "n", b"b", act), return_exceptions=True
        )
        assert isinstance(failed, Conflict)
        assert isinstance(made, Told)


async def test_who_signs_out_at_one_is_out_at_the_other() -> None:
    async with crowd() as parts:
        doors: list[Any] = [Logins(None, None, SystemClock(), b"s" * 32) for _ in parts]  # type: ignore[arg-type]
        for door, part in zip(doors, parts, strict=True):
            door.join(part)
        doors[0].end(Session("id", "sso", 2e9, Said("ann")))
        await until(lambda: doors[1]._ended)
        assert doors[1]._ended == doors[0]._ended == {"id": 2e9}
        late: Any = Logins(None, None, SystemClock(), b"s" * 32)  # type: ignore[arg-type]
        late.join(parts[0])  # of a worker that was started again
        await late.catch_up()
        assert late._ended == {"id": 2e9}


async def test_an_alert_is_told_by_one() -> None:
    events: list[Event] = []
    limit = Limit("pico_usd", 100 * USD, "month", (0.5, 0.8))
    team = Scope("team", "lab")
    async with crowd() as parts:
        both = [Alerts(SystemClock(), events.append) for _ in parts]
        for alerts, part in zip(both, parts, strict=True):
            alerts.join(part)

        def used(alerts: Alerts, usd: int) -> None:
            lease = Lease("l", [Claim(team, (limit,))], 60.0, [Rest(team, limit, (100 - usd) * USD, None)])
            alerts.settled(lease, 0, 0)

        used(both[0], 60)
        await until(lambda: both[1]._told)
        used(both[1], 61)
        assert [event.data["share"] for event in events] == [0.5]
        used(both[1], 81)
        assert [event.data["share"] for event in events] == [0.5, 0.8]
