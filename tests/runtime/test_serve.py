import subprocess
import sys

import pytest

from penstock import serve
from penstock.runtime.fleet import PoolStatus, ReplicaStatus
from penstock.types.deployment import ReplicaState


def raised(soft: int, hard: int, bound: int = serve.OPEN_FILES) -> tuple[int, int]:
    """The limits of a process of its own after the start: a hard limit never comes back."""
    script = (
        f"import resource; from penstock import serve; serve.OPEN_FILES = {bound};"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); serve.raise_open_files();"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    was, now = map(int, done.stdout.split()[-2:])
    return was, now


def test_the_limit_of_open_files_is_lifted_to_the_hard_one() -> None:
    assert raised(256, 1000) == (1000, 1000)


def test_a_limit_that_is_high_enough_stays() -> None:
    assert raised(1000, 1000) == (1000, 1000)


def test_the_limit_is_bounded() -> None:
    assert raised(256, 1000, bound=512) == (512, 1000)


@pytest.mark.parametrize(
    ("error", "states", "expected"),
    [
        ("no such model", ["stopped", "stopped"], {"failed": 2}),
        ("", ["stopped", "stopped"], {"stopped": 2}),
        ("", ["ready", "starting"], {"ready": 1, "starting": 1}),
    ],
)
def test_a_pool_whose_model_could_not_be_fetched_has_failed(
    error: str, states: list[ReplicaState], expected: dict[str, int]
) -> None:
    replicas = tuple(
        ReplicaStatus(f"p#{number}", state, None, 0, 0, "", {}) for number, state in enumerate(states)
    )
    row = serve.pool_row(PoolStatus("p", "fake", "file:/m", replicas, None, error))
    assert {state: count for state, count in row.states.items() if count} == expected
