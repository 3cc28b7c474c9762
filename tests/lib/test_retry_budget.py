from hypothesis import given
from hypothesis import strategies as st

from penstock.lib.retry_budget import RetryBudget


@given(st.lists(st.booleans(), max_size=300))
def test_further_attempts_are_a_share_of_the_calls(steps: list[bool]) -> None:
    budget = RetryBudget(share=0.2, burst=5)
    calls = taken = 0
    for is_call in steps:
        if is_call:
            budget.called("r")
            calls += 1
        else:
            taken += budget.take("r")
    assert taken <= 5 + 0.2 * calls + 1e-9


def test_accounts_are_apart() -> None:
    budget = RetryBudget(burst=1)
    assert budget.take("a")
    assert not budget.take("a")
    assert budget.take("b")
