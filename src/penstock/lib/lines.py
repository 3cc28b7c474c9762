"""Splits newline-delimited JSON into its lines (https://github.com/ndjson/ndjson-spec)."""

from penstock.lib.sse import EventTooLarge

MAX_LINE_BYTES = 16 * 1024 * 1024


class LineSplitter:
    """Feed it what arrives; it gives each line once it is whole, without its end, and no empty ones."""

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_bytes
        self._held: list[bytes] = []
        self._size = 0

    def feed_data(self, data: bytes) -> list[bytes]:
        """Raises EventTooLarge for a line above the bound, whole or not."""
        first, *rest = data.split(b"\n")
        if not rest:
            self._keep(first)
            return []
        self._keep(first)
        lines = [b"".join(self._held), *rest[:-1]]
        self._held, self._size = [], 0
        self._keep(rest[-1])
        if any(len(line) > self._max for line in lines):
            raise EventTooLarge(f"a line is above {self._max} bytes")
        return [stripped for line in lines if (stripped := line.strip())]

    def finish_data(self) -> list[bytes]:
        """The end of the stream: a last line without its end counts."""
        last = b"".join(self._held).strip()
        self._held, self._size = [], 0
        return [last] if last else []

    def _keep(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._size += len(data)
            if self._size > self._max:
                raise EventTooLarge(f"a line is above {self._max} bytes")
