from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.kept import BESIDE_BYTES, Kept, Store
from penstock.testing.clock import FakeClock


def kept(name: str, size: int = 1_000, owner: str = "alice") -> Kept:
    output = [{"id": f"msg_{name}", "text": "x" * size}]
    return Kept(owner, {"id": name, "status": "completed", "output": output}, [], is_background=False)


def test_the_oldest_go_first_but_for_those_that_are_being_made() -> None:
    store = Store(FakeClock(), kept_bytes=5_000)
    running = kept("a")
    running.response["status"] = "in_progress"
    store.keep(running)
    for name in "bcde":
        store.keep(kept(name))
    assert [name for name in "abcde" if store.find("alice", name)] == ["a", "d", "e"]
    assert store.item("alice", "msg_b") is None
    assert store.item("alice", "msg_e") is not None
    running.response["status"] = "completed"
    store.keep(running)
    assert [name for name in "abcde" if store.find("alice", name)] == ["a", "e"]


def test_who_keeps_much_pushes_out_nobody_else() -> None:
    store = Store(FakeClock(), kept_bytes=10_000)
    store.keep(kept("a", owner="alice"))
    store.keep(kept("b", owner="bob"))
    for number in range(50):
        store.keep(kept(f"m{number}", owner="mallory"))
    store.keep(kept("huge", 50_000, owner="mallory"))
    assert store.find("alice", "a") is not None
    assert store.find("bob", "b") is not None
    assert not any(store.find("mallory", f"m{number}") for number in range(50))
    assert store.find("mallory", "huge") is None
    store.keep(kept("again", owner="mallory"))
    assert len(store) == 3


owners = st.sampled_from(["alice", "bob", "carol"])


@given(st.lists(st.tuples(owners, st.integers(0, 3_000)), max_size=60))
def test_room_is_bounded_and_a_small_share_is_safe(asked: list[tuple[str, int]]) -> None:
    """Nobody who has kept no more than an equal share loses anything."""
    room = 20_000
    store = Store(FakeClock(), kept_bytes=room)
    sizes: dict[str, list[int]] = {}
    for number, (owner, size) in enumerate(asked):
        one = kept(f"r{number}", size, owner)
        sizes.setdefault(owner, []).append(len(one.response_json) + len(one.items_json) + BESIDE_BYTES)
        store.keep(one)
    there = [number for number, (owner, _) in enumerate(asked) if store.find(owner, f"r{number}")]
    assert sum(asked[number][1] for number in there) <= room
    for owner, own in sizes.items():
        if sum(own) <= room / 3:
            assert sum(asked[number][0] == owner for number in there) == len(own)


def test_what_is_kept_is_its_owner_s_and_expires() -> None:
    clock = FakeClock()
    store = Store(clock, kept_s=10)
    store.keep(kept("a"))
    assert store.find("bob", "a") is None
    assert store.item("bob", "msg_a") is None
    clock.advance(9)
    assert store.find("alice", "a") is not None
    clock.advance(1)
    assert store.find("alice", "a") is None
    assert store.item("alice", "msg_a") is None
    store.keep(kept("b"))
    assert len(store) == 1


def test_what_has_ended_is_the_same_when_it_is_read() -> None:
    store = Store(FakeClock())
    one = kept("a")
    said, items = dict(one.response), list(one.items)
    store.keep(one)
    found = store.find("alice", "a")
    assert found is not None
    assert (found.response, found.items) == (said, items)
    found.response["status"] = "failed"  # of a copy
    assert found.response["status"] == "completed"
    assert store.item("alice", "msg_a") == said["output"][0]


def test_keeping_again_counts_once_and_what_is_deleted_does_not_come_back() -> None:
    store = Store(FakeClock(), kept_bytes=5_000)
    one = kept("a")
    for _ in range(5):
        store.keep(one)
    store.keep(kept("b"))
    assert len(store) == 2
    one.is_deleted = True
    store.drop("a")
    store.keep(one)
    assert store.find("alice", "a") is None
