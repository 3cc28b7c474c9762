import pytest

from penstock.gateway.account import _line, account
from penstock.routing.difficulty import Decision
from penstock.telemetry.metrics import Metrics
from penstock.types.call import Call
from penstock.types.errors import UpstreamCut
from penstock.types.identity import VirtualKey
from penstock.types.money import Cost
from penstock.types.usage import Usage


def call() -> Call:
    return Call("req_1", "/v1/embeddings", "embedding", started_s=1.0, created=0)


def test_a_call_is_accounted_once() -> None:
    metrics = Metrics("0")
    ended = call()
    metrics.call_started(ended)
    account(ended, ended_s=2.0, metrics=metrics)
    with pytest.raises(AssertionError, match="twice"):
        account(ended, ended_s=2.0, metrics=metrics)


def test_the_line_says_what_there_is() -> None:
    ended = call()
    said = _line(ended, 1.5)
    assert said.pop("timestamp").tzinfo is not None
    assert (said.pop("level"), said.pop("event")) == ("info", "call")
    assert said == {"id": "req_1", "path": "/v1/embeddings", "status": 0, "total_ms": 500.0}
    ended.cost = Cost(input=270_000_000, total=270_000_000, version="v")
    said = _line(ended, 1.5, 1_000_000)
    assert (said["cost_usd"], said["price"], said["wasted_usd"]) == (0.00027, "v", 0.000001)
    ended.key = VirtualKey("ci")
    ended.model, ended.deployment = "m", "d"
    ended.error = UpstreamCut("cut")
    ended.first_content_s = 1.25
    ended.usage = Usage(3, 4)
    ended.difficulty = Decision("medium", 0.634, (("code", 0.5), ("length", 0.134)))
    said = _line(ended, 1.5)
    assert said["difficulty"] == "0.63 medium; code=0.50, length=0.13"
    assert (said["key"], said["code"], said["ttft_ms"]) == ("ci", "upstream_cut", 250.0)
    assert (said["prompt_tokens"], said["completion_tokens"]) == (3, 4)
