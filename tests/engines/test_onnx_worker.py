"""The worker as its parent sees it: a process, one line on stdout, HTTP, and how it ends."""

import base64
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.engines.host import default_threads
from penstock.testing.tiny import make_cross_encoder, make_encoder

KEY = "worker-test-key"


class WorkerProcess:
    def __init__(self, folder: Path, *arguments: str, key: str = KEY) -> None:
        environment = {**os.environ, "PENSTOCK_ENGINE_KEY": key}
        command = [sys.executable, "-m", "penstock.engines.onnx_worker", "--model", str(folder), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
        assert self.process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.process.stdout.readline())

    def call(self, path: str, body: Any = None, *, key: str = KEY) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ready["port"], timeout=10)
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            headers = {"authorization": f"Bearer {key}"} if key else {}
            connection.request("GET" if body is None else "POST", path, content, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def embed(self, given: Any, **options: Any) -> tuple[int, Any]:
        return self.call("/v1/embeddings", {"input": given, "model": "m", **options})

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(make_encoder(tmp_path_factory.mktemp("tiny-encoder"), max_seq_length=32))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(make_cross_encoder(tmp_path_factory.mktemp("tiny-reranker")))
    yield worker
    worker.close()


def test_the_ready_line_and_info_agree(encoder: WorkerProcess) -> None:
    facts = {
        "kind": "encoder",
        "dimensions": 32,
        "max_input_tokens": 32,
        "rerank_by": "encoder-cosine",
    }
    assert encoder.ready == {
        "ready": True,
        "pid": encoder.process.pid,
        "port": encoder.ready["port"],
        **facts,
    }
    status, models = encoder.call("/v1/models")
    assert status == 200
    assert models["data"][0].items() >= facts.items()
    assert encoder.call("/info")[1].items() >= facts.items()


def test_base64_is_exactly_the_floats(encoder: WorkerProcess) -> None:
    status, floats = encoder.embed(["water", "a gate"])
    assert status == 200
    assert floats["object"] == "list"
    assert floats["model"] == "m"
    assert floats["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [row["index"] for row in floats["data"]] == [0, 1]
    coded = encoder.embed(["water", "a gate"], encoding_format="base64")[1]
    for left, right in zip(floats["data"], coded["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(right["embedding"]), "<f4")
        assert decoded.tolist() == left["embedding"]
        assert abs(float(np.linalg.norm(decoded)) - 1) < 1e-5


def test_the_four_shapes_of_input(encoder: WorkerProcess) -> None:
    text = encoder.embed("water")[1]["data"]
    assert len(text) == 1
    assert encoder.embed(["water"])[1]["data"] == text
    ids = [1, 186, 2]
    one = encoder.embed(ids)[1]
    assert one["usage"]["prompt_tokens"] == 3
    assert encoder.embed([ids, ids])[1]["data"][1]["embedding"] == one["data"][0]["embedding"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"input": ""}, "input[0]", "must not be empty"),
        ({"input": ["water", ""]}, "input[1]", "must not be empty"),
        ({"input": []}, "input", "1 to 2048"),
        ({"input": ["x"] * 2049}, "input", "1 to 2048"),
        ({"input": [[]]}, "input[0]", "must not be empty"),
        ({"input": ["water", 3]}, "input[1]", "not a mix"),
        ({"input": [[1], "water"]}, "input[1]", "not a mix"),
        ({"input": [99999]}, "input[0]", "vocabulary"),
        ({"input": [-1]}, "input[0]", "vocabulary"),
        ({"input": 3}, "input", "Expected"),
        ({"input": "x", "dimensions": 0}, "dimensions", "1 to 32"),
        ({"input": "x", "dimensions": 33}, "dimensions", "1 to 32"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format", "hex"),
        ({}, "input", "missing required field"),
        (b"{", None, "not valid JSON"),
    ],
)
def test_bad_requests_name_what_is_wrong(
    encoder: WorkerProcess, body: Any, param: str | None, message: str
) -> None:
    status, answer = encoder.call("/v1/embeddings", body)
    error = answer["error"]
    assert (status, error["param"], error["code"]) == (400, param, "invalid_request"), error
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]


def test_too_long_is_a_400_unless_truncated(encoder: WorkerProcess) -> None:
    long = "water " * 40
    status, answer = encoder.embed(["fine", "fine", "fine", long])
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert answer["error"]["param"] == "input[3]"
    assert "42 tokens" in answer["error"]["message"]
    assert "at most 32" in answer["error"]["message"]
    status, answer = encoder.embed(long, truncate=True)
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 32)


def test_an_encoder_reranks_by_cosine(encoder: WorkerProcess) -> None:
    documents = ["the water gate", "reset password", "fast engine"]
    status, answer = encoder.call("/v1/rerank", {"query": "water gate", "documents": documents})
    assert status == 200
    vectors = np.array([row["embedding"] for row in encoder.embed(["water gate", *documents])[1]["data"]])
    cosines = vectors[1:] @ vectors[0]
    assert [row["index"] for row in answer["results"]] == np.argsort(-cosines).tolist()
    for row in answer["results"]:
        assert abs(row["relevance_score"] - cosines[row["index"]]) < 1e-5
    top = encoder.call("/v1/rerank", {"query": "water gate", "documents": documents, "top_n": 1})[1]
    assert top["results"] == answer["results"][:1]


