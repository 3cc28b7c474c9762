"""Splits application/vnd.amazon.eventstream into its messages.

https://smithy.io/2.0/aws/amazon-eventstream.html: big-endian

    prelude   total length (4), headers length (4), CRC-32 of these eight bytes (4)
    headers   name length (1), name, type (1), value; a string (type 7) has a length (2) before it
    payload
    CRC-32    of everything before it (4)

A message is given as JSON of one key, its type: `{"messageStart": <payload>}`. An exception's type is its
:exception-type, an error's its :error-code.
"""

import zlib

from penstock.lib.sse import EventTooLarge

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # what the format allows
_PRELUDE = 12
_CRC = 4
_SIZES = {
    0: 0,
    1: 0,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    8: 8,
    9: 16,
}  # of header values that have no length of their own
_STRINGS = (6, 7)


class BadFrame(ValueError):
    """Bytes that are no message, or a damaged one."""


class FrameSplitter:
    """Feed it what arrives; it gives each message once it is whole. Raises BadFrame, EventTooLarge."""

    def __init__(self, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max = max_bytes
        self._held = bytearray()

    def feed_data(self, data: bytes) -> list[bytes]:
        self._held += data
        found: list[bytes] = []
        at = 0
        while len(self._held) - at >= _PRELUDE:
            total = int.from_bytes(self._held[at : at + 4])
            if zlib.crc32(self._held[at : at + 8]) != int.from_bytes(self._held[at + 8 : at + 12]):
                raise BadFrame("the prelude of an event-stream message is damaged")
            if total > self._max:
                raise EventTooLarge(f"an event-stream message is above {self._max} bytes")
            if total < _PRELUDE + _CRC:
                raise BadFrame("an event-stream message is shorter than its frame")
            if len(self._held) - at < total:
                break
            found.append(_message(bytes(self._held[at : at + total])))
            at += total
        del self._held[:at]
        return found

    def finish_data(self) -> list[bytes]:
        """The end of the stream: what is held is half a message, which counts for nothing."""
        self._held.clear()
        return []


def _message(frame: bytes) -> bytes:
    if zlib.crc32(frame[:-_CRC]) != int.from_bytes(frame[-_CRC:]):
        raise BadFrame("an event-stream message is damaged")
    end = _PRELUDE + int.from_bytes(frame[4:8])
    if end > len(frame) - _CRC:
        raise BadFrame("the headers of an event-stream message are longer than it")
    headers = _headers(frame[_PRELUDE:end])
    kind = headers.get(b":event-type") or headers.get(b":exception-type") or headers.get(b":error-code")
    payload = frame[end:-_CRC] or b"{}"
    if b":error-message" in headers:
        said = headers[b":error-message"].replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        payload = b'{"message":"%b"}' % said
    return b'{"%b":%b}' % (kind or b"unknown", payload)


def _headers(data: bytes) -> dict[bytes, bytes]:
    """Those that hold text."""
    found: dict[bytes, bytes] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size]
            at += 1 + size
            kind = data[at]
            at += 1
            if kind in _STRINGS:
                length = int.from_bytes(data[at : at + 2])
                found[name] = data[at + 2 : at + 2 + length]
                at += 2 + length
            else:
                at += _SIZES[kind]
    except (IndexError, KeyError) as exc:
        raise BadFrame("the headers of an event-stream message are damaged") from exc
    if at != len(data):
        raise BadFrame("the headers of an event-stream message are damaged")
    return found
