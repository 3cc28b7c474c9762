from penstock.telemetry.metrics import Metrics, PoolRow
from penstock.types.call import Attempt, Call
from penstock.types.deployment import Labels
from penstock.types.errors import UpstreamCut
from penstock.types.money import Cost
from penstock.types.usage import Usage


def call() -> Call:
    made = Call("req_1", "/v1/chat/completions", "chat", started_s=10.0, created=0)
    made.deployment = "d"
    made.labels = Labels("chat", "d")
    made.status = 200
    return made


def test_an_ended_call_is_counted_once_everywhere() -> None:
    metrics = Metrics("1.2.3", lambda: [PoolRow("p", {"ready": 2, "failed": 1}, restarts=4)])
    ended = call()
    ended.first_content_s = 10.2
    ended.usage = Usage(prompt_tokens=11, completion_tokens=5, cached_tokens=4)
    ended.cost = Cost(input=135_000_000, total=135_000_000)
    ended.attempts.append(Attempt("d", "r", 10.0, "d"))
    metrics.call_started(ended)
    metrics.call_ended(ended, 10.5)
    metrics.wasted("d", 1_500_000_000_000)
    text = metrics.render().decode()
    for line in (
        'penstock_requests_total{code="",deployment="d",operation="chat",route="chat",status="200"} 1.0',
        'penstock_tokens_total{deployment="d",kind="prompt",route="chat"} 11.0',
        'penstock_tokens_total{deployment="d",kind="cached",route="chat"} 4.0',
        'penstock_tokens_total{deployment="d",kind="completion",route="chat"} 5.0',
        'penstock_cost_usd_total{deployment="d",route="chat"} 0.000135',
        'penstock_cost_unknown_total{deployment="d",route="chat"} 0.0',
        'penstock_cost_wasted_usd_total{deployment="d"} 1.5',
        'penstock_requests_in_flight{operation="chat"} 0.0',
        'penstock_time_to_first_token_seconds_bucket{le="0.25",operation="chat",route="chat"} 1.0',
        'penstock_request_duration_seconds_bucket{le="0.25",operation="chat",route="chat"} 0.0',
        'penstock_upstream_attempts_total{deployment="d",outcome="ok"} 1.0',
        'penstock_replicas{pool="p",state="ready"} 2.0',
        'penstock_replica_restarts_total{pool="p"} 4.0',
        'penstock_build_info{version="1.2.3"} 1.0',
    ):
        assert line in text, line


def test_failures_and_clients_that_left_have_their_own_label() -> None:
    metrics = Metrics("0")
    failed, left = call(), call()
    failed.error = UpstreamCut("cut")
    attempt = Attempt("d", "r", 0.0, "d")
    attempt.error = failed.error
    failed.attempts.append(attempt)
    left.client_left = True
    left.attempts.append(Attempt("d", "r", 0.0, "d"))
    for ended in (failed, left):
        metrics.call_started(ended)
        metrics.call_ended(ended, 11.0)
    text = metrics.render().decode()
    assert 'penstock_upstream_attempts_total{deployment="d",outcome="upstream_cut"} 1.0' in text
    assert 'penstock_upstream_attempts_total{deployment="d",outcome="client_left"} 1.0' in text
    assert 'code="client_left"' in text
