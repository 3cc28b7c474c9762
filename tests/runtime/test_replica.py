import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime import replica
from penstock.runtime.replica import TRANSITIONS, backoff_s, step
from penstock.types.deployment import ReplicaState

EVENTS = sorted({event for _, event in TRANSITIONS})
STATES = sorted({state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()))


def table_of_the_docstring() -> dict[tuple[str, str], str]:
    """The contract as it is written for people."""
    found = {}
    for line in (replica.__doc__ or "").splitlines():
        state, _, rest = line.strip().partition(" ")
        if state in STATES and "->" in rest:
            for part in rest.split(";"):
                event, _, after = part.partition("->")
                found[state, event.strip()] = after.strip()
    return found


def test_the_written_contract_is_the_code() -> None:
    assert table_of_the_docstring() == dict(TRANSITIONS)


@given(events=st.lists(st.sampled_from(EVENTS), max_size=30))
def test_only_a_probe_leads_to_ready_and_nothing_leaves_the_table(events: list[replica.Event]) -> None:
    state: ReplicaState = "stopped"
    for event in events:
        if (state, event) not in TRANSITIONS:
            with pytest.raises(KeyError):
                step(state, event)
            continue
        before, state = state, step(state, event)
        assert state != "ready" or (before, event) == ("warming", "answered")


def test_every_state_can_be_left_for_stopped() -> None:
    reached = {"stopped"}
    while True:
        more = {state for (state, _), after in TRANSITIONS.items() if after in reached} - reached
        if not more:
            break
        reached |= more
    assert reached == set(STATES)


@given(failures=st.integers(1, 10_000), roll=st.floats(0, 1, exclude_max=True))
def test_back_off_grows_to_a_bound(failures: int, roll: float) -> None:
    wait = backoff_s(failures, roll)
    assert 0.25 <= wait <= replica.MAX_BACKOFF_S
    assert wait <= backoff_s(failures + 1, roll)


def test_large_models_get_more_time(tmp_path: object) -> None:
    assert replica.load_deadline_s("/does/not/exist") == replica.LOAD_S
