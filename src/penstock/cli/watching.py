"""What a person sees while models load: one line per model that is ready or failed, a bar until then.

pool                                      word       said about it
----------------------------------------  ---------  -----------------------------------
a replica is ready                        ready
its fetch failed, or every replica did    failed     why; it is tried again by itself
its model is on its way here              fetching   the step and how much of it is here
else                                      starting
"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from penstock.cli.output import err
from penstock.models.store import size

if TYPE_CHECKING:
    from penstock.runtime.fleet import PoolStatus

SETTLED = ("ready", "failed")


class Seen(NamedTuple):
    word: str
    said: str = ""
    done: int = 0
    total: int | None = None


def seen(row: "PoolStatus") -> Seen:
    """Pure: the table above."""
    states = [replica.state for replica in row.replicas]
    if "ready" in states:
        return Seen("ready")
    if row.error:
        return Seen("failed", row.error)
    if states and all(state == "failed" for state in states):
        return Seen("failed", row.replicas[0].error)
    progress = row.fetching
    if progress is None:
        return Seen("starting")
    amount = f"{size(progress.done_bytes)} of {size(progress.total_bytes)}" if progress.total_bytes else ""
    said = " ".join(part for part in (progress.step, amount) if part)
    return Seen("fetching", said, progress.done_bytes, progress.total_bytes)


class Watch:
    """Is called with the pools' rows, several times a second, and prints what is new.

    Nothing is shown before `is_open`: a bar must not begin while other lines are being printed.
    """

    def __init__(self, *, is_open: bool = True) -> None:
        self.is_open = is_open
        self._words: dict[str, str] = {}
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
        for row in rows if self.is_open else ():
            now = seen(row)
            if now.word not in SETTLED:
                self._show(row.pool, now)
            elif now.word != self._words.get(row.pool):
                self._hide(row.pool)
                # Through the console that draws the bars: it moves them out of the way first.
                err.print(f"{row.pool}: {now.word}" + (f": {now.said}" if now.said else ""), markup=False)
            self._words[row.pool] = now.word
        if not self._bars:
            self._progress.stop()

    def _show(self, pool: str, now: Seen) -> None:
        if not err.is_terminal:
            return
        if pool not in self._bars:
            self._bars[pool] = self._progress.add_task(pool, total=None)
            self._progress.start()
        text = f"{pool}: {now.word} {now.said}".rstrip()
        self._progress.update(self._bars[pool], description=text, completed=now.done, total=now.total)

    def _hide(self, pool: str) -> None:
        bar = self._bars.pop(pool, None)
        if bar is not None:
            self._progress.remove_task(bar)
