from penstock.routing.hedging import AGAIN, LEAST, SAMPLES, Delays


def test_late_is_what_one_in_twenty_is() -> None:
    delays = Delays()
    for number in range(LEAST - 1):
        delays.saw("r", number / 100)
    assert delays.late_s("r") is None
    for number in range(SAMPLES):
        delays.saw("r", 1 + (number >= SAMPLES * 0.9) * 9)
    assert delays.late_s("r") == 10
    assert delays.late_s("other") is None


def test_old_times_are_forgotten() -> None:
    delays = Delays()
    for _ in range(SAMPLES):
        delays.saw("r", 9.0)
    for _ in range(SAMPLES + AGAIN):
        delays.saw("r", 0.1)
    assert delays.late_s("r") == 0.2


def test_a_moment_more_is_not_late() -> None:
    delays = Delays()
    for number in range(SAMPLES):
        delays.saw("r", 0.001 + number / 1e6)
    assert delays.late_s("r") == 0.01
