from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.room import Room

MOST = 1_000
acts = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcd"), st.sampled_from("123456"), st.integers(0, 400)),
    st.tuples(st.just("drop"), st.sampled_from("abcd"), st.sampled_from("123456"), st.just(0)),
)


@given(st.lists(acts, max_size=300))
def test_whoever_has_most_loses_its_oldest(asked: list[tuple[str, str, str, int]]) -> None:
    """Against a model that looks at everything each time."""
    room = Room(MOST)
    kept: dict[str, dict[str, int]] = {owner: {} for owner in "abcd"}

    def size(owner: str) -> int:
        return sum(kept[owner].values())

    for act, owner, name, wanted in asked:
        kept[owner].pop(name, None)
        if act == "put":
            room.put(owner, name, wanted)
            kept[owner][name] = wanted
        else:
            room.drop(owner, name)
        for whose, which in room.overfull():
            assert sum(map(size, kept)) > MOST
            assert size(whose) == max(map(size, kept))
            assert which == next(iter(kept[whose]))
            room.drop(whose, which)
            del kept[whose][which]
        assert sum(map(size, kept)) <= MOST


def test_sizes_of_the_past_are_not_kept_for_ever() -> None:
    room = Room(MOST)
    for number in range(10_000):
        room.put("a", str(number % 3), number % 7)
    assert len(room._by_size) <= 64 + 4
    for number in range(3):
        room.drop("a", str(number))
    assert not room._shares
