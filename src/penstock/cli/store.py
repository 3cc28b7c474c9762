"""penstock store: the database of what is made at run time, and of usage."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from penstock.cli import options
from penstock.cli.output import err, say, say_json, told
from penstock.types.errors import Conflict, NotFoundRow
from penstock.types.store import SQLITE

if TYPE_CHECKING:
    from penstock.store.base import ScriptedStore
    from penstock.types.store import StoreStatus

T = TypeVar("T")

app = typer.Typer(
    help="The database: its schema, and copies of it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]


@app.command("migrate", epilog="Example: penstock store migrate -c penstock.yaml")
def migrate(
    *,
    post: Annotated[
        bool, typer.Option("--post", help="No older release runs: also what only those need, or do not know.")
    ] = False,
    down: Annotated[
        int, typer.Option(min=0, metavar="N", help="Take the last N migrations back, with what they hold.")
    ] = 0,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Bring the schema to this release, while the old one still runs.

    A SQLite file needs it only for --down: it is brought up to date at every start.
    """

    async def work(store: "ScriptedStore") -> dict[str, list[str]]:
        if down:
            return {"reverted": [one.title for one in await store.revert(down)]}
        done = await store.migrate("pre")
        done += await store.migrate("post") if post else []
        return {"applied": [one.title for one in done]}

    with told():
        answer = _with_store(config, data_dir, work, makes=not down)
        if as_json:
            say_json(answer)
            return
        for word, titles in answer.items():
            for title in titles:
                say(f"{word} {title}")
            if not titles:
                say("nothing to do: the schema is that of this release")


@app.command("status", epilog="Example: penstock store status --json")
def status(
    *, config: options.Config = None, data_dir: options.DataDir = None, as_json: options.Json = False
) -> None:
    """Show where the database is, which schema it has, and how much is in it."""

    async def work(store: "ScriptedStore") -> "StoreStatus":
        return await store.status()

    with told():
        found = _with_store(config, data_dir, work)
        if as_json:
            say_json(found)
            return
        lines = list(_lines(found))
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            say(f"{name:{width}}  {value}")


@app.command("backup", epilog="Example: penstock store backup penstock-2026-11-21.db")
def backup(
    file: File,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Copy the database to FILE while it is in use.

    SQLite gives a SQLite file, PostgreSQL a compressed dump. Either can be restored into both.
    """
    from penstock.store import dump

    with told():
        if file.exists() and not force:
            raise Conflict(f"{file} exists. Type --force to overwrite it.")
        with _counting(f"copying to {file}") as report:
            _with_store(config, data_dir, lambda store: dump.backup(store, file, report=report))
        answer = {"file": str(file), "bytes": file.stat().st_size}
        if as_json:
            say_json(answer)
        else:
            say(f"{file} written, {_size(file.stat().st_size)}")


@app.command("restore", epilog="Example: penstock store restore penstock-2026-11-21.db")
def restore(
    file: File,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what the database holds; else it must be empty.")
    ] = False,
    config: options.Config = None,
    data_dir: options.DataDir = None,
    as_json: options.Json = False,
) -> None:
    """Fill the database from a copy, of SQLite or of PostgreSQL. All of it or nothing.

    Stop the servers first. To move from SQLite to PostgreSQL: back up, set `store.url`, restore.
    """
    from penstock.store import dump

    with told():
        with _counting(f"restoring {file}") as report:
            rows = _with_store(
                config,
                data_dir,
                lambda store: dump.restore(store, file, force=force, report=report),
                makes=True,
            )
        if as_json:
            say_json({"rows": rows})
        else:
            say(f"{rows:,} rows restored")


def _with_store(
    config: Path | None,
    data_dir: Path | None,
    work: "Callable[[ScriptedStore], Awaitable[T]]",
    *,
    makes: bool = False,
) -> T:
    """makes: a SQLite file that is not there yet; else it must be there."""
    from penstock.config.load import Flags, load
    from penstock.store import connect

    url = load(Flags(config, data_dir=data_dir)).store_url
    file = Path(url.removeprefix(SQLITE)).expanduser()
    if url.startswith(SQLITE) and not makes and not file.exists():
        raise NotFoundRow(f"There is no database {file} yet; the server makes it when it starts.")

    async def run() -> T:
        store = await connect(url)
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(run())


@contextlib.contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how many rows are done."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}, {task.completed:,} rows"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda rows: shown.update(task, completed=rows)


def _lines(found: "StoreStatus") -> Iterator[tuple[str, str]]:
    yield "database", found.place
    yield "schema", ", ".join(f"{number:04}" for number in found.schema) or "none yet"
    yield "pending", ", ".join(found.pending) or "none"
    yield "size", _size(found.bytes)
    for name, count in found.counts.items():
        yield name.replace("_", " "), f"{count:,}"
    yield "calls", f"{found.usage_calls:,}"
    if found.usage_since_us is not None:
        oldest = datetime.fromtimestamp(found.usage_since_us / 1e6, UTC)
        yield "kept since", f"{oldest:%Y-%m-%d}"


def _size(count: int) -> str:
    from penstock.models.store import size

    return size(count)
