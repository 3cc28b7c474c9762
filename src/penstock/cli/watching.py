"""What a person sees while models load: one line per model that changed, and a bar on a terminal."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from penstock.cli.output import err, note

if TYPE_CHECKING:
    from penstock.runtime.fleet import PoolStatus

SETTLED = ("ready", "failed")


class Watch:
    """Is called with the pools' rows, several times a second, and prints what is new."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, rows: "Sequence[PoolStatus]") -> None:
        for row in rows:
            state = pool_state(row)
            if state not in SETTLED:
                self._show(row, state)
            if state == self._states.get(row.pool):
                continue
            self._states[row.pool] = state
            if state in SETTLED:
                self._hide(row.pool)
                note(f"{row.pool}: {state}")
        if not self._bars:
            self._progress.stop()

    def _show(self, row: "PoolStatus", state: str) -> None:
        if not err.is_terminal:
            return
        if row.pool not in self._bars:
            self._bars[row.pool] = self._progress.add_task(row.pool, total=None)
            self._progress.start()
        self._progress.update(self._bars[row.pool], description=f"{row.pool}: {state}")

    def _hide(self, pool: str) -> None:
        bar = self._bars.pop(pool, None)
        if bar is not None:
            self._progress.remove_task(bar)


def pool_state(row: "PoolStatus") -> str:
    """One word for a pool: ready as soon as one replica is."""
    states = [replica.state for replica in row.replicas]
    for state in ("ready", "warming", "starting", "failed"):
        if state in states:
            return state
    return states[0] if states else "starting"
