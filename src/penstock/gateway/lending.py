"""Responses that another process of this server keeps: a client's next request may come to any of them.

    what is asked for                         what is done
    ----------------------------------------  -----------------------------------------------------------
    previous_response_id, item_reference      the response, or the item, is lent for this one request
    GET of a response, its input items        as it is now
    GET that follows a background response    its events are fetched, as they come
    DELETE, cancel                            the process that keeps it does so

Nothing is copied for longer than a request, so nothing is stale. With a process goes what it keeps.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeGuard

import msgspec

from penstock.gateway.kept import Kept, Store
from penstock.lib import tasks
from penstock.protocols.responses import is_reference
from penstock.types.others import Others

JSON = dict[str, Any]

SUBJECT = "responses"
FOLLOW_S = 10.0  # how long a question for events waits for one
_MAX_WANTED = 1000
_MAX_NAME = 256  # characters: what is longer is no id of ours or of a vendor's, and not asked of everybody


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Responses and single items of the key `owner`."""

    owner: str
    responses: list[str] = []
    items: list[str] = []


class Events(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Those of a background response from number `at` on; waits until there is one."""

    owner: str
    name: str
    at: int


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=True):
    owner: str
    name: str


class Delete(msgspec.Struct, frozen=True, array_like=True, tag=True):
    owner: str
    name: str


class Loan(msgspec.Struct, frozen=True, array_like=True):
    """One response. What clients wrote is JSON: they may write numbers that MessagePack has not."""

    response: bytes
    items: bytes
    is_background: bool
    is_over: bool


class Found(msgspec.Struct, frozen=True, array_like=True):
    """All that there is of it here."""

    responses: list[Loan]
    items: dict[str, bytes]


class More(msgspec.Struct, frozen=True, array_like=True):
    response: bytes
    events: list[bytes]
    is_over: bool


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Wanted | Events | Cancel | Delete).decode
_found = msgspec.msgpack.Decoder(Found).decode
_more = msgspec.msgpack.Decoder(More).decode
_to_json = msgspec.json.Encoder().encode
_json = msgspec.json.Decoder().decode


class Mirror(Kept):
    """A response that is elsewhere, as it was when it was asked for, and from then on as it is followed."""

    def __init__(self, owner: str, loan: Loan) -> None:
        super().__init__(owner, _json(loan.response), _json(loan.items), is_background=loan.is_background)
        self._is_over = loan.is_over

    @property
    def is_over(self) -> bool:
        return self._is_over

    def expect(self) -> None:
        """Its events are to come."""
        self._is_over = False

    def take(self, more: More) -> None:
        self.response = _json(more.response)
        self.events += more.events
        self._is_over = more.is_over
        self.changed()


class Lent:
    """What others keep and one request needs."""

    def __init__(self) -> None:
        self.responses: dict[str, Mirror] = {}
        self.items: dict[str, JSON] = {}


class Lending:
    """One per process. `stop`: ends the making of a background response; `cancel`: gives it, cancelled."""

    def __init__(
        self, others: Others, store: Store, *, stop: Callable[[Kept], None], cancel: Callable[[Kept], bytes]
    ) -> None:
        self._others = others
        self._store = store
        self._stop = stop
        self._cancel = cancel
        others.answers(SUBJECT, self._answer)

    # -- for a request here

    async def lent(self, owner: str, body: JSON) -> Lent:
        """What a request refers to and this process does not have."""
        responses, items = wanted_by(body)
        responses = [name for name in responses if self._store.find(owner, name) is None]
        items = [name for name in items if self._store.item(owner, name) is None]
        lent = Lent()
        if responses or items:
            wanted = _encode(Wanted(owner, responses, items))
            is_one = len(responses) + len(items) == 1
            for answer in await self._others.ask(SUBJECT, wanted, one_knows=is_one):
                found = _found(answer)
                mirrors = [Mirror(owner, one) for one in found.responses]
                lent.responses |= {one.name: one for one in mirrors}
                lent.items |= {name: _json(item) for name, item in found.items.items()}
        return lent

    async def find(self, owner: str, name: str) -> Mirror | None:
        lent = await self.lent(owner, {"previous_response_id": name})
        return lent.responses.get(name)

    async def cancel(self, mirror: Mirror) -> bytes | None:
        """As it is now, as JSON; None: whoever kept it is gone."""
        asked = Cancel(mirror.owner, mirror.name)
        answers = await self._others.ask(SUBJECT, _encode(asked), one_knows=True)
        return answers[0] if answers else None

    async def delete(self, mirror: Mirror) -> None:
        asked = Delete(mirror.owner, mirror.name)
        await self._others.ask(SUBJECT, _encode(asked), one_knows=True)

    @contextlib.asynccontextmanager
    async def followed(self, mirror: Mirror, interrupted: Callable[[Kept], None]) -> AsyncIterator[None]:
        """Its events come, all of them. `interrupted`: ends it when whoever made it is gone."""
        mirror.expect()
        following: tasks.Tasks = set()
        task = tasks.spawn(following, self._follow(mirror, interrupted), "events of a response elsewhere")
        try:
            yield
        finally:
            await tasks.cancel_and_wait(task)

    async def _follow(self, mirror: Mirror, interrupted: Callable[[Kept], None]) -> None:
        while not mirror.is_over:
            asked = Events(mirror.owner, mirror.name, len(mirror.events))
            answers = await self._others.ask(SUBJECT, _encode(asked), FOLLOW_S * 2, one_knows=True)
            if answers:
                mirror.take(_more(answers[0]))
            else:
                interrupted(mirror)
                mirror.take(More(mirror.response_json, [], is_over=True))

    # -- for a request elsewhere

    async def _answer(self, body: bytes) -> bytes | None:
        match _question(body):
            case Wanted() as wanted:
                return self._lend(wanted)
            case Events() as asked:
                kept = self._store.find(asked.owner, asked.name)
                return None if kept is None else await _events(kept, asked.at)
            case Cancel(owner, name):
                kept = self._store.find(owner, name)
                return None if kept is None else self._cancel(kept)
            case Delete(owner, name):
                if (kept := self._store.find(owner, name)) is not None:
                    kept.is_deleted = True
                    self._stop(kept)
                    self._store.drop(name)
                    return b""
        return None

    def _lend(self, wanted: Wanted) -> bytes | None:
        kept = [self._store.find(wanted.owner, name) for name in wanted.responses]
        loans = [
            Loan(one.response_json, one.items_json, one.is_background, one.is_over)
            for one in kept
            if one is not None
        ]
        items = {name: self._store.item(wanted.owner, name) for name in wanted.items}
        found = {name: _to_json(item) for name, item in items.items() if item is not None}
        return _encode(Found(loans, found)) if loans or found else None


async def _events(kept: Kept, at: int) -> bytes:
    if len(kept.events) <= at and not kept.is_over:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_S):
                await kept.wait()
    return _encode(More(kept.response_json, kept.events[at:], kept.is_over))


def wanted_by(body: JSON) -> tuple[list[str], list[str]]:
    """The responses and the items that a request names; of what is not checked yet."""
    earlier, given = body.get("previous_response_id"), body.get("input")
    items = [
        item["id"]
        for item in (given if isinstance(given, list) else ())
        if isinstance(item, dict) and is_reference(item) and _is_name(item.get("id"))
    ]
    return [earlier] if _is_name(earlier) else [], items[:_MAX_WANTED]


def _is_name(said: object) -> TypeGuard[str]:
    return isinstance(said, str) and len(said) <= _MAX_NAME
