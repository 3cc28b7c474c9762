from penstock.routing.load import Load


def test_what_is_reserved_is_released() -> None:
    load = Load()
    first, second = load.reserve("a", 100), load.reserve("a", 30)
    assert (load.running("a"), load.pending("a")) == (2, 130)
    load.prefilled(first)
    load.prefilled(first)  # once
    assert (load.running("a"), load.pending("a")) == (2, 30)
    load.release(second)
    assert (load.running("a"), load.pending("a")) == (1, 0)
    load.release(first)
    assert (load.running("a"), load.pending("a"), load.running("b")) == (0, 0, 0)
