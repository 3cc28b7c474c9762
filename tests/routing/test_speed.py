from penstock.routing.speed import Speeds


def test_an_answer_is_expected_as_the_latest_were() -> None:
    speeds = Speeds()
    assert speeds.expected_s("a", 100) is None
    speeds.saw("a", 0.5, 2.0, 200)
    assert speeds.expected_s("a", 100) == 1.5
    for _ in range(60):
        speeds.saw("a", 0.1, 4.0, 100)
    expected = speeds.expected_s("a", 100)
    assert expected is not None
    assert abs(expected - 4.1) < 0.01


def test_an_answer_that_came_whole_says_nothing_of_tokens() -> None:
    speeds = Speeds()
    speeds.saw("a", 0.5, 0.0, 200)
    assert speeds.expected_s("a", 1000) == 0.5
