from typing import Any, cast

from penstock.gateway.responses import Kept, Store
from penstock.testing.clock import FakeClock


def kept(name: str, size: int = 1_000, owner: str = "alice") -> Kept:
    output = [{"id": f"msg_{name}", "text": "x" * size}]
    return Kept(owner, {"id": name, "status": "completed", "output": output}, [], is_background=False)


def test_the_oldest_go_first_but_for_those_that_are_being_made() -> None:
    store = Store(FakeClock(), kept_bytes=3_500)
    running = kept("a")
    running.run = cast(Any, object())
    store.keep(running)
    for name in "bcde":
        store.keep(kept(name))
    assert [name for name in "abcde" if store.find("alice", name)] == ["a", "d", "e"]
    assert store.item("alice", "msg_b") is None
    assert store.item("alice", "msg_e") is not None


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
    store.keep(kept("b"))
    assert len(store) == 1


def test_keeping_again_counts_once_and_what_is_deleted_does_not_come_back() -> None:
    store = Store(FakeClock(), kept_bytes=2_500)
    one = kept("a")
    for _ in range(5):
        store.keep(one)
    store.keep(kept("b"))
    assert len(store) == 2
    one.is_deleted = True
    store.drop("a")
    store.keep(one)
    assert store.find("alice", "a") is None
