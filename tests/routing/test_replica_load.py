from penstock.routing.load import ANSWER, Load


def test_what_is_reserved_is_released() -> None:
    load = Load()
    first, second = load.reserve("a", 100), load.reserve("a", 30)
    assert (load.running("a"), load.busy("a")) == (2, 130 + 2 * ANSWER)
    load.prefilled(first)
    load.prefilled(first)  # once
    assert (load.running("a"), load.busy("a")) == (2, 30 + 2 * ANSWER)
    load.release(second)
    assert (load.running("a"), load.busy("a")) == (1, ANSWER)
    load.release(first)
    assert (load.running("a"), load.busy("a"), load.running("b")) == (0, 0, 0)
    assert not load.by_replica
