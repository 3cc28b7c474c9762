"""What models thought before they called tools, kept for clients that cannot give it back.

Anthropic, Gemini, Bedrock and others refuse the next turn of a tool-using conversation when the signed
reasoning before the calls does not come back with them. Their own clients return it; OpenAI's chat format has
no place for it, and most clients drop fields they do not know. So it is remembered here under each tool
call's id and put back where the history has lost it.

Some of Ollama's clients do not even keep the ids of calls. For them thoughts are found by what was called,
name and arguments. Neither that nor an id that a model counts (Kimi: `functions.Bash:0`, the same in every
conversation) says whose thoughts they are, so such are found only where all that the model had been told
before is the same: instructions, questions, results. Of two equal calls there the later one's thoughts are
given to both; its proof is as good.

What a client gave back by itself stays, unless it was signed and has lost its signature.

Of several workers each tells the others, so that the next turn may come to any of them.

A key's thoughts are found by that key only. All keys share room that is bounded (lib/room.py), and entries
expire: a conversation that goes on later is answered as if the client had dropped its reasoning, as it has.
"""

import contextlib
import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from penstock.lib.clock import Clock
from penstock.lib.room import Room
from penstock.types.conversation import (
    Conversation,
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)
from penstock.types.events import Delta, Events, Finish, Reasoning, ReasoningEnd, Text, ToolDelta, ToolStart
from penstock.types.others import Others

KEPT_S = 6 * 3600.0
KEPT_BYTES = 64 * 1024 * 1024
SUBJECT = "thoughts"
ENTRY_BYTES = 400  # of an entry beside its texts
_RANDOM = re.compile(r"[A-Z0-9]")  # words have few of them
_LEAST_RANDOM = 4
_COUNTED = re.compile(r"[^a-zA-Z0-9]\d{1,4}\Z")


class Thought(msgspec.Struct, frozen=True):
    """What belongs to one tool call: the reasoning of its turn, and the call's own signature."""

    parts: tuple[ReasoningPart, ...]
    signature: str | None
    expires_s: float


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """What was remembered, for other processes."""

    owner: str
    signatures: dict[str, str | None]
    parts: list[ReasoningPart]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode


class Thoughts:
    """`owner` is the name of the key that calls."""

    def __init__(self, clock: Clock, *, kept_s: float = KEPT_S, kept_bytes: int = KEPT_BYTES) -> None:
        self._clock = clock
        self._kept_s = kept_s
        self._by_call: OrderedDict[tuple[str, str], Thought] = OrderedDict()  # the next to expire first
        self._room = Room(kept_bytes)
        self._others: Others | None = None

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._others = others
        others.hears(SUBJECT, self._hear)

    def _hear(self, body: bytes) -> None:
        told = _decode(body)
        self._remember(told.owner, told.signatures, told.parts)

    def __len__(self) -> int:
        return len(self._by_call)

    def remember(self, owner: str, signatures: dict[str, str | None], parts: Sequence[ReasoningPart]) -> None:
        """`signatures`: of each tool call of the turn, by its `call_key`."""
        if self._others is not None:
            with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair
                self._others.tell(SUBJECT, _encode(_Told(owner, signatures, list(parts))))
        self._remember(owner, signatures, parts)

    def _remember(
        self, owner: str, signatures: dict[str, str | None], parts: Sequence[ReasoningPart]
    ) -> None:
        now_s = self._clock.monotonic()
        texts = sum(len(part.text) + len(part.signature or "") + len(part.redacted or "") for part in parts)
        for call_id, signature in signatures.items():
            self._drop(owner, call_id)
            self._by_call[owner, call_id] = Thought(tuple(parts), signature, now_s + self._kept_s)
            self._room.put(owner, call_id, ENTRY_BYTES + texts + len(signature or "") + len(call_id))
        while self._by_call:
            oldest, thought = next(iter(self._by_call.items()))
            if thought.expires_s > now_s:
                break
            self._drop(*oldest)
        for whose, which in self._room.overfull():
            self._drop(whose, which)

    def recall(self, owner: str, conversation: Conversation) -> None:
        """Puts back, in place, what the history has lost."""
        if self._by_call:
            told = Told()
            for turn in conversation.turns:
                if turn.role == "assistant":
                    self._complete(owner, turn, told)
                else:
                    told.hear(turn)

    def _complete(self, owner: str, turn: Turn, told: "Told") -> None:
        found = list(self._found(owner, turn, told))
        if not found:
            return
        for call, thought in found:
            call.signature = call.signature or thought.signature
        given = [part for part in turn.parts if isinstance(part, ReasoningPart)]
        first = found[0][1]
        if first.parts and (not given or (_is_signed(first.parts) and not _is_signed(given))):
            turn.parts = [*first.parts, *(p for p in turn.parts if not isinstance(p, ReasoningPart))]

    def _found(self, owner: str, turn: Turn, told: "Told") -> Iterator[tuple[ToolCallPart, Thought]]:
        now_s = self._clock.monotonic()
        for part in turn.parts:
            if isinstance(part, ToolCallPart):
                call_id = None if part.is_id_ours else part.id
                thought = self._by_call.get((owner, call_key(call_id, part.name, part.arguments, told)))
                if thought is not None and thought.expires_s > now_s:
                    yield part, thought

    def _drop(self, owner: str, call_id: str) -> None:
        if self._by_call.pop((owner, call_id), None) is not None:
            self._room.drop(owner, call_id)


