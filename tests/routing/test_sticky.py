from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.routing.select import Candidate
from penstock.routing.slow_start import standing
from penstock.routing.sticky import rendezvous, roll, session_of

TARGET: Any = None


def candidates(**weights: float) -> list[Candidate]:
    return [Candidate(TARGET, name, "", weight) for name, weight in weights.items()]


def test_sessions_are_shared_out_by_weight() -> None:
    both = candidates(a=3.0, b=1.0)
    shares = Counter(rendezvous(both, session * 7919).replica for session in range(4000))
    assert 2850 < shares["a"] < 3150


@given(st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_who_goes_takes_only_its_own_sessions_along(session: int, gone: int) -> None:
    four = candidates(a=1.0, b=2.0, c=1.0, d=0.5)
    before = rendezvous(four, session)
    left = [one for one in four if one is not four[gone]]
    after = rendezvous(left, session)
    assert after is before or before is four[gone]
    assert rendezvous(list(reversed(four)), session) is before


def test_a_replica_that_is_started_again_keeps_its_sessions() -> None:
    before = [Candidate(TARGET, "m/0:4001", "m/0"), Candidate(TARGET, "m/1:4002", "m/1")]
    after = [Candidate(TARGET, "m/0:5001", "m/0"), Candidate(TARGET, "m/1:4002", "m/1")]
    for session in range(200):
        assert rendezvous(before, session).id == rendezvous(after, session).id


def chat(*said: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    return {"messages": [{"role": "system", "content": "S"}, *turns], **more}


def conversation(body: dict[str, Any], key: str = "k", name: bytes = b"") -> int:
    return session_of("conversation", key, name, body)


def test_a_conversation_is_known_by_its_beginning_or_by_its_name() -> None:
    first = conversation(chat("hello"))
    assert conversation(chat("hello", "hi", "and now?")) == first
    assert conversation(chat("good day")) != first
    assert conversation(chat("hello"), key="another") != first
    named = conversation(chat("hello"), name=b"s-1")
    assert named == conversation(chat("whatever"), name=b"s-1") != first
    cached = conversation(chat("a", prompt_cache_key="c"))
    assert cached == conversation(chat("b", prompt_cache_key="c")) != first


def test_it_is_known_in_every_dialect() -> None:
    gemini = [{"role": "user", "parts": [{"text": "hello"}]}, {"role": "model", "parts": [{"text": "x"}]}]
    assert conversation({"contents": gemini}) == conversation({"contents": gemini[:1]})
    responses: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
    assert conversation({"input": responses, "instructions": "I"}) == conversation(
        {"input": [*responses, {"role": "assistant", "content": "x"}], "instructions": "I"}
    )
    assert conversation({"input": "hello"}) != conversation({"input": "bye"})
    assert conversation({}) == conversation({"input": 5})


def test_a_key_is_one_session() -> None:
    assert session_of("key", "k", b"s", chat("a")) == session_of("key", "k", b"", chat("b"))
    assert session_of("key", "k", b"", {}) != session_of("key", "l", b"", {})


def test_conversations_come_back_one_after_the_other_and_stay() -> None:
    two = candidates(old=1.0, new=1.0)

    def at(share: float, session: int) -> str:
        rolls = [roll(one, session) for one in two]
        return rendezvous(standing(two, [1.0, share], rolls), session).replica

    sessions = [number * 7919 for number in range(2000)]
    for session in sessions:
        places = [at(share, session) for share in (0.1, 0.4, 0.7, 1.0)]
        assert places == sorted(places, reverse=True), "to the new one, once"
    back = [sum(at(share, session) == "new" for session in sessions) / 2000 for share in (0.1, 0.55, 1.0)]
    assert back == [
        pytest.approx(0.05, abs=0.02),
        pytest.approx(0.28, abs=0.04),
        pytest.approx(0.5, abs=0.04),
    ]
