"""A request to the admin API -> its row of the table -> its answer (types/door.py).

1  the row by path and method       404, 405
2  may this role call it            403
3  query and body by their types    400 with the JSON path
4  a POST said twice                the first one's answer (idempotency.py)
5  the handler
"""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from penstock.admin import openapi, rights
from penstock.admin.books import Books
from penstock.admin.desk import Request
from penstock.admin.idempotency import Idempotency
from penstock.admin.keys import Keys
from penstock.admin.people import People
from penstock.admin.reading import body_of, query_of
from penstock.admin.reports import Reports, UsedOf
from penstock.admin.statements import Monthly
from penstock.admin.table import PREFIX, Endpoint, table
from penstock.admin.things import Things
from penstock.lib.clock import Clock
from penstock.types.control import Configuration, DeploymentLine
from penstock.types.door import Answer, Asked
from penstock.types.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    StoreUnavailable,
)
from penstock.types.identity import OPERATORS, VirtualKey
from penstock.types.others import Others
from penstock.types.store import Store

DOCUMENT: Final = f"{PREFIX}/openapi.json"
_SHOWN_CHARS: Final = 100
_ETAG: Final = re.compile(rb'(?:W/)?"?([0-9]{1,15})"?')
_IDEMPOTENCY: Final = re.compile(r"[!-~]{1,200}")


class Api:
    """Satisfies types.door.Door."""

    def __init__(
        self,
        store: Store,
        configuration: Configuration,
        deployments: Callable[[], list[DeploymentLine]],
        used: UsedOf,
        clock: Clock,
        *,
        version: str,
    ) -> None:
        parts = (store, configuration, clock)
        reports = Reports(*parts)
        reports.deployment_lines, reports.used = deployments, used
        self.rows = table(
            People(*parts), Keys(*parts), Things(*parts), reports, Monthly(*parts), books=Books(*parts)
        )
        self._idempotency = Idempotency(clock)
        self._version = version
        self._document = b""

    def join(self, others: Others) -> None:
        """Of several processes, of which this is one."""
        self._idempotency.join(others)

    async def __call__(self, asked: Asked) -> Answer:
        if asked.path == DOCUMENT:
            if asked.method != "GET":
                raise MethodNotAllowed("This document answers GET.", allowed="GET, HEAD")
            self._document = self._document or msgspec.json.encode(openapi.document(self.rows, self._version))
            return Answer(body=self._document)
        row, id_ = self._find(asked)
        caller = asked.caller
        if caller is None:
            raise PermissionDenied("This takes a caller.")
        rights.require_one_of(caller, row.who)
        request = _request(asked, row, id_, caller)
        try:
            return await self._answered(row, request, asked)
        except StoreUnavailable as exc:
            if caller.role in OPERATORS:
                raise
            raise StoreUnavailable("The database does not answer; try again.") from exc  # nor where it is

    async def _answered(self, row: Endpoint, request: Request, asked: Asked) -> Answer:
        name = asked.headers.get(b"idempotency-key", b"").decode("latin-1")
        if row.method != "POST" or not name or row.is_read:
            return await _done(row, request)
        if not _IDEMPOTENCY.fullmatch(name):
            raise InvalidRequest(
                "`Idempotency-Key` must be 1 to 200 printable characters without spaces.",
                param="idempotency-key",
            )
        same = b"%b\0%b" % (asked.path.encode(errors="surrogateescape"), asked.body)
        return await self._idempotency.once(request.caller.name, name, same, lambda: _done(row, request))

    def _find(self, asked: Asked) -> tuple[Endpoint, str]:
        allowed: list[str] = []
        for row in self.rows:
            found = row.pattern.fullmatch(asked.path)
            if found is None:
                continue
            id_ = found.groupdict().get("id", "")
            if "\0" in id_:  # PostgreSQL takes no such text
                continue
            if row.method == asked.method:
                return row, id_
            allowed.append(row.method)
        shown = asked.path[:_SHOWN_CHARS]
        if not allowed:
            raise NotFound(f"There is nothing at {shown}; docs/admin.md lists the endpoints.")
        raise MethodNotAllowed(
            f"{shown} answers {', '.join(allowed)}, not {asked.method}.", allowed=", ".join(allowed)
        )


async def _done(row: Endpoint, request: Request) -> Answer:
    answer = await row.handle(request)
    if isinstance(answer, Answer):
        return answer
    version = getattr(answer, "version", 0)
    headers = (("etag", f'"{version}"'),) if version else ()
    return Answer(status=row.status, body=msgspec.json.encode(answer), headers=headers)


def _request(asked: Asked, row: Endpoint, id_: str, caller: VirtualKey) -> Request:
    body: Any = None
    query: Any = None
    if row.query is not None:
        query = query_of(row.query, asked.query)
    elif asked.query:
        raise InvalidRequest("This takes nothing in its query.", param=asked.query[0][0][:_SHOWN_CHARS])
    if row.body is not None:
        body = body_of(row.body, asked.body)
    said = getattr(body, "version", msgspec.UNSET)
    version = None if said is msgspec.UNSET else said
    if (tag := asked.headers.get(b"if-match")) is not None and tag != b"*":
        found = _ETAG.fullmatch(tag.strip())
        if found is None:
            raise InvalidRequest('`If-Match` must be a version, such as "3".', param="if-match")
        if version not in (None, int(found[1])):
            raise InvalidRequest("`version` and `If-Match` say different things.", param="version")
        version = int(found[1])
    return Request(caller=caller, id=id_, body=body, query=query, version=version)
