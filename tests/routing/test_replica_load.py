from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.load import ANSWER, Lease, Load


def test_what_is_reserved_is_released() -> None:
    load = Load()
    first, second = load.reserve("a", 100), load.reserve("a", 30)
    assert (load.running("a"), load.by_replica.get("a", 0)) == (2, 130 + 2 * ANSWER)
    load.prefilled(first)
    load.prefilled(first)  # once
    assert (load.running("a"), load.by_replica.get("a", 0)) == (2, 30 + 2 * ANSWER)
    load.release(second)
    assert (load.running("a"), load.by_replica.get("a", 0)) == (1, ANSWER)
    load.release(first)
    assert (load.running("a"), load.by_replica.get("a", 0), load.running("b")) == (0, 0, 0)
    assert not load.by_replica


OTHERS = st.dictionaries(
    st.sampled_from("abc"), st.tuples(st.integers(1, 3), st.integers(0, 900)), max_size=3
)


@given(st.lists(st.one_of(OTHERS, st.sampled_from("abc"), st.integers(0, 5)), max_size=40))
def test_own_and_others_are_one_sum(steps: Sequence[dict[str, tuple[int, int]] | str | int]) -> None:
    """A word reserves there, a number ends the call of that place in the row, a table is what others have."""
    load, alone = Load(), Load()
    held: list[tuple[Lease, Lease]] = []
    others: dict[str, tuple[int, int]] = {}
    for step in steps:
        match step:
            case str():
                held.append((load.reserve(step, 50), alone.reserve(step, 50)))
            case int() if step < len(held):
                mine, same = held.pop(step)
                load.release(mine)
                alone.release(same)
            case dict():
                others = step
                load.take(others)
        for replica in "abc":
            calls, tokens = others.get(replica, (0, 0))
            assert load.running(replica) == alone.running(replica) + calls
            assert load.by_replica.get(replica, 0) == alone.by_replica.get(replica, 0) + tokens
        assert load.own() == {one: (alone.running(one), busy) for one, busy in alone.by_replica.items()}
    load.take({})
    assert load.by_replica == alone.by_replica
