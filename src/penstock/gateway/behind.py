"""What stands behind a path of our door and is no part of the gateway: the admin API.

Here who asks is found out and the body read; everything else is for whoever stands there.
"""

from typing import Final

from penstock.gateway import pipeline
from penstock.gateway.exchange import Exchange, header_lines
from penstock.gateway.signin import SignIn
from penstock.types.door import Asked, Door

PREFIX: Final = "/admin/v1/"
OPEN: Final = frozenset({f"{PREFIX}openapi.json"})  # need no key
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
MAX_BODY_BYTES: Final = 1 << 20
UPLOADS: Final = {f"{PREFIX}statements/reconcile": 16 << 20}  # an invoice, as text in JSON
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


async def answer(exchange: Exchange, sign_in: SignIn, door: Door) -> None:
    """Raises PenstockError, ClientLeft."""
    is_open = exchange.path in OPEN
    caller = None if is_open else await sign_in.caller(exchange)
    limit = UPLOADS.get(exchange.path, MAX_BODY_BYTES)
    body = b""
    if exchange.method in _WITH_BODY:
        body = await exchange.read_body(limit)
        if not is_open:  # again: a key may have been revoked while its body came
            caller = await sign_in.caller(exchange)
    said = await door(
        Asked(
            id=exchange.id,
            method="GET" if exchange.method == "HEAD" else exchange.method,
            path=exchange.path,
            query=pipeline.query_of(exchange),
            headers=exchange.headers,
            body=body,
            caller=caller,
        )
    )
    lines = header_lines(
        ("content-type", said.content_type),
        ("cache-control", "no-store"),  # a new key is in it
        ("x-request-id", exchange.id),
        *said.headers,
    )
    await exchange.send(said.status, said.body, lines)
