import pytest

from penstock.cli.watching import Seen, Watch, seen
from penstock.models import Progress
from penstock.runtime.fleet import PoolStatus, ReplicaStatus
from penstock.types.deployment import ReplicaState


def row(
    *states: ReplicaState, fetching: Progress | None = None, error: str = "", why: str = ""
) -> PoolStatus:
    replicas = tuple(ReplicaStatus(f"p#{n}", state, None, 0, 0, why, {}) for n, state in enumerate(states))
    return PoolStatus("p", "onnx", "hf:a/b", replicas, fetching, error)


HALF = Progress("hf:a/b", "downloading", "f", 45_000_000, 90_000_000)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (row("ready", "failed"), Seen("ready")),
        (
            row("stopped", fetching=HALF),
            Seen("fetching", "downloading 45 MB of 90 MB", 45_000_000, 90_000_000),
        ),
        (row("stopped", fetching=Progress("s", "connecting")), Seen("fetching", "connecting", 0, None)),
        (row("stopped", fetching=HALF, error="no hub"), Seen("failed", "no hub")),
        (row("failed", "failed", why="bad file"), Seen("failed", "bad file")),
        (row("failed", "starting"), Seen("starting")),
        (row("stopped"), Seen("starting")),
        (row(), Seen("starting")),
    ],
)
def test_a_pool_in_words(status: PoolStatus, expected: Seen) -> None:
    assert seen(status) == expected


def test_each_change_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch() as watch:
        for status in (row("starting"), row("ready"), row("ready"), row("stopped"), row("ready")):
            watch([status])
        watch([row("failed", why="bad file")])
    assert capsys.readouterr().err.splitlines() == ["p: ready", "p: ready", "p: failed: bad file"]


def test_nothing_is_said_before_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(is_open=False) as watch:
        watch([row("ready")])
        assert not capsys.readouterr().err
        watch.is_open = True
        watch([row("ready")])
    assert capsys.readouterr().err == "p: ready\n"
