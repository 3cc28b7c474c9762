"""One engine process, from its first line to its last.

The contract of every engine worker (penstock.engines.*_worker, penstock.testing.engine):

    stdout        first line: one JSON object, {"ready": true, "port": N | "uds": PATH, ...facts} or
                  {"ready": false, "error": "why"}, then exit 1; what follows is log
    stdin         a pipe that we hold open: at its end the parent is gone, and so must the worker be
    environment   PENSTOCK_ENGINE_KEY: the bearer key without which it answers nobody; of our own
                  environment only what `engine_environment` lets pass
    SIGTERM       finish what runs, exit 0

The worker leads its own process group, so that Ctrl-C in a terminal reaches us and not it, and so that
whatever it started goes with it.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.lib import exits, tasks
from penstock.types.deployment import Command

KEY_VARIABLE = "PENSTOCK_ENGINE_KEY"
LOG_LINES = 200
LOG_LINE_CHARS = 500
_STREAM_LIMIT_BYTES = 1 << 20  # a longer line is cut by the reader

# What an engine may know of our environment (docs/models.md, "What an engine process gets").
_PASSED = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TMPDIR",
        "TEMP",
        "TMP",
        "LANG",
        "LANGUAGE",
        "TZ",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "VIRTUAL_ENV",
        "HF_HOME",
        "HF_HUB_CACHE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ]
)
_PASSED_PREFIXES = (
    "LC_",
    "DYLD_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "OPENBLAS_",
    "MKL_",
    "RAYON_",
    "TOKENIZERS_",
    "GGML_",
    "LLAMA_",
    "ORT_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "ZE_",
    "PYTHON",
    "XDG_",
)
_NEVER_PASSED = frozenset(  # as a word of the name: NVIDIA_API_KEY
    ["KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASS", "PWD", "PAT", "CREDENTIALS"]
)


class LoadFailed(Exception):
    """The engine said why it cannot load; trying again at once would end the same way."""


class Exited(Exception):
    """The process ended. The message says how."""


class Process:
    """A running worker. Made by `start`; `stop` it."""

    def __init__(self, child: asyncio.subprocess.Process, key: str) -> None:
        self.key = key
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._child = child
        self._readers: tasks.Tasks = set()
        self._first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        tasks.spawn(self._readers, self._read_stdout(), "engine-stdout")
        tasks.spawn(self._readers, self._read_stderr(), "engine-stderr")

    @classmethod
    async def start(cls, command: Command) -> "Process":
        """Raises LoadFailed when there is no such program."""
        key = secrets.token_urlsafe(24)
        env = {**engine_environment(os.environ), **command.env, KEY_VARIABLE: key}
        try:
            child = await asyncio.create_subprocess_exec(
                *command.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=env,
                start_new_session=True,
                limit=_STREAM_LIMIT_BYTES,
            )
        except OSError as exc:
            raise LoadFailed(f"cannot start {command.argv[0]}: {exc.strerror or exc}") from exc
        return cls(child, key)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def ready(self) -> dict[str, Any]:
        """What the worker said of itself once it listens.

        Raises LoadFailed with its own words, Exited when it ended without any.
        """
        line = await asyncio.shield(self._first)
        if not line:
            await self._child.wait()
            raise Exited(self.ending())
        try:
            said: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as exc:
            raise LoadFailed(f"the engine's first line is not its ready line: {line[:200]!r}") from exc
        if not said.pop("ready", False):
            raise LoadFailed(str(said.get("error", "it did not say why")))
        return said

    async def wait(self) -> str:
        """How it ended, in words, once it has."""
        await self._child.wait()
        return self.ending()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s`; returns when no process of the group is left."""
        try:
            if self._child.returncode is None:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self._child.wait()
        finally:
            self._signal(signal.SIGKILL)  # the child, and what it left behind in its group
            if self._child.stdin is not None:
                self._child.stdin.close()
            await self._child.wait()
            for reader in tuple(self._readers):
                await tasks.cancel_and_wait(reader)

    def ending(self) -> str:
        """The exit in words, with the last thing it logged."""
        code = self._child.returncode
        if code is None:
            return "still running"
        how = exits.ending(code) + (" (out of memory?)" if code == -signal.SIGKILL else "")
        return f"{how}; its last words: {self.log[-1]}" if self.log else how

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty, or only zombies
            os.killpg(self._child.pid, number)

    async def _read_stdout(self) -> None:
        stream = self._child.stdout
        try:
            while stream is not None and (line := await _line(stream)):
                if not self._first.done():
                    self._first.set_result(line)
                else:
                    self._keep(line)
        finally:
            if not self._first.done():
                self._first.set_result(b"")

    async def _read_stderr(self) -> None:
        stream = self._child.stderr
        while stream is not None and (line := await _line(stream)):
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:LOG_LINE_CHARS]
        if text:
            self.log.append(text)


def engine_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What of our environment an engine gets: what programs and number crunching need, and nobody's keys."""
    return {
        name: value
        for name, value in env.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES))
        and _NEVER_PASSED.isdisjoint(name.upper().split("_"))
    }


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; of a line above the limit, the beginning. Empty at the end."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as exc:
        return exc.partial
    except asyncio.LimitOverrunError as exc:
        return await stream.readexactly(min(exc.consumed, _STREAM_LIMIT_BYTES))
