"""A server of our own for one model, in a thread, for as long as a conversation lasts."""

import asyncio
import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Iterator, Sequence

import uvloop

from penstock.cli.chatting import Door
from penstock.cli.output import note
from penstock.cli.pulling import pull_with_progress
from penstock.cli.watching import SETTLED, Watch, seen
from penstock.config import schema
from penstock.config.compile import adopt, compile_settings
from penstock.config.parts import BUILTINS
from penstock.config.snapshot import Snapshot
from penstock.models.store import size
from penstock.runtime.fleet import PoolStatus
from penstock.telemetry import log

_POLL_S = 0.1
BUILTIN_PREFIX = "builtin:"
# A person sees the bar and can stop it; a large model takes minutes from a slow disk.
PATIENT = schema.Timeouts(first_token=1800.0, total=7200.0, loading=1800.0)


@contextlib.contextmanager
def own_server(model: str) -> Iterator[Door]:
    """Raises PenstockError and ConfigError."""
    key = secrets.token_hex(16)
    name, snapshot = _snapshot(model, key)
    writer = log.configure("error")
    running = _Running(snapshot)
    try:
        yield Door(running.start(), key, name)
    finally:
        running.stop()
        writer.close()


def _snapshot(model: str, key: str) -> tuple[str, Snapshot]:
    """The model's public name there, and what serves it: a vendor whose key is here, or this machine."""
    secret = secrets.token_bytes(32)
    adopted = {name: provider for name, (_, provider) in adopt(os.environ).items()}
    if model.partition("/")[0] in adopted:
        settings = schema.Settings(builtin=False)
        return model, compile_settings(settings, secret=secret, adopted=adopted, minted_key=key)
    if not model.startswith(BUILTIN_PREFIX):
        fetched = pull_with_progress(model)
        note(f"{fetched.source}: {fetched.note or size(fetched.bytes)}")
    elif model not in BUILTINS:
        from penstock.models import parse_source

        parse_source(model)  # says what there is
    deployment = schema.Deployment(model=model)
    route = schema.Route((schema.Target(model),), timeouts=PATIENT)
    settings = schema.Settings(builtin=False, deployments={model: deployment}, routes={model: route})
    return model, compile_settings(settings, secret=secret, minted_key=key)


class _Running:
    """The server's thread. It gets no signals: Ctrl-C belongs to the conversation."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._said: queue.Queue[str | BaseException] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._settled = threading.Event()

    def start(self) -> str:
        """The base URL, once the model is ready or has failed: no bar is drawn over the conversation."""
        self._thread.start()
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        while self._thread.is_alive() and not self._settled.wait(_POLL_S):
            pass
        return said

    def stop(self) -> None:
        if self._loop is not None and self._task is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has closed by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                uvloop.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits for the address
            self._said.put(exc)

    async def _serve(self) -> None:
        from penstock import serve

        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with Watch() as watch:

            def on_status(rows: Sequence[PoolStatus]) -> None:
                watch(rows)
                if all(seen(row).word in SETTLED for row in rows):
                    self._settled.set()

            await serve.serve(
                serve.Options(
                    self._snapshot, port=0, drain_s=1.0, on_ready=self._said.put, on_status=on_status
                )
            )
