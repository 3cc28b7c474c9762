"""The machine of the simulated engine, by explicit time."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.testing.simulated_machine import Blocks, Job, Machine, Speed, block_hashes

# 1 ms per prompt token, 100 ms per token of the answer, no matter how many run
PLAIN: dict[str, Any] = {"prefill_tokens_s": 1000.0, "decode_s": 0.1, "decode_growth": 0.0}


def job(prompt: str, output: int = 1, **more: Any) -> Job:
    """Four characters are a token, 16 tokens a block."""
    return Job(max(1, -(-len(prompt) // 4)), output, block_hashes(prompt, 64), **more)


def text(seed: int, blocks: int, more: int = 0) -> str:
    dice = random.Random(seed)  # noqa: S311 - the same text each time
    return "".join(dice.choices("abcdefgh", k=64 * blocks + more))


def finish(machine: Machine) -> None:
    while (at := machine.next_at()) is not None:
        machine.advance(at)


# -- the cache ---------------------------------------------------------------------------------------------


def test_a_hash_stands_for_all_before_it() -> None:
    a, b = text(1, 1), text(2, 1)
    assert block_hashes(a + b, 64)[0] == block_hashes(a, 64)[0]
    assert block_hashes(a + b, 64)[1] != block_hashes(b, 64)[0]
    assert block_hashes(a + "not full", 64) == block_hashes(a, 64)


def test_the_least_recently_used_is_evicted_and_the_end_of_a_prompt_first() -> None:
    blocks = Blocks(6)
    old, new = (1, 2, 3), (11, 12, 13)
    for one in (old, new, old):  # old is used again
        assert blocks.take(one, 0)
        blocks.give_back(one, 0)
    assert (blocks.cached, blocks.pinned) == (6, 0)
    assert blocks.take((), 1)
    assert (blocks.known(old), blocks.known(new)) == (3, 2)
    assert blocks.take((), 3)
    assert (blocks.known(old), blocks.known(new)) == (2, 0)


def test_pinned_blocks_are_not_evicted_and_shared_ones_count_once() -> None:
    blocks = Blocks(4)
    assert blocks.take((1, 2), 0)
    assert blocks.take((1, 2), 1)
    assert (blocks.pinned, blocks.used) == (3, 3)
    assert not blocks.take((), 2)
    assert not blocks.take((8, 9), 0)
    assert (blocks.pinned, blocks.known((1, 2))) == (3, 2)
    blocks.give_back((1, 2), 0)
    assert not blocks.take((8, 9), 0), "the other one still has them"
    blocks.give_back((1, 2), 1)
    assert blocks.take((8, 9), 1)
    assert blocks.known((1, 2)) == 1


# -- the machine -------------------------------------------------------------------------------------------


def test_one_request_alone() -> None:
    machine = Machine(Speed(**PLAIN))
    one = job(text(1, 10, 40), 5, marks=(1, 3))  # 170 tokens
    machine.submit(one, 7.0)
    assert machine.next_at() == pytest.approx(7.17)
    assert machine.advance(7.1) == []
    ticks = machine.advance(9.0)
    assert [(t.tokens, round(t.at, 6), t.is_last) for t in ticks] == [
        (1, 7.17, False),
        (3, 7.37, False),
        (5, 7.57, True),
    ]
    assert (one.arrived_at, one.prefill_at, one.phase) == (7.0, 7.0, "ended")
    assert (machine.running, machine.blocks.pinned, machine.blocks.cached) == (0, 0, 10)
    assert machine.next_at() is None


def test_cached_blocks_skip_their_prefill() -> None:
    machine = Machine(Speed(**PLAIN))
    first, second = job(text(1, 10) + text(2, 5)), job(text(1, 10) + text(3, 5))
    machine.submit(first, 0.0)
    finish(machine)
    machine.submit(second, 10.0)
    finish(machine)
    assert (first.cached_tokens, second.cached_tokens) == (0, 160)
    assert second.first_at == pytest.approx(10.080)
    assert (machine.queried_tokens, machine.hit_tokens) == (480, 160)


def test_of_a_prompt_that_is_cached_whole_the_last_block_is_computed() -> None:
    machine = Machine(Speed(**PLAIN))
    for again in (job(text(1, 10)), job(text(1, 10))):
        machine.submit(again, 0.0)
        finish(machine)
    assert again.cached_tokens == 144
    longer = job(text(1, 10, 4))
    machine.submit(longer, 9.0)
    finish(machine)
    assert longer.cached_tokens == 160


def test_prompts_are_computed_one_at_a_time_in_order_while_others_decode() -> None:
    machine = Machine(Speed(**PLAIN))
    jobs = [job(text(n, 10), 100) for n in range(3)]
    for one in jobs:
        machine.submit(one, 0.0)
    finish(machine)
    assert [one.first_at for one in jobs] == pytest.approx([0.16, 0.32, 0.48])
    assert [one.ended_at for one in jobs] == pytest.approx([10.06, 10.22, 10.38])


def test_a_prompt_may_slow_the_others_down() -> None:
    machine = Machine(Speed(**PLAIN, decode_beside_prefill=2.0))
    first, second = job(text(1, 10), 11), job(text(2, 25), 1)
    machine.submit(first, 0.0)
    machine.submit(second, 0.0)
    finish(machine)
    assert second.ended_at == pytest.approx(0.56)
    assert first.ended_at == pytest.approx(0.56 + 0.8), "two of its ten tokens in the 0.4 s of that prompt"


def test_a_token_takes_longer_the_more_sequences_there_are() -> None:
    machine = Machine(Speed(prefill_tokens_s=1e9, decode_s=0.1, decode_growth=0.5))
    first, second = job("a", 11), job("b", 6)
    machine.submit(first, 0.0)
    machine.submit(second, 0.0)
    finish(machine)
    assert second.ended_at == pytest.approx(0.75, abs=1e-6), "5 tokens in a batch of two"
    assert first.ended_at == pytest.approx(0.75 + 0.5, abs=1e-6), "and 5 more alone"


def test_places_are_given_first_in_first_out() -> None:
    machine = Machine(Speed(**PLAIN, max_running=2))
    jobs = [job(text(n, 1), 11) for n in range(4)]
    for one in jobs:
        machine.submit(one, 0.0)
    machine.advance(0.5)
    assert (machine.running, list(machine.waiting)) == (2, jobs[2:])
    finish(machine)
    assert jobs[2].prefill_at == jobs[0].ended_at
    assert jobs[3].prefill_at == jobs[1].ended_at


def test_what_does_not_fit_waits_and_holds_up_what_is_behind_it() -> None:
    machine = Machine(Speed(**PLAIN, kv_blocks=20))
    first, large, small = job(text(1, 10), 16), job(text(2, 10), 16), job(text(3, 1), 1)
    for one in (first, large, small):
        machine.submit(one, 0.0)
    machine.advance(1.0)
    assert (first.phase, large.phase, small.phase) == ("decode", "waiting", "waiting")
    assert machine.blocks.pinned == 11
    finish(machine)
    assert large.prefill_at == first.ended_at
    assert small.prefill_at == large.first_at
    with pytest.raises(ValueError, match="do not fit"):
        machine.submit(job(text(4, 20), 1), 99.0)


def test_one_that_leaves_frees_its_place() -> None:
    machine = Machine(Speed(**PLAIN, max_running=1))
    decoding, waiting, computing, last = (job(text(n, 10), 1000) for n in range(4))
    for one in (decoding, waiting, computing, last):
        machine.submit(one, 0.0)
    machine.cancel(waiting, 1.0)
    machine.cancel(decoding, 2.0)
    assert (computing.phase, computing.prefill_at) == ("prefill", 2.0)
    machine.cancel(computing, 2.05)
    assert last.prefill_at == 2.05
    assert machine.blocks.known(computing.blocks) == 3, "what was computed until then: 50 tokens"
    assert machine.blocks.known(decoding.blocks) == 10
    machine.cancel(last, 3.0)
    machine.cancel(last, 3.0)
    assert (machine.running, machine.blocks.pinned, machine.next_at()) == (0, 0, None)
    assert [tick.job for tick in machine.advance(9.0)] == [decoding, last]


def test_a_slow_one_is_slow_alone() -> None:
    machine = Machine(Speed(**PLAIN))
    slow, other = job(text(1, 10), 11, slow=10.0), job(text(2, 10), 11)
    machine.submit(slow, 0.0)
    machine.submit(other, 0.0)
    finish(machine)
    assert (slow.first_at, slow.ended_at) == pytest.approx((1.6, 11.6))
    assert (other.first_at, other.ended_at) == pytest.approx((0.32, 1.32))


def test_time_scale_divides_all_durations() -> None:
    ends = []
    for scale in (1.0, 50.0):
        machine = Machine(Speed(max_running=3, time_scale=scale))
        jobs = [job(text(n, 20), 30 + n, slow=1.0 + n % 2) for n in range(8)]
        for number, one in enumerate(jobs):
            machine.submit(one, number * 0.3 / scale)
        finish(machine)
        ends.append(
            [(one.first_at or 0) * scale for one in jobs] + [(one.ended_at or 0) * scale for one in jobs]
        )
    assert ends[0] == pytest.approx(ends[1])


@pytest.mark.parametrize(
    "wrong", [{"time_scale": 0}, {"decode_s": -1}, {"max_running": 0}, {"decode_beside_prefill": 0.5}]
)
def test_speeds_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least|above"):
        Speed(**wrong)


REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 0.3),  # since the one before
        st.integers(0, 3),  # which prefix
        st.integers(0, 8),  # blocks of it
        st.integers(0, 150),  # characters of its own
        st.integers(1, 40),  # tokens of the answer
        st.sampled_from([1.0, 1.0, 3.0]),
        st.one_of(st.none(), st.none(), st.floats(0, 2)),  # leaves after
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(
    requests=REQUESTS,
    blocks=st.integers(15, 60),
    places=st.integers(1, 6),
    growth=st.floats(0, 1),
    beside=st.floats(1, 3),
)
def test_what_always_holds(
    requests: list[Any], blocks: int, places: int, growth: float, beside: float
) -> None:
    speed = Speed(
        prefill_tokens_s=1000.0,
        decode_growth=growth,
        decode_beside_prefill=beside,
        kv_blocks=blocks,
        max_running=places,
    )

    def replay() -> list[Job]:
        machine, now = Machine(speed), 0.0
        calls: list[tuple[float, int, str, Job]] = []
        jobs = []
        for number, (after, prefix, shared, own, output, slow, leaves) in enumerate(requests):
            now += after
            one = job(text(prefix, 8)[: 64 * shared] + f"{number:x}" * own, output, slow=slow)
            jobs.append(one)
            calls.append((now, number, "submit", one))
            if leaves is not None:
                calls.append((now + leaves, number, "cancel", one))
        told = []
        for at, _, call, one in sorted(calls, key=lambda call: call[:3]):
            while (due := machine.next_at()) is not None and due <= at:
                told += machine.advance(due)
                check(machine)
            getattr(machine, call)(one, at)
            check(machine)
        while (due := machine.next_at()) is not None:
            told += machine.advance(due)
            check(machine)
        assert [tick.at for tick in told] == sorted(tick.at for tick in told)
        assert (machine.running, len(machine.waiting), machine.blocks.pinned) == (0, 0, 0)
        return jobs

    def check(machine: Machine) -> None:
        cache = machine.blocks
        assert 0 <= cache.pinned <= cache.used <= cache.capacity
        assert cache.cached <= cache.used
        assert machine.running <= places

    jobs = replay()
    for one in jobs:
        assert one.phase in {"ended", "cancelled"}
        if one.first_at is not None:
            uncached = one.prompt_tokens - one.cached_tokens
            assert uncached > 0
            assert one.first_at >= one.arrived_at + uncached / speed.prefill_tokens_s - 1e-9
        if one.ended_at is not None and one.first_at is not None:
            alone = (one.output_tokens - 1) * speed.decode_s * one.slow
            assert one.ended_at >= one.first_at + alone - 1e-9
    starts = [one.prefill_at for one in jobs if one.prefill_at is not None]
    assert starts == sorted(starts), "first in, first out"
    assert [(one.first_at, one.ended_at) for one in replay()] == [
        (one.first_at, one.ended_at) for one in jobs
    ]
