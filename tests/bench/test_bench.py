import json
import os
from pathlib import Path
from typing import Any

import pytest
from bench.suites import recording, usage

from bench import __main__ as command
from bench import harness, prober, reach, report


def test_a_spread_is_median_minimum_and_maximum_in_four_digits() -> None:
    assert harness.spread([3.00001, 1.0, 123456.0]) == {"median": 3.0, "min": 1.0, "max": 123500.0}


@pytest.mark.parametrize(
    ("bound", "met", "row"),
    [
        (reach.Reach("a", 4.2, 4.2), True, "| a | <= 4.2 x | 4.2 x | met |"),
        (reach.Reach("a", 4.2, 4.21), False, "| a | <= 4.2 x | 4.21 x | **missed** |"),
        (reach.Reach("a", 100, 99, at_least=True), False, "| a | >= 100 x | 99 x | **missed** |"),
        (reach.Reach("a", 100, 101, at_least=True), True, "| a | >= 100 x | 101 x | met |"),
        (reach.Reach("a", 60, None, unit="KB"), None, "| a | <= 60 KB | not measured | - |"),
    ],
)
def test_a_bound_is_met_missed_or_not_measured(bound: reach.Reach, met: bool | None, row: str) -> None:
    assert bound.is_met is met
    assert bound.row() == row


class _Suite:
    NAME = "one"
    TITLE = "The first"
    IS_LONG = False

    def run(self, bench: harness.Bench) -> dict[str, Any]:
        return {"window_s": bench.window_s}

    def table(self, result: dict[str, Any]) -> str:
        return f"measured over {result['window_s']} s"

    def reaches(self, result: dict[str, Any]) -> list[reach.Reach]:
        return [reach.Reach("a window", 1, result["window_s"], unit="s")]


class _Other(_Suite):
    NAME = "two"
    TITLE = "The second"


class _Failing(_Other):
    def run(self, bench: harness.Bench) -> dict[str, Any]:
        raise RuntimeError("no request came through")


def test_a_suite_not_run_again_keeps_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SUITES", (_Suite(), _Other()))
    assert command.run([_Suite()], harness.Bench(window_s=0.25), tmp_path) == 0
    page = (tmp_path / "benchmarks.md").read_text()
    assert "measured over 0.25 s" in page
    assert "Not measured yet: `make bench ONLY=two`" in page
    assert command.run([_Other()], harness.Bench(window_s=4), tmp_path) == 0
    page = (tmp_path / "benchmarks.md").read_text()
    assert "measured over 0.25 s" in page
    assert "| a window | <= 1 s | 0.25 s | met |\n| a window | <= 1 s | 4 s | **missed** |" in page


def test_a_failing_suite_fails_the_run_and_leaves_the_others_their_turn(tmp_path: Path) -> None:
    assert command.run([_Failing(), _Suite()], harness.Bench(window_s=0.25), tmp_path) == 1
    assert [path.name for path in tmp_path.glob("*.json")] == ["one.json"]


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_the_prober_knows_when_an_answer_is_whole(answer: bytes, is_over: bool) -> None:
    assert prober._is_over(prober._Open(due=0.0, window=None, got=bytearray(answer))) is is_over


def test_the_prober_stops_at_anything_but_200() -> None:
    with pytest.raises(SystemExit, match=r"HTTP/1\.1 401"):
        prober._is_over(prober._Open(due=0.0, window=None, got=bytearray(b"HTTP/1.1 401 No\r\n\r\n")))


def test_the_prober_counts_requests_that_were_left_alone() -> None:
    of = prober._Window
    windows = [of([1.0, 2.0], stolen=3), of([3.0]), of([4.0, 5.0], stolen=1)]
    assert prober.least_disturbed(windows, 4) == prober.Seen([3.0], sent=5, disturbed=0)
    seen = prober.least_disturbed(windows, 16)  # a quarter at least
    assert seen == prober.Seen([3.0, 4.0, 5.0, 1.0], sent=5, disturbed=3)
    assert prober.told([seen.counts(), seen.counts()]) == (
        "Of 10 requests 8 count, those that the hypervisor disturbed least; of these 6 were disturbed, too."
    )


@pytest.mark.parametrize(("disturbed", "verdict"), [(200, True), (201, None)])
def test_a_tail_is_judged_where_most_requests_were_left_alone(disturbed: int, verdict: bool | None) -> None:
    counts = {"sent": 2_000, "counted": 1_000, "disturbed": disturbed}
    (one,) = recording.reaches({"rows": {recording.BOTH: {"p99_ratio": 1.0}}, "requests": counts})
    assert one.is_met is verdict


def test_a_missing_tool_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_missing", lambda: "The benchmarks need wrk: sudo apt install wrk")
    assert command.main(["--quick"]) == 1
    assert capsys.readouterr().err == "The benchmarks need wrk: sudo apt install wrk\n"


def test_the_page_is_what_the_results_say() -> None:
    written = report.PAGE.read_text("utf-8")
    assert written == report.page(command.SUITES, report.RESULTS), "run `python -m bench --page`"


def test_a_quick_run_gives_sane_figures(tmp_path: Path) -> None:
    if (lacking := command._missing()) is not None:
        if os.environ.get("PENSTOCK_TEST_REQUIRE_ALL") == "1":
            pytest.fail(lacking)
        pytest.skip(lacking)
    asked = ["--quick", "--window", "0.3", "--only", "unary", "--into", str(tmp_path)]
    assert command.main(asked) == 0
    saved = json.loads((tmp_path / "unary.json").read_text())
    assert saved["rounds"] == 1
    for name in ("Penstock", "nginx"):
        row = saved["result"][name]
        assert 1 < row["cpu_us_per_request"]["median"] < 100_000
        assert row["requests_per_s"]["median"] > 0
    assert "nginx" in (tmp_path / "benchmarks.md").read_text()


def test_the_suite_of_usage_fits_the_schema() -> None:
    """It writes past the store, to be done in time."""
    found = usage.run(harness.Bench(rounds=1, is_quick=True))
    assert found["rows"] == usage.ROWS_QUICK
    assert found["ms"].keys() == {*usage.QUESTIONS, usage.SCAN}
    assert [one.bound for one in usage.reaches(found)] == [usage.STATEMENT_MS] * 2
