"""Recorded answers of vendors with one value put wrong, everywhere: read, or an UpstreamInvalid.

What is read despite it is told in every protocol, which may call it no answer but may not stumble over it.
Streams and whole answers, for a client of the vendor's own dialect and for one of another.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_any_body import changed, places
from test_every_pair import FOLDERS, NAMES, PATHS, RECORDINGS, codec_of, inbound_of, reader_of, split
from wire_help import new_call

from penstock.types.deployment import Deployment
from penstock.types.errors import PenstockError
from penstock.types.events import Delta

JUNK: list[Any] = [None, True, -1.5, "x", [], {}, [{"type": []}], {"type": {}}, ["x"], 10**30]
CLIENTS = {"own": lambda dialect: [dialect], "other": lambda _: [*PATHS]}
Judge = Callable[[list[bytes]], None]


def shape(value: Any) -> Any:
    """Events of one shape are read by the same code: one of them is enough."""
    if isinstance(value, dict):
        return tuple((key, value[key] if key == "type" else shape(value[key])) for key in sorted(value))
    return tuple(map(shape, value[:2])) if isinstance(value, list) else type(value).__name__


def wrong(event: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        decoded = json.loads(event)
    except ValueError:  # [DONE]
        return
    for place in places(decoded):
        for junk in JUNK:
            name = f"{'.'.join(map(str, place))} = {junk!r}"
            yield name, json.dumps(changed(decoded, place, junk)).encode()


def judged(client: str, dialect: str, *, stream: bool) -> Judge:
    """Reads events (or one answer) and tells them; breaks on anything but a PenstockError."""
    codec = codec_of(dialect)

    def judge(events: list[bytes]) -> None:
        if client == "own":
            _, request = inbound_of(dialect, stream=stream)
            reader = codec.reader(request, Deployment("d", "up", codec, codec.operations))
        else:
            reader = reader_of(dialect)
        deltas: list[Delta] = []
        try:
            for event in events:
                delta = reader.event(event) if stream else reader.answer(event)
                if delta is not None:
                    deltas.append(delta)
        except PenstockError as error:
            assert 400 <= error.status < 600, error  # noqa: PT017 - any of them, of any class
        for told in CLIENTS[client](dialect):
            inbound, request = inbound_of(told, stream=stream)
            encoder = inbound.encoder(request, new_call())
            try:
                if stream:
                    encoder.stream(deltas)
                    encoder.stream_end()
                else:
                    encoder.fold(deltas)
                    encoder.answer()
            except PenstockError:
                pass

    return judge


def surprises(judge: Judge, events: list[bytes], seen: set[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, event in enumerate(events):
        try:
            kind = shape(json.loads(event))
        except ValueError:
            continue
        if kind in seen:
            continue
        seen.add(kind)
        for name, bad in wrong(event):
            try:
                judge([*events[:number], bad, *events[number + 1 :]])
            except Exception as exc:  # noqa: BLE001 - all of them are told at once
                found.setdefault(repr(exc)[:200], f"event {number}: {name}")
    return found


def _cases() -> Iterator[tuple[Path, str, str]]:
    for path in RECORDINGS:
        dialect = FOLDERS[path.parent.name]
        yield from ((path, dialect, client) for client in CLIENTS if (dialect, client) != ("bedrock", "own"))


CASES = list(_cases())
SEEN: dict[tuple[str, str], set[Any]] = {}


@pytest.mark.parametrize(
    ("path", "dialect", "client"),
    CASES,
    ids=[f"{NAMES[RECORDINGS.index(case[0])]}-{case[2]}" for case in CASES],
)
def test_one_wrong_value_is_no_surprise(path: Path, dialect: str, client: str) -> None:
    is_stream = path.suffix != ".json"
    events = split(path) if is_stream else [path.read_bytes()]
    judge = judged(client, dialect, stream=is_stream)
    assert surprises(judge, events, SEEN.setdefault((dialect, client), set())) == {}
