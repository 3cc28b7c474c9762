import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.units import (
    format_amount,
    format_duration,
    format_percent,
    format_price,
    format_size,
    parse_amount,
    parse_duration,
    parse_percent,
    parse_price,
    parse_size,
)


@given(st.integers(min_value=1, max_value=366 * 86_400_000))
def test_a_duration_survives_writing_and_reading(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=1, max_value=1 << 50))
def test_a_size_survives_writing_and_reading(count: int) -> None:
    assert parse_size(format_size(count)) == count


@given(st.integers(min_value=1, max_value=10**9))
def test_an_amount_survives_writing_and_reading(count: int) -> None:
    assert parse_amount(format_amount(count)) == count


@given(st.integers(min_value=0, max_value=10**15))
def test_a_price_survives_writing_and_reading(pico: int) -> None:
    assert parse_price(format_price(pico)) == pico


@given(st.integers(min_value=-10_000, max_value=100_000))
def test_a_percentage_survives_writing_and_reading(points: int) -> None:
    assert parse_percent(format_percent(points)) == points


@pytest.mark.parametrize(
    ("text", "points"), [("2.5", 250), ("-10%", -1000), ("+0.07", 7), ("-0", 0), ("1000", 100_000)]
)
def test_percentages(text: str, points: int) -> None:
    assert parse_percent(text) == points


@pytest.mark.parametrize("text", ["", "x", "2.555", "1e2", "-100.01", "1000.01", "5 %", "--5", "."])
def test_bad_percentages(text: str) -> None:
    with pytest.raises(ValueError, match="a percentage is"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("$3/1M", 3_000_000),
        ("$3 / 1M", 3_000_000),
        ("$0.15/1M", 150_000),
        ("$0.150000/1M", 150_000),
        ("$0.000001/1M", 1),
        ("$2/1k", 2_000_000_000),
        ("$1000/1", 10**15),
        ("$0/1M", 0),
    ],
)
def test_prices(text: str, pico: int) -> None:
    assert parse_price(text) == pico


@pytest.mark.parametrize(
    "text",
    ["", "3", "3/1M", "$3", "$3/M", "$3/2M", "$-1/1M", "$.5/1M", "$3e1/1M", "$0.0000001/1M", "$1001/1"],
)
def test_bad_prices(text: str) -> None:
    with pytest.raises(ValueError, match=r"a price is|finer"):
        parse_price(text)


@pytest.mark.parametrize(("text", "count"), [("500", 500), ("16k", 16_000), ("1.5M", 1_500_000), ("1.0", 1)])
def test_amounts(text: str, count: int) -> None:
    assert parse_amount(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "16 k", "16K", "0", "1.5", "1001M", "1e3", "5\n"])
def test_bad_amounts(text: str) -> None:
    with pytest.raises(ValueError, match=r"an amount is|whole number"):
        parse_amount(text)


@pytest.mark.parametrize(
    ("text", "seconds", "shortest"),
    [
        ("500ms", 0.5, "500ms"),
        ("2s", 2.0, "2s"),
        ("1.5m", 90.0, "90s"),
        ("15m", 900.0, "15m"),
        ("60m", 3600.0, "1h"),
        ("180d", 15_552_000.0, "180d"),
        ("0.5ms", 0.0005, "0.5ms"),
    ],
)
def test_durations(text: str, seconds: float, shortest: str) -> None:
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == shortest


@pytest.mark.parametrize(
    ("text", "count", "shortest"),
    [
        ("16MiB", 1 << 24, "16MiB"),
        ("1.5GB", 1_500_000_000, "1500MB"),
        ("7B", 7, "7B"),
        ("1024KiB", 1 << 20, "1MiB"),
    ],
)
def test_sizes(text: str, count: int, shortest: str) -> None:
    assert parse_size(text) == count
    assert format_size(count) == shortest


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1e3s", "0s", "0ms", "999d", "1S", "٣s", "1s\n"]
)
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "MiB", "-1B", "1 B", "0B", "1.5B", "1MB ", "1mb", "9999999GiB"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"a size is|whole number of bytes"):
        parse_size(text)
