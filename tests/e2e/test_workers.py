"""Several workers as a user has them: who answers, what is one for all, what dies and comes back."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from crews import KEY, LLAMA, WORKER, Crew, Door, serving, until, upstream
from platforms import PENSTOCK, environment, gone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CHAT = "/v1/chat/completions"
LOCAL = f"""
builtin: off
server: {{workers: 2}}
deployments:
  d: {{model: "builtin:chat", threads: 1}}
keys: {{k: {{secret: {KEY}}}}}
"""


def remote(url: str, more: str = "", *, key: str = "") -> str:
    return f"""
builtin: off
server: {{workers: 2}}
providers:
  up: {{kind: openai-compatible, base_url: "{url}", api_key: sk-upstream}}
deployments:
  d: {{provider: up, model: m}}
keys: {{k: {{secret: {KEY}{key}}}}}
{more}
"""


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "d", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, **more}


@pytest.fixture
def far(tmp_path: Path) -> Iterator[str]:
    with upstream(tmp_path) as url:
        yield url


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Crew]:
    with serving(tmp_path, LOCAL) as crew:
        yield crew


@pytest.fixture
def crew(tmp_path: Path, far: str) -> Iterator[Crew]:
    with serving(tmp_path, remote(far)) as crew:
        yield crew


def test_two_workers_share_one_engine(local: Crew) -> None:
    assert len(local.of(WORKER)) == 2
    with local.doors() as doors:
        for door in doors:
            status, answer = door.ask(CHAT, ask())
            assert status == 200, answer
        assert len(local.of(LLAMA)) == 1
        requests = ("penstock_requests_total", 'operation="chat"')
        assert local.metric(*requests) == 2
        assert local.metric("penstock_replicas{", 'state="ready"') == 1
        assert local.metric("penstock_workers ") == 2
        assert local.metric("penstock_workers_ready ") == 2
        assert local.metric("penstock_build_info") == 1
        for door in doors:
            assert door.ask("/health/ready") == (200, {"status": "ready"})
            assert door.ask("/health")[1]["pools"] == [{"pool": "d", "replicas": {"ready": 1}}]
            assert [row["id"] for row in door.ask("/v1/models")[1]["data"]] == ["d"]
    assert local.stop() == 0, local.log()
    assert "Traceback" not in local.log()


def test_a_killed_engine_comes_back_for_both(local: Crew) -> None:
    with local.doors() as doors:
        for door in doors:
            assert door.ask(CHAT, ask())[0] == 200
        (engine,) = local.of(LLAMA)
        engine.kill()
        until(lambda: local.metric("penstock_replica_restarts_total") == 1)
        for door in doors:
            status, answer = door.ask(CHAT, ask())
            assert status == 200, answer


def test_a_killed_worker_comes_back_and_others_go_on(crew: Crew) -> None:
    with crew.doors() as (first, second):
        for door in (first, second, second):
            assert door.ask(CHAT, ask())[0] == 200
        count = ("penstock_requests_total", 'operation="chat"')
        assert crew.metric(*count) == 3
        stream = first.open(
            CHAT, ask(stream=True, metadata={"x-test-tokens": "200", "x-test-delay-between": "0.01"})
        )
        assert stream.status == 200
        os.kill(crew.worker_of(second), signal.SIGKILL)
        assert b"[DONE]" in stream.read()
        assert first.ask(CHAT, ask())[0] == 200
        assert crew.metric(*count) == 5
    until(lambda: crew.metric("penstock_workers_ready ") == 2)
    assert crew.metric("penstock_worker_restarts_total") == 1
    assert "was killed by SIGKILL" in crew.log()
    with crew.doors() as doors:
        for door in doors:
            assert door.ask(CHAT, ask())[0] == 200
        assert crew.metric(*count) == 7


def test_a_worker_that_is_asked_to_end_ends_in_order(crew: Crew) -> None:
    with crew.doors() as (first, second):
        for door in (first, second):
            assert door.ask(CHAT, ask())[0] == 200
        worker = crew.worker_of(second)
        os.kill(worker, signal.SIGTERM)
        assert gone([psutil.Process(worker)]) == []
        assert crew.metric("penstock_requests_total", 'operation="chat"') == 2  # nobody had asked it before
    until(lambda: len(crew.of(WORKER)) == 2)


def test_a_killed_supervisor_leaves_nothing(local: Crew) -> None:
    with local.doors() as doors:
        assert doors[0].ask(CHAT, ask())[0] == 200
    children = local.children()
    assert len(children) == 3
    local.process.kill()
    assert gone(children) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_streams_finish(crew: Crew, number: signal.Signals) -> None:
    body = ask(stream=True, metadata={"x-test-tokens": "100", "x-test-delay-between": "0.01"})
    with crew.doors() as doors:
        streams = [door.open(CHAT, body) for door in doors]
        children = crew.children()
        crew.process.send_signal(number)
        for stream in streams:
            assert stream.status == 200
            assert b"[DONE]" in stream.read()
    assert crew.process.wait(30) == 0, crew.log()
    assert gone(children) == []
    assert "Traceback" not in crew.log()
    assert "worker ended" not in crew.log()


def test_a_signal_to_the_whole_group_is_one_signal(crew: Crew) -> None:
    """As systemd sends it, and Ctrl-C."""
    body = ask(stream=True, metadata={"x-test-tokens": "100", "x-test-delay-between": "0.01"})
    with crew.doors() as doors:
        streams = [door.open(CHAT, body) for door in doors]
        for worker in crew.of(WORKER):
            worker.send_signal(signal.SIGTERM)
        crew.process.send_signal(signal.SIGTERM)
        for stream in streams:
            assert b"[DONE]" in stream.read()
    assert crew.process.wait(30) == 0, crew.log()


def test_a_hangup_of_the_whole_group_kills_nobody(crew: Crew) -> None:
    """`systemctl kill -s HUP` reaches all processes of a service; it means: read the files again."""
    body = ask(stream=True, metadata={"x-test-tokens": "50", "x-test-delay-between": "0.01"})
    with crew.doors() as doors:
        streams = [door.open(CHAT, body) for door in doors]
        for worker in crew.of(WORKER):
            worker.send_signal(signal.SIGHUP)
        crew.process.send_signal(signal.SIGHUP)
        for stream in streams:
            assert b"[DONE]" in stream.read()
    assert crew.metric("penstock_worker_restarts_total") == 0


def test_a_second_signal_does_not_wait(crew: Crew) -> None:
    body = ask(stream=True, metadata={"x-test-hang": "3"})
    with crew.doors() as doors:
        for door in doors:
            assert door.open(CHAT, body).status == 200
        children = crew.children()
        crew.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            crew.process.wait(2)
        crew.process.send_signal(signal.SIGTERM)
        assert crew.process.wait(20) == 0, crew.log()
        assert gone(children) == []


def test_a_limit_holds_for_both_together(tmp_path: Path, far: str) -> None:
    config = remote(far, "limits: {store: sql}", key=", limits: {requests: 6/h}")
    with serving(tmp_path, config) as crew, crew.doors() as doors:
        statuses: list[int] = []

        def knock(door: Door) -> None:
            statuses.extend(door.ask(CHAT, ask())[0] for _ in range(10))

        threads = [threading.Thread(target=knock, args=[door]) for door in doors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 6 + [429] * 14
        assert crew.metric("penstock_ledger_refused_total") == 14


def test_limits_in_memory_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "crew.yaml"
    config.write_text(remote("http://127.0.0.1:9/v1", key=", limits: {requests: 6/h}"))
    done = subprocess.run(
        [*PENSTOCK, "serve", "-c", str(config)],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "server.workers: the limits of keys.k would hold for each of the workers alone" in done.stderr


def test_a_conversation_goes_on_at_another_worker(crew: Crew) -> None:
    with crew.doors() as (first, second):
        status, one = first.ask("/v1/responses", {"model": "d", "input": "hello"})
        assert status == 200, one
        status, two = second.ask(
            "/v1/responses", {"model": "d", "input": "and?", "previous_response_id": one["id"]}
        )
        assert status == 200, two
        assert two["previous_response_id"] == one["id"]
        reference = {"type": "item_reference", "id": one["output"][0]["id"]}
        said = {"role": "user", "content": "again"}
        status, three = second.ask("/v1/responses", {"model": "d", "input": [reference, said]})
        assert status == 200, three
        only = {"id": one["output"][0]["id"]}
        assert second.ask("/v1/responses", {"model": "d", "input": [only, said]})[0] == 200
        counted = {"model": "d", "input": "and?", "previous_response_id": one["id"]}
        assert second.ask("/v1/responses/input_tokens", counted)[0] == 200
        assert second.ask(f"/v1/responses/{one['id']}") == (200, one)
        items = first.ask(f"/v1/responses/{two['id']}/input_items")[1]["data"]
        assert len(items) == 3
        assert second.ask(f"/v1/responses/{one['id']}", method="DELETE")[0] == 200
        for door in (first, second):
            assert door.ask(f"/v1/responses/{one['id']}")[0] == 404
            refused = {"model": "d", "input": "x", "previous_response_id": one["id"]}
            assert door.ask("/v1/responses", refused)[1]["error"]["code"] == "previous_response_not_found"


def test_a_background_response_is_followed_at_another_worker(crew: Crew) -> None:
    slow = {"x-test-tokens": "50", "x-test-delay-between": "0.02"}
    with crew.doors() as (first, second):
        body = {"model": "d", "input": "x", "background": True, "metadata": slow}
        status, made = first.ask("/v1/responses", body)
        assert (status, made["status"]) == (200, "in_progress"), made
        seen = second.ask(f"/v1/responses/{made['id']}")[1]
        assert seen["status"] == "in_progress"
        stream = second.open(f"/v1/responses/{made['id']}?stream=true")
        events = [json.loads(line[6:]) for line in stream.read().split(b"\n") if line.startswith(b"data: {")]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.completed"
        rest = second.open(f"/v1/responses/{made['id']}?stream=true&starting_after={len(events) - 2}").read()
        assert rest.count(b"data: {") == 1
        status, other = first.ask("/v1/responses", body)
        status, cancelled = second.ask(f"/v1/responses/{other['id']}/cancel", {}, "POST")
        assert (status, cancelled["status"]) == (200, "cancelled")
        assert first.ask(f"/v1/responses/{other['id']}")[1]["status"] == "cancelled"


def test_following_a_response_whose_worker_dies_ends(crew: Crew) -> None:
    slow = {"x-test-tokens": "50", "x-test-delay-between": "5"}
    with crew.doors() as (first, second):
        body = {"model": "d", "input": "x", "background": True, "metadata": slow}
        made = first.ask("/v1/responses", body)[1]
        stream = second.open(f"/v1/responses/{made['id']}?stream=true")
        assert stream.readline().startswith(b"event: response.created")
        os.kill(crew.worker_of(first), signal.SIGKILL)
        assert b"event: response.failed" in stream.read()


def test_a_port_in_use_is_said(crew: Crew, tmp_path: Path) -> None:
    config = tmp_path / "crew.yaml"
    done = subprocess.run(
        [*PENSTOCK, "serve", "-c", str(config), "--port", str(crew.port)],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{crew.port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_one_makes_serves_at_both_until_it_is_revoked(tmp_path: Path, far: str) -> None:
    with serving(tmp_path, remote(far, key=", role: owner")) as crew, crew.doors() as doors:
        first, second = doors
        status, made = first.ask("/admin/v1/keys", {"name": "new"})
        assert status == 201, made
        for door in doors:
            door.key = made["secret"]
            until(lambda door=door: door.ask(CHAT, ask())[0] == 200)
            door.key = KEY
        answers = [door.ask("/admin/v1/keys", {"name": "once"}, idempotency="a-b") for door in doors]
        assert answers[0] == answers[1]
        refused = second.ask("/admin/v1/keys", {"name": "bounded", "limits": {"requests": "6/h"}})
        assert refused[0] == 400
        assert "each of the workers alone" in refused[1]["error"]["message"]
        status, _ = second.ask(f"/admin/v1/keys/{made['id']}/revoke", {})
        assert status == 200
        for door in doors:
            door.key = made["secret"]
            until(lambda door=door: door.ask(CHAT, ask())[0] == 401)
            door.key = KEY


@pytest.mark.parametrize("asks", [False, True], ids=["by itself", "SIGHUP"])
def test_a_new_file_is_taken_by_both(crew: Crew, asks: bool) -> None:
    path = crew.home / "crew.yaml"
    path.write_text(path.read_text() + "\nroutes: {more: {targets: [{deployment: d}]}}\n")
    if asks:
        crew.process.send_signal(signal.SIGHUP)
    with crew.doors() as doors:
        for door in doors:
            until(lambda door=door: door.ask(CHAT, ask() | {"model": "more"})[0] == 200)
    assert crew.process.poll() is None


def test_one_that_is_started_again_runs_what_the_others_run(crew: Crew) -> None:
    """Not what the file said when the server was started, where it cannot be read now."""
    path = crew.home / "crew.yaml"
    path.write_text(path.read_text().replace(KEY, "sk-changed"))
    with crew.doors() as doors:
        for door in doors:
            until(lambda door=door: door.ask(CHAT, ask())[0] == 401)
        path.write_text("keys: {k: {secret: sk-test, rol")
        victim = crew.worker_of(doors[0])
        os.kill(victim, signal.SIGKILL)
    until(lambda: len(crew.of(WORKER)) == 2 and victim not in {one.pid for one in crew.of(WORKER)})
    with crew.doors() as doors:
        for door in doors:
            assert door.ask(CHAT, ask())[0] == 401
            door.key = "sk-changed"
            assert door.ask(CHAT, ask())[0] == 200


def test_workers_that_die_under_load_cost_their_own_calls_only(crew: Crew) -> None:
    """Clients that try again after a broken connection get all their answers, and no counter falls."""
    answered: list[int] = []
    is_over = threading.Event()

    def client() -> None:
        while not is_over.is_set():
            try:
                with contextlib.closing(Door(crew.port)) as door:
                    while not is_over.is_set():
                        status, _ = door.ask(CHAT, ask())
                        assert status == 200
                        answered.append(status)
            except (OSError, http.client.HTTPException):
                continue

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    shown = 0.0
    for turn in range(4):
        until(lambda: len(crew.of(WORKER)) == 2)
        until(lambda: crew.metric("penstock_workers_ready ") == 2)
        crew.of(WORKER)[turn % 2].kill()
        now = crew.metric("penstock_requests_total", 'status="200"')
        assert now >= shown
        shown = now
    is_over.set()
    for thread in threads:
        thread.join()
    assert len(answered) > 20
    until(lambda: crew.metric("penstock_worker_restarts_total") == 4)
    assert crew.metric("penstock_requests_total", 'status="200"') <= len(answered) + 4 * 4
    assert crew.stop() == 0, crew.log()
