"""Workers that live and do nothing: a loop that stands still answers nobody, and its link stays open.

A worker that serves says something every second (view.ALIVE_S). We look as often. Silence is counted in looks
of ours and not by the clock: what passes while we ourselves are stopped, or the machine sleeps, is one look,
and what was said meanwhile is read before the next.

Before it accepts connections a worker is not watched so: opening a store, or compiling, may take its time
(crew.START_S).
"""

import asyncio
from typing import Final, Protocol

LOOK_S: Final = 1.0
# Nothing a worker does on its loop takes a second; a machine that swaps, or somebody who traces the process
# for a moment, may hold it up for some. After a minute most of those whom it should answer have given up.
SILENT_S: Final = 30.0


class Speaker(Protocol):
    @property
    def heard(self) -> int:
        """How many messages of it were read."""
        ...


async def silence(worker: Speaker, look_s: float, silent_s: float) -> None:
    """Until it has said nothing for `silent_s`."""
    looks = 0
    while looks * look_s < silent_s:
        heard = worker.heard
        await asyncio.sleep(look_s)
        looks = looks + 1 if worker.heard == heard else 0
