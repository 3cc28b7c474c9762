"""The configuration that runs: what a file and a store say, and what they cannot say at the moment."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.config.load import Flags, Loaded, load
from penstock.config.snapshot import Snapshot
from penstock.control import reload
from penstock.control.reload import Reload
from penstock.control.source import Source, Stamp
from penstock.lib import tasks
from penstock.lib.clock import SystemClock
from penstock.store import open_store
from penstock.store.base import ScriptedStore
from penstock.types.errors import StoreUnavailable
from penstock.types.store import Key, Limits, StoredRoute, Team

SECRET = b"0" * 32
FILE = """
builtin: off
providers:
  up: {kind: openai-compatible, base_url: "http://127.0.0.1:1", api_key: sk-up}
deployments:
  m: {provider: up, model: m}
keys:
  root: {secret: sk-root, role: owner}
"""


class Desk:
    """A Reload, its file and its store; `taken` is what a gateway would run."""

    def __init__(self, file: Path, store: ScriptedStore) -> None:
        flags = Flags(config=file, data_dir=file.parent)
        loaded = load(flags, env={})
        source = Source(flags, loaded.origin, loaded.path, SECRET, data_dir=file.parent)
        self.file = file
        self.store = store
        self.reload = Reload(source, loaded.settings, store, SystemClock())
        self.ended: set[str] = set()
        self.taken: Snapshot
        self._news = asyncio.Event()

    def take(self, snapshot: Snapshot, ended: Collection[str]) -> None:
        self.taken = snapshot
        self.ended.update(ended)
        self._news.set()

    async def key(self, secret: str, **more: Any) -> Key:
        return await self.store.create(
            Key(name=secret, hash=self.reload.hash_of(secret.encode()), **more), actor="a"
        )

    async def write(self, text: str) -> None:
        """A new file, and asks for it to be read."""
        await asyncio.to_thread(self.file.write_text, text)
        self.reload.again()

    async def until_taken(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def until_trouble(self) -> str:
        while (trouble := self.reload.view().trouble) is None:
            await asyncio.sleep(0.01)
        return "\n".join(trouble.problems)


@asynccontextmanager
async def desk(folder: Path, text: str = FILE, *, runs: bool = True) -> AsyncIterator[Desk]:
    file = folder / "penstock.yaml"
    await asyncio.to_thread(file.write_text, text)
    store = await open_store(f"sqlite:///{folder / 'penstock.db'}")
    try:
        made = await asyncio.to_thread(Desk, file, store)
        await made.reload.start(made.take)
        running: tasks.Tasks = set()
        if not runs:
            yield made
            return
        task = tasks.spawn(running, made.reload.run(), "reload")
        try:
            yield made
        finally:
            await tasks.cancel_and_wait(task)
    finally:
        await store.aclose()


async def test_a_key_is_revoked_though_the_file_cannot_be_compiled_just_now(tmp_path: Path) -> None:
    """A stored route makes all be compiled anew, and what the file names may be away: a certificate that is
    being replaced, a table of prices that is being written."""
    async with desk(tmp_path, runs=False) as one:
        key = await one.key("sk-new")
        await one.reload.take_rows()
        assert one.taken.authenticate("sk-new") is not None
        await asyncio.to_thread((tmp_path / "prices.yaml").write_text, "{half of a")
        body = {"targets": [{"deployment": "m"}]}
        await one.store.create(StoredRoute(id="r", body=body), actor="a")
        await one.store.update(msgspec.structs.replace(key, revoked=1), actor="a")
        await one.reload.take_rows()
        assert one.taken.authenticate("sk-new") is None
        assert one.ended == {key.id}
        assert "prices" in await one.until_trouble()
        assert one.taken.find_route("r") is None
        await asyncio.to_thread((tmp_path / "prices.yaml").unlink)
        await one.store.create(StoredRoute(id="s", body=body), actor="a")
        await one.reload.take_rows()
        assert one.taken.find_route("r") is not None
        assert one.reload.view().trouble is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "found in the working folder"])
async def test_a_file_that_is_gone_is_no_configuration(
    tmp_path: Path, is_named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path) as one:
        if not is_named:  # as `up` finds it
            monkeypatch.chdir(tmp_path)
            source = one.reload._source
            object.__setattr__(source, "flags", Flags(data_dir=tmp_path))
        await asyncio.to_thread(one.file.unlink)
        assert "cannot be read" in await one.until_trouble()
        assert one.taken.authenticate("sk-root") is not None
        assert one.ended == set()
        await asyncio.to_thread(one.file.write_text, FILE + "teams: {t: {}}\n")
        await one.until_taken()
        assert one.reload.view().trouble is None


@pytest.mark.timeout(30)
async def test_what_is_written_while_a_file_is_taken_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New teams make all rows be read again: what they found changed counts like any other news."""
    async with desk(tmp_path, runs=False) as one:
        key = await one.key("sk-new")
        await one.reload.take_rows()
        await one.store.create(StoredRoute(id="r", body={"targets": [{"deployment": "m"}]}), actor="a")
        await one.store.update(msgspec.structs.replace(key, revoked=1), actor="a")
        await asyncio.to_thread(one.file.write_text, FILE + "teams: {t: {}}\n")
        await one.reload._take_file()
        await one.reload.take_rows()
        assert one.taken.authenticate("sk-new") is None
        assert one.taken.find_route("r") is not None
        assert one.ended == {key.id}


