"""Metrics of several processes as one."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.telemetry import sums
from penstock.telemetry.metrics import BreakerRow, Metrics
from penstock.telemetry.sums import Families, Family
from penstock.types.call import Call
from penstock.types.deployment import Labels
from penstock.workers.totals import Totals


def counter(*values: float) -> Families:
    return [
        Family(
            "penstock_x",
            "X",
            "counter",
            [("penstock_x_total", (("at", str(at)),), value) for at, value in enumerate(values)],
        )
    ]


def total(part: Families, name: str) -> float:
    return sum(value for family in part for sample, _, value in family.samples if sample == name)


def metrics(calls: int, state: str = "closed") -> Metrics:
    made = Metrics("1", breakers=lambda: [BreakerRow("deployment", "d", "", state)])
    for at in range(calls):
        call = Call(f"req_{at}", "/v1/chat/completions", "chat", 0.0, 0)
        call.labels, call.status, call.first_content_s = Labels("r", "d"), 200, 0.2
        made.call_started(call)
        made.call_ended(call, 3.0)
    return made


@given(st.lists(st.lists(st.integers(0, 100), max_size=4), max_size=5))
def test_counters_are_added(parts: list[list[int]]) -> None:
    added = sums.summed(counter(*values) for values in parts)
    assert total(added, "penstock_x_total") == sum(map(sum, parts))
    assert sums.decode(sums.encode(added)) == added


def test_the_sum_reads_as_one_process_would_write_it() -> None:
    parts = [sums.families(metrics(calls).collect()) for calls in (2, 3)]
    text = sums.text(sums.summed(parts)).decode()
    assert text == metrics(5).render().decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"penstock_requests", "penstock_request_duration_seconds"} <= names


def test_opinions_are_not_added() -> None:
    parts = [sums.families(metrics(1, state).collect()) for state in ("open", "half open", "open")]
    added = sums.summed(parts)
    assert total(added, "penstock_breaker_state") == 2
    assert total(added, "penstock_build_info") == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["scrape", "silent", "dies"])), max_size=30))
def test_no_counter_falls(events: Iterable[tuple[int, str]]) -> None:
    """Workers count on, some are silent at a scrape, some die; a scrape shows no less than the one before."""
    totals = Totals(lambda: counter(0))
    lives = {0: 0, 1: 1, 2: 2}  # number -> life
    counted = dict.fromkeys(lives.values(), 0)
    shown = 0.0
    for number, event in events:
        for life in lives.values():
            counted[life] += 1
        if event == "dies":
            totals.died(lives[number])
            lives[number] = max(counted) + 1
            counted[lives[number]] = 0
            continue
        answering = {life for at, life in lives.items() if event == "scrape" or at != number}
        bodies = {life: sums.encode(counter(counted[life])) for life in answering}
        for life, body in bodies.items():
            totals.said(life, body)
        parts = [sums.decode(body) for body in (*bodies.values(), totals.rest(answering))]
        now = total(sums.summed(parts), "penstock_x_total")
        assert now >= shown
        shown = now


def test_gauges_of_the_dead_are_gone() -> None:
    gauge = [Family("penstock_g", "G", "gauge", [("penstock_g", (), 3.0)])]
    totals = Totals(lambda: gauge)
    totals.said(1, sums.encode([*gauge, *counter(5)]))
    totals.died(1)
    rest = sums.decode(totals.rest(set()))
    assert total(rest, "penstock_g") == 3
    assert total(rest, "penstock_x_total") == 5
