"""Log lines: structlog, JSON on stdout for machines, coloured text for a terminal.

Lines are rendered and written by one thread, in batches: a terminal or pipe that nobody reads must not stop
the event loop, and waking a thread for each line would cost more than the line. When that thread falls behind
by `_QUEUE_LINES` lines, lines are dropped and the number dropped is logged.

    structlog, logging      everything rare
    call()                  the one line per request, past structlog's processors (5 us a line)
"""

import datetime as dt
import functools
import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

LEVELS = ("debug", "info", "warning", "error")
_QUEUE_LINES = 10_000
_BATCH_S = 0.05  # how long a line may wait for others
_CLOSE_S = 2.0

Fields = MutableMapping[str, Any]  # with a `timestamp` in Unix seconds; whoever renders them may change them
Line = Fields | str  # or text that is a line already
_write_call: "Callable[[Line], None] | None" = None


def configure(level: str, *, stream: TextIO | None = None) -> "LineWriter":
    """Sends structlog's and the standard library's lines to `stream` (stderr). Call once; `close` the result.

    Raises ValueError for a level that is not in LEVELS.
    """
    global _write_call  # noqa: PLW0603 - as structlog's own configuration, one for the process
    if level not in LEVELS:
        msg = f"log level {level!r} is not one of {', '.join(LEVELS)}"
        raise ValueError(msg)
    out = stream if stream is not None else sys.stderr
    writer = LineWriter(out, _console if out.isatty() else _json)
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [structlog.stdlib.add_log_level, _add_time, structlog.processors.format_exc_info]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda *event: writer.render(event[-1]).removesuffix("\n"),
            ],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING))  # its notes repeat what we print
    _write_call = writer.put if number <= logging.INFO else None
    return writer


def is_calls_logged() -> bool:
    """Whether `call` writes anything: making its fields costs time, too."""
    return _write_call is not None


def call(fields: dict[str, Any]) -> None:
    """The line of one finished request, at level info."""
    if _write_call is not None:
        _write_call({"timestamp": time.time(), "level": "info", "event": "call", **fields})  # noqa: TID251 - a stamp


def _add_time(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {"timestamp": time.time(), **event}  # noqa: TID251 - a stamp


_encode = msgspec.json.Encoder(enc_hook=repr).encode
_colour = structlog.dev.ConsoleRenderer(colors=True)


def _json(fields: Fields) -> str:
    fields["timestamp"] = _iso(fields["timestamp"])
    try:
        return _encode(fields).decode() + "\n"
    except (ValueError, OverflowError):  # half a surrogate pair, a very large number
        return json.dumps(fields, default=repr) + "\n"


def _console(fields: Fields) -> str:
    fields["timestamp"] = _iso(fields["timestamp"])
    return f"{_colour(None, '', fields)}\n"


def _iso(unix_s: float) -> str:
    """UTC, with milliseconds."""
    seconds, fraction = divmod(unix_s, 1)
    return f"{_second(int(seconds))}.{int(fraction * 1000):03d}Z"


@functools.lru_cache(maxsize=2)  # lines come in order
def _second(unix_s: int) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


class LineWriter:
    """A structlog logger and a text stream that never blocks its caller."""

    def __init__(self, stream: TextIO, render: Callable[[Fields], str] = _json) -> None:
        self.render = render
        self._stream = stream
        self._lines: deque[Line] = deque()
        self._dropped = 0
        self._is_asleep = True
        self._is_closed = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        if len(self._lines) >= _QUEUE_LINES:
            self._dropped += 1
            return
        self._lines.append(line)
        if self._is_asleep:  # two may see it and wake it twice: harmless
            self._is_asleep = False
            self._wake.set()

    def msg(self, **fields: Any) -> None:
        self.put(fields)

    debug = info = warning = warn = error = err = critical = fatal = exception = log = msg

    def write(self, text: str) -> None:
        self.put(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes after each batch."""

    def close(self) -> None:
        """Writes what is queued; gives up after two seconds on a stream nobody reads."""
        self._is_closed.set()
        self._wake.set()
        self._thread.join(timeout=_CLOSE_S)

    def _run(self) -> None:
        while not self._is_closed.is_set():
            self._wake.wait()
            self._wake.clear()
            self._is_closed.wait(_BATCH_S)
            self._is_asleep = True  # before the queue is emptied: a line put from now on wakes us again
            self._write_batch()
        self._write_batch()

    def _write_batch(self) -> None:
        lines: list[str] = []
        while self._lines:
            line = self._lines.popleft()
            lines.append(line if isinstance(line, str) else self.render(line))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            lines.append(f'{{"event":"log lines dropped","count":{dropped}}}\n')
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone: keep emptying the queue
            return
