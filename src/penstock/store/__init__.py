"""What is made at run time and kept: teams, users, keys, routes, who changed them; and every call.

    open_store(url)     sqlite:///path or postgresql://...; ready to use, with its schema checked
    UsageWriter         takes the rows of calls without waiting and writes them in batches
    dump                copies of a store, and from one backend into the other

Read base.py first, then entities.py and usage.py: what a store does, written once for both databases.
"""

from pathlib import Path

from penstock.lib.clock import Clock
from penstock.store.base import ScriptedStore
from penstock.store.sqlite import SQLiteStore
from penstock.types.errors import InvalidRequest
from penstock.types.store import SQLITE, is_store_url


async def open_store(url: str, *, migrate: bool = False, clock: Clock | None = None) -> ScriptedStore:
    """A store that can be used. Raises StoreUnavailable, SchemaMismatch, InvalidRequest.

    A SQLite file gets the schema that this release needs; a PostgreSQL database only with `migrate`.
    """
    store = await connect(url, clock=clock)
    try:
        if isinstance(store, SQLiteStore):
            await store.require_writable()
            await store.migrate("pre")
            if not await store.is_leased():  # else another process uses the file, perhaps of an older release
                await store.migrate("post")
        elif migrate:
            await store.migrate("pre")
        await store.require_schema()
    except BaseException:
        await store.aclose()
        raise
    return store


async def connect(url: str, *, clock: Clock | None = None) -> ScriptedStore:
    """A store whose schema may be any, or none. Raises StoreUnavailable, InvalidRequest."""
    if not is_store_url(url):
        raise InvalidRequest(
            "A store is sqlite:///path/to/penstock.db or postgresql://user@host/database;"
            f" {url.partition('://')[0]!r} is neither."
        )
    store: ScriptedStore
    if url.startswith(SQLITE):
        store = SQLiteStore(Path(url.removeprefix(SQLITE)), clock=clock)
    else:
        from penstock.store.postgres import PostgresStore

        store = PostgresStore(url, clock=clock)
    try:
        await store.open()
    except BaseException:
        await store.aclose()
        raise
    return store
