from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.prefix import BLOCK, LONGEST, PrefixIndex, blocks_of, salt_of


def test_equal_beginnings_have_equal_blocks() -> None:
    text = bytes(range(256)) * 16
    blocks = blocks_of(text, 7)
    assert len(blocks) == len(text) // BLOCK == 4
    assert blocks_of(text + b"x" * (BLOCK - 1), 7) == blocks  # a piece of a block is none
    assert blocks_of(text + b"x" * BLOCK, 7)[:4] == blocks
    changed = b"!" + text[1:]
    assert not set(blocks_of(changed, 7)) & set(blocks)  # each block stands for all before it


def test_tenants_share_no_blocks() -> None:
    assert not set(blocks_of(b"a" * 4096, salt_of("alice"))) & set(blocks_of(b"a" * 4096, salt_of("bob")))


def test_the_longest_prompt_that_is_looked_at() -> None:
    assert len(blocks_of(bytes((LONGEST + 9) * BLOCK), 0)) == LONGEST


def test_who_has_how_much_of_a_prompt() -> None:
    index = PrefixIndex()
    index.add("a", [1, 2, 3, 4])
    index.add("b", [1, 2, 9])
    index.add("c", [8])
    assert index.match([1, 2, 3, 5]) == {"a": 3, "b": 2}
    assert index.match([1, 2, 9]) == {"a": 2, "b": 3}
    assert index.match([7]) == index.match([]) == {}
    assert len(index) == 8


def test_the_end_of_the_oldest_prompt_goes_first() -> None:
    index = PrefixIndex(capacity=4)
    index.add("a", [1, 2, 3])
    index.add("a", [7])
    assert index.match([1, 2, 3]) == {"a": 3}
    index.add("a", [8])
    assert index.match([1, 2, 3]) == {"a": 2}  # 3 went
    index.add("a", [1, 2])
    index.add("a", [9])
    assert (index.match([1, 2]), index.match([7]), index.match([8])) == ({"a": 2}, {}, {"a": 1})


def test_the_size_of_a_cache_is_learned() -> None:
    index = PrefixIndex(capacity=1_000)
    for number in range(1_000):
        index.add("a", [number])
    for _ in range(40):
        index.judge("a", was_right=False)
        index.add("a", [1])
    assert len(index) < 500
    fewer = len(index)
    for number in range(300):
        index.judge("a", was_right=True)
        index.add("a", [number])
    assert fewer < len(index)
    for _ in range(10_000):
        index.judge("a", was_right=False)
    index.add("a", [1])
    assert len(index) >= 64


def test_who_was_started_again_has_nothing_and_takes_no_second_share() -> None:
    index = PrefixIndex(most_blocks=40)
    index.add("b", [1], seat="1")
    for life in range(1_000):
        index.add(f"a:{life}", [1, 2], seat="0")
        assert index.match([1, 2]) == {"b": 1, f"a:{life}": 2}
    index.judge("a:0", was_right=False)  # its last answer comes after its end
    for number in range(100):
        index.add("a:999", [number], seat="0")
    assert len(index) == 21


def test_all_replicas_together_are_bounded() -> None:
    index = PrefixIndex(most_blocks=40)
    for replica in "abcd":
        for number in range(100):
            index.add(replica, [number])
    for replica in "abcd":
        index.add(replica, [0])
    assert len(index) == 40


PROMPTS = st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 3), max_size=6)), max_size=30)


@given(PROMPTS, st.lists(st.integers(0, 3), max_size=6))
def test_a_match_is_what_one_would_find_by_looking(
    added: list[tuple[str, list[int]]], asked: list[int]
) -> None:
    """Against sets of whole prefixes, without bounds."""
    index = PrefixIndex()
    seen: dict[str, set[tuple[int, ...]]] = {}
    for replica, letters in added:
        index.add(replica, chain(letters))
        own = seen.setdefault(replica, set())
        own |= {tuple(letters[: end + 1]) for end in range(len(letters))}
    expected = {}
    for replica, own in seen.items():
        depth = 0
        while depth < len(asked) and tuple(asked[: depth + 1]) in own:
            depth += 1
        if depth:
            expected[replica] = depth
    assert index.match(chain(asked)) == expected


def chain(letters: list[int]) -> list[int]:
    return blocks_of(b"".join(bytes([65 + letter]) * BLOCK for letter in letters), 1)
