r"""Server-sent events: bytes in, whole events out, however the bytes were cut.

Wire format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

    input                               what comes of it
    ----------------------------------  ------------------------------------------------------------
    `data: x`, `data:x`, `data`         data `x`, `x`, empty; several lines are joined with `\n`
    `event: name`                       the event's name; later one wins
    `: ...`                             comment, dropped
    `id`, `retry`, unknown fields       dropped: nothing here reconnects
    blank line                          ends the event; an event without a data line is dropped
    `\n`, `\r\n`, `\r`                 all end a line, also mixed, also cut between `\r` and `\n`
    U+FEFF at the very start            dropped
    an event above `max_event_bytes`    EventTooLarge; the splitter is of no more use
    end of stream inside an event       `pending` is true; `finish` gives the event if its last line
                                        was whole (some servers forget the last blank line)

Vendors send nearly only `data: {...}\n\n`, whole events per read. For that `feed_data` is one `split` for all
events of a read and returns its slices: no Python code and no object per event but the bytes. `feed` returns
a tuple per event, for the dialects that name their events (Anthropic, OpenAI Responses).
"""

from typing import NamedTuple


class EventTooLarge(Exception):
    """An event grew above the allowed size."""


class Event(NamedTuple):
    event: str | None
    data: bytes


class SSESplitter:
    """One per stream. `feed` and `feed_data` may be mixed; neither keeps a reference to what it returned."""

    __slots__ = ("_after_cr", "_at_start", "_is_clean", "_last", "_max", "_size", "_tail")

    def __init__(self, *, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self._max = max_event_bytes
        # The unfinished event, in the pieces it came in: joined once, when its end is there, so that a
        # large event in many small reads costs linear and not quadratic time.
        self._tail: list[bytes] = []
        self._size = 0
        self._last = b""  # the last byte of the tail
        self._is_clean = False  # between two events, nothing held
        self._after_cr = False  # the last read ended with `\r`: a `\n` now belongs to it
        self._at_start = True

    @property
    def pending(self) -> bool:
        """True when bytes of an unfinished event are held. At the end of a stream: it was cut."""
        return any(piece.strip(b"\n") for piece in self._tail)

    def feed_data(self, data: bytes) -> list[bytes]:
        """The data of every event that `data` completes, names dropped."""
        # Whole events of one `data: ` line each, and nothing else: as many line ends as they need, no more.
        if self._is_clean and data.startswith(b"data: ") and data.endswith(b"\n\n"):
            found = data[6:-2].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(found) and b"\r" not in data and len(data) <= self._max:
                return found
        return [event.data for event in self.feed(data)]

    def feed(self, data: bytes) -> list[Event]:
        """Every event that `data` completes."""
        blocks = self._blocks(data)
        self._is_clean = not (self._tail or self._after_cr or self._at_start)
        found: list[Event] = []
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block:
                found.append(Event(None, block[6:]))
            elif (event := _parse(block)) is not None:
                found.append(event)
        return found

    def finish(self) -> list[Event]:
        """The end of the stream. An unfinished event counts if its last line was whole."""
        held = b"".join(self._tail)
        self._clear()
        event = _parse(held.rstrip(b"\n")) if held.endswith(b"\n") else None
        return [] if event is None else [event]

    def finish_data(self) -> list[bytes]:
        """As `finish`, without names."""
        return [event.data for event in self.finish()]

    def _blocks(self, data: bytes) -> list[bytes]:
        r"""The text of each event that is now complete, lines ended by `\n`, without the blank line."""
        if self._at_start or self._after_cr or b"\r" in data:
            data = self._normalised(data)
        if self._tail:
            if b"\n\n" not in data and not (self._last == b"\n" and data.startswith(b"\n")):
                self._keep(data)
                return []
            self._tail.append(data)
            data = b"".join(self._tail)
            self._clear()
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        if len(data) > self._max and any(len(block) > self._max for block in blocks):
            raise EventTooLarge(f"a server-sent event is above {self._max} bytes")
        if rest:
            self._keep(rest)
        return blocks

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._tail.append(data)
        self._size += len(data)
        self._last = data[-1:]
        # One more than the limit: the last byte may be the first half of the blank line.
        if self._size > self._max + 1:
            raise EventTooLarge(f"a server-sent event is above {self._max} bytes")

    def _clear(self) -> None:
        self._tail = []
        self._size = 0
        self._last = b""

    def _normalised(self, data: bytes) -> bytes:
        if self._at_start and data:
            if self._tail:  # one or two bytes that may begin a byte order mark
                data = b"".join(self._tail) + data
                self._clear()
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._keep(data)
                return b""
            self._at_start = False
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data


_BOM = b"\xef\xbb\xbf"


def _parse(block: bytes) -> Event | None:
    name: str | None = None
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace") or None
    return Event(name, b"\n".join(lines)) if lines else None