@pytest.mark.timeout(30)
async def test_new_limits_of_a_team_reach_keys_once_the_store_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing has changed in the store."""
    async with desk(tmp_path) as one:
        team = await one.store.create(Team(id="t", name="t"), actor="a")
        await one.key("sk-new", team=team.id, limits=Limits(concurrency=9))
        while one.taken.authenticate("sk-new") is None:
            await one.until_taken()
        page = one.store.page

        async def fails(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(one.store, "page", fails)
        await one.write(FILE + "teams: {t: {limits: {requests: 5/min}}}\n")
        await one.until_taken()
        monkeypatch.setattr(one.store, "page", page)
        while (found := one.taken.authenticate("sk-new")) is None or len(found.claims) < 2:
            await one.until_taken()
        assert {claim.scope.kind for claim in found.claims} == {"team", "key"}


@pytest.mark.timeout(30)
async def test_what_is_served_by_another_certificate_needs_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.auth.tls.make_context", lambda _: None)
    tls = "server: {{tls: {{cert: {0}.pem, key: {0}.key}}}}\n"
    async with desk(tmp_path, FILE + tls.format("a")) as one:
        await one.write(FILE + tls.format("b"))
        assert "server.tls changed: needs a restart" in await one.until_trouble()


@pytest.mark.timeout(30)
async def test_a_file_that_is_being_written_is_not_read_at_the_start_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    stamps = iter([1, 2, 3, 3, 3])
    was_read = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stamp(_: Source) -> Stamp | None:
        size = next(stamps, 3)
        said.append(f"stamp {size}")
        return Stamp(0, size, 0)

    def read(source: Source, text: str | None = None) -> Loaded:
        said.append("read")
        loop.call_soon_threadsafe(was_read.set)
        return load(source.flags, env={}, text=text)

    async with desk(tmp_path, runs=False) as one:
        monkeypatch.setattr(reload, "LOOK_S", 0.01)
        monkeypatch.setattr(Source, "stamp", stamp)
        monkeypatch.setattr(Source, "read", read)
        running: tasks.Tasks = set()
        watching = tasks.spawn(running, one.reload._watch_file(), "file")
        await was_read.wait()
        await tasks.cancel_and_wait(watching)
    assert said[: said.index("read")] == ["stamp 1", "stamp 2", "stamp 3", "stamp 3"]