class Told:
    """What a model has been told up to a turn of its own, as a hash: read when somebody asks.

    A picture that was fetched for the model is another than its address: then a thought is not found again.
    """

    __slots__ = ("_hash", "_unread")

    def __init__(self, turns: Sequence[Turn] = ()) -> None:
        self._hash = hashlib.blake2b(digest_size=20)
        self._unread = [turn for turn in turns if turn.role != "assistant"]

    def hear(self, turn: Turn) -> None:
        self._unread.append(turn)

    def digest(self) -> bytes:
        for turn in self._unread:
            for said in (turn.role, *_texts(turn.parts)):
                written = said.encode("utf-8", "replace")
                self._hash.update(b"%d " % len(written))
                self._hash.update(written)
        self._unread.clear()
        return self._hash.digest()


class Watcher:
    """Follows the events of one answer to `turns` and remembers the thoughts of its first choice.

    by_content: for a client that may drop the ids of calls.
    """

    __slots__ = ("_arguments", "_by_content", "_calls", "_owner", "_parts", "_text", "_thoughts", "_turns")

    def __init__(
        self, thoughts: Thoughts, owner: str, turns: Sequence[Turn], *, by_content: bool = False
    ) -> None:
        self._thoughts = thoughts
        self._owner = owner
        self._turns = turns
        self._by_content = by_content
        self._calls: list[ToolStart] = []
        self._arguments: dict[int, list[str]] = {}  # by the index of a call
        self._text: list[str] = []  # of the block that is open
        self._parts: list[ReasoningPart] = []

    def see(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if delta.__class__ is Events:
                for event in delta.events:
                    if event.__class__ is Text:  # nearly all events are
                        if self._text and event.choice == 0:
                            self._close(None)
                    else:
                        self._see(event)

    def _see(self, event: object) -> None:
        match event:
            case Reasoning(text, 0):
                self._text.append(text)
            case ReasoningEnd(choice=0):
                self._close(event)
            case ToolStart(choice=0):
                self._close(None)
                self._calls.append(event)
            case ToolDelta(index, arguments, 0):
                self._arguments.setdefault(index, []).append(arguments)
            case Finish(choice=0):
                self._close(None)
                if self._calls and (self._parts or any(call.signature for call in self._calls)):
                    self._thoughts.remember(self._owner, self._signatures(), self._parts)

    def _signatures(self) -> dict[str, str | None]:
        told = Told(self._turns)
        found: dict[str, str | None] = {}
        for call in self._calls:
            arguments = "".join(self._arguments.get(call.index, ()))
            found[call_key(call.id, call.name, arguments, told)] = call.signature
            if self._by_content:
                found[call_key(None, call.name, arguments, told)] = call.signature
        return found

    def _close(self, end: ReasoningEnd | None) -> None:
        text = "".join(self._text)
        self._text.clear()
        if end is not None:
            self._parts.append(ReasoningPart(text, end.signature, end.redacted, end.issuer, end.id))
        elif text:
            self._parts.append(ReasoningPart(text))


def call_key(call_id: str | None, name: str, arguments: str, told: Told) -> str:
    """The id of a call where no other can have it; else the same for the same call after the same words,
    however its arguments are written. No id of a vendor looks like this.
    """
    if call_id is not None and _is_random(call_id, name):
        return call_id
    try:
        written = msgspec.json.encode(msgspec.json.decode(arguments or "{}"), order="sorted")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        written = arguments.encode("utf-8", "replace")
    same = hashlib.blake2b(told.digest() + written, digest_size=20).hexdigest()
    return f"= {call_id or ''} {name} {same}"


def _texts(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, TextPart):
            yield part.text
        elif isinstance(part, MediaPart):
            yield part.data or part.url or part.file_id or ""
        elif isinstance(part, ToolResultPart):
            yield from _texts(part.content)


def _is_random(call_id: str, name: str) -> bool:
    """Ids are made of random digits and letters, or of a word, the tool's name and a number. The name may be
    spelled as the vendor knows it.
    """
    if _COUNTED.search(call_id):
        return False
    return len(_RANDOM.findall(call_id.replace(name, ""))) >= _LEAST_RANDOM


def _is_signed(parts: Sequence[ReasoningPart]) -> bool:
    return any(part.signature or part.redacted for part in parts)
