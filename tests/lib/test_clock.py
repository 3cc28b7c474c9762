import pytest

from penstock.lib.clock import Clock, SystemClock
from penstock.testing.clock import FakeClock


def readings(clock: Clock) -> tuple[float, float]:
    return clock.monotonic(), clock.wall()


def test_the_system_clock_goes_on() -> None:
    first, second = readings(SystemClock()), readings(SystemClock())
    assert second[0] >= first[0]
    assert first[1] > 1_700_000_000


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(monotonic=1.0, wall=10.0)
    assert readings(clock) == readings(clock) == (1.0, 10.0)
    clock.advance(2.5)
    assert readings(clock) == (3.5, 12.5)
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)