def test_a_cross_encoder_gives_sigmoid_or_raw_scores(reranker: WorkerProcess) -> None:
    assert reranker.ready["kind"] == "cross-encoder"
    assert reranker.ready["rerank_by"] == "cross-encoder"
    assert reranker.ready["dimensions"] is None
    request = {"query": "water", "documents": ["river", "the password", "gate of the turbine"]}
    raw = reranker.call("/v1/rerank", {**request, "raw_scores": True})[1]["results"]
    scores = reranker.call("/v1/rerank", request)[1]["results"]
    assert [row["index"] for row in raw] == [row["index"] for row in scores]
    for left, right in zip(raw, scores, strict=True):
        assert abs(1 / (1 + np.exp(-left["relevance_score"])) - right["relevance_score"]) < 1e-6
    status, answer = reranker.embed("water")
    assert status == 400
    assert "cross-encoder" in answer["error"]["message"]
    status, answer = reranker.call("/v1/rerank", {"query": "water " * 99, "documents": ["x"]})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "", "documents": ["x"]}, "query"),
        ({"query": "x", "documents": []}, "documents"),
        ({"query": "x", "documents": ["x", ""]}, "documents[1]"),
        ({"query": "x", "documents": ["x"], "top_n": 0}, "top_n"),
        ({"documents": ["x"]}, "query"),
    ],
)
def test_bad_rerank_requests(
    encoder: WorkerProcess, reranker: WorkerProcess, body: dict[str, Any], param: str
) -> None:
    for worker in (encoder, reranker):
        status, answer = worker.call("/v1/rerank", body)
        assert (status, answer["error"]["param"]) == (400, param)


def test_the_key_is_needed_everywhere_but_for_health(encoder: WorkerProcess) -> None:
    for key in ("", "wrong"):
        status, answer = encoder.call("/v1/embeddings", {"input": "x"}, key=key)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert encoder.call("/info", key=key)[0] == 401
    assert encoder.call("/health", key="") == (200, {"status": "ok", "queued": 0})
    assert encoder.call("/nothing")[0] == 404
    assert encoder.call("/v1/embeddings")[0] == 405


def test_a_short_request_does_not_wait_for_a_long_one(encoder: WorkerProcess) -> None:
    long = http.client.HTTPConnection("127.0.0.1", encoder.ready["port"], timeout=10)
    body = json.dumps({"input": ["water gate turbine river energy " * 5] * 2048})
    long.request("POST", "/v1/embeddings", body, {"authorization": f"Bearer {KEY}"})
    while not encoder.call("/health")[1]["queued"]:
        time.sleep(0.005)
    assert encoder.embed("water")[0] == 200
    assert encoder.call("/health")[1]["queued"] == 1, "the long request should still be running"
    assert len(json.loads(long.getresponse().read())["data"]) == 2048
    long.close()


def test_a_client_that_went_away_is_dropped(encoder: WorkerProcess) -> None:
    body = json.dumps({"input": ["water gate turbine river energy " * 5] * 2048}).encode()
    started = time.monotonic()
    assert encoder.call("/v1/embeddings", body)[0] == 200
    whole_s = time.monotonic() - started
    gone = [http.client.HTTPConnection("127.0.0.1", encoder.ready["port"], timeout=10) for _ in range(20)]
    for connection in gone:
        connection.request("POST", "/v1/embeddings", body, {"authorization": f"Bearer {KEY}"})
    for connection in gone:
        connection.close()
    started = time.monotonic()
    assert encoder.embed("water")[0] == 200
    deadline = time.monotonic() + 10
    while encoder.call("/health")[1]["queued"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() - started < 10 * whole_s + 1, "abandoned requests were computed to the end"


def test_a_unix_socket_is_private_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "worker.sock"
    worker = WorkerProcess(make_encoder(tmp_path / "model"), "--uds", str(path), "--threads", "1")
    try:
        assert worker.ready["uds"] == str(path)
        assert path.stat().st_mode & 0o077 == 0
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(10) == 0
        assert not path.exists()
    finally:
        worker.close()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    worker = WorkerProcess(make_encoder(tmp_path))
    try:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(5) == 0
    finally:
        worker.process.stdin = None
        worker.close()


def test_it_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    """The pipe stays open in our hands: only PR_SET_PDEATHSIG can tell the worker."""
    if sys.platform != "linux":
        pytest.skip("PR_SET_PDEATHSIG is Linux's; elsewhere end of file on stdin has to do")
    folder = make_encoder(tmp_path)
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'penstock.engines.onnx_worker', '--model', sys.argv[1]])\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    ready = json.loads(parent.stdout.readline())
    parent.kill()
    parent.wait(5)
    poll, _, _ = select.select([parent.stdout], [], [], 5)  # the worker's end of our stdout closes
    assert poll
    assert parent.stdout.read() == b""
    assert ready["ready"]
    parent.communicate()


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    worker = WorkerProcess(make_encoder(tmp_path))
    try:
        connection = http.client.HTTPConnection("127.0.0.1", worker.ready["port"], timeout=10)
        body = json.dumps({"input": ["water gate turbine river energy " * 5] * 2048})
        connection.request("POST", "/v1/embeddings", body, {"authorization": f"Bearer {KEY}"})
        while not worker.call("/health")[1]["queued"]:
            time.sleep(0.005)
        worker.process.send_signal(signal.SIGTERM)
        answer = connection.getresponse()
        assert len(json.loads(answer.read())["data"]) == 2048
        connection.close()
        assert worker.process.wait(10) == 0
    finally:
        worker.close()


def test_a_failed_load_says_why(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path)
    assert worker.ready == {"ready": False, "error": "config.json is missing from the model folder"}
    assert worker.process.wait(5) == 1
    worker.close()


def test_default_threads_leave_a_core_and_are_at_least_one() -> None:
    assert 1 <= default_threads() <= max(1, (os.cpu_count() or 1))
