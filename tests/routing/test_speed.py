from penstock.routing.speed import TRIED_AGAIN_S, Speeds


def test_an_answer_is_expected_as_the_latest_were() -> None:
    speeds = Speeds()
    assert speeds.expected_s("a", 100) is None
    speeds.saw("a", 0.5, 2.0, 200, now_s=0.0)
    assert speeds.expected_s("a", 100) == 1.5
    for _ in range(60):
        speeds.saw("a", 0.1, 4.0, 100, now_s=0.0)
    expected = speeds.expected_s("a", 100)
    assert expected is not None
    assert abs(expected - 4.1) < 0.01


def test_an_answer_that_came_whole_says_nothing_of_tokens() -> None:
    speeds = Speeds()
    speeds.saw("a", 0.5, 0.0, 200, now_s=0.0)
    assert speeds.expected_s("a", 1000) == 0.5


def test_who_was_late_is_tried_again_once_in_a_while() -> None:
    speeds = Speeds()
    assert not speeds.is_late("a", 1.0, 0.0)
    speeds.saw("a", 5.0, 0.0, 1, now_s=10.0)
    assert speeds.is_late("a", 1.0, 10.0 + TRIED_AGAIN_S - 1)
    assert not speeds.is_late("a", 1.0, 10.0 + TRIED_AGAIN_S)
    assert speeds.is_late("a", 1.0, 10.0 + TRIED_AGAIN_S + 1)  # one was enough
    speeds.saw("a", 0.5, 0.0, 1, now_s=11.0 + TRIED_AGAIN_S)  # what was known is too old to be mixed in
    assert not speeds.is_late("a", 1.0, 12.0 + TRIED_AGAIN_S)
