"""Log lines: structlog, JSON on stdout for machines, coloured text for a terminal.

Lines are written by one thread: a terminal or pipe that nobody reads must not stop the event loop. When that
thread falls behind by `_QUEUE_LINES` lines, lines are dropped and the number dropped is logged.
"""

import logging
import queue
import sys
import threading
from typing import Any, TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")
_QUEUE_LINES = 10_000
_CLOSE_S = 2.0


def configure(level: str, *, stream: TextIO | None = None) -> "LineWriter":
    """Sends structlog's and the standard library's lines to `stream` (stderr). Call once; `close` the result.

    Raises ValueError for a level that is not in LEVELS.
    """
    if level not in LEVELS:
        msg = f"log level {level!r} is not one of {', '.join(LEVELS)}"
        raise ValueError(msg)
    out = stream if stream is not None else sys.stderr
    writer = LineWriter(out)
    number = logging.getLevelNamesMapping()[level.upper()]
    render: Any = (
        structlog.dev.ConsoleRenderer(colors=True) if out.isatty() else structlog.processors.JSONRenderer()
    )
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING))  # its notes repeat what we print
    return writer


class LineWriter:
    """A structlog logger and a text stream that never blocks its caller."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUE_LINES)
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def msg(self, message: str) -> None:
        self.write(message + "\n")

    debug = info = warning = warn = error = err = critical = fatal = exception = log = msg

    def write(self, text: str) -> None:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Nothing to do: the thread flushes after each burst."""

    def close(self) -> None:
        """Writes what is queued; gives up after two seconds on a stream nobody reads."""
        try:
            self._lines.put(None, timeout=_CLOSE_S)
        except queue.Full:
            return
        self._thread.join(timeout=_CLOSE_S)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    self._stream.write(f'{{"event": "log lines dropped", "count": {dropped}}}\n')
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # the reader is gone: keep emptying the queue
                continue
