"""Real Redis and PostgreSQL servers of their own, on free ports, in a folder that goes away with them.

    with redis_server() as redis:
        redis.url           redis://127.0.0.1:40001
        redis.restart()     ends it and starts it again with its data; `kill=True`: without a word
        redis.pause()       it stops answering (SIGSTOP); redis.resume()
        with redis_sentinel(redis) as sentinel: ...
    with postgres_server() as postgres:
        postgres.new_database("mine")       its URL
        with pgbouncer(postgres, "session") as url: ...

They raise NotInstalled where the program is missing, in one line that says what to install. PostgreSQL
refuses to run as root: then it runs as the user `postgres`, whom its package creates.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

START_S: Final = 30.0
POSTGRES_USER: Final = "postgres"
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder in there is made with a name of its own
_ROOM_BYTES: Final = 4 * 1024**3


class NotInstalled(Exception):
    """The program is not on this machine; the message says how to get it."""


class Server:
    """A running server. `url` is where clients find it, also after a restart."""

    def __init__(
        self,
        argv: Sequence[str],
        url: str,
        port: int,
        folder: Path,
        *,
        user: str | None,
        stop: signal.Signals,
    ) -> None:
        self.url = url
        self.port = port
        self._argv = argv
        self._folder = folder
        self._user = user
        self._stop = stop
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self, *, kill: bool = False) -> None:
        self.stop(kill=kill)
        self.start()

    def stop(self, *, kill: bool = False) -> None:
        self._signal(signal.SIGCONT)
        if kill:
            family = self._signal(signal.SIGKILL)
            self._process.wait(START_S)
            give_up = time.monotonic() + START_S
            while any(_is_running(pid) for pid in family) and time.monotonic() < give_up:
                time.sleep(0.01)
        else:
            self._process.send_signal(self._stop)
            self._process.wait(START_S)

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - programs of fixed names
                self._argv,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )

    def _signal(self, number: signal.Signals) -> list[int]:
        family = self.family()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def family(self) -> list[int]:
        """Its processes."""
        return [self._process.pid]

    def wait(self, is_ready: Callable[[], bool]) -> None:
        give_up = time.monotonic() + START_S
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > give_up:
                said = (self._folder / "log").read_text(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"{self._argv[0]} does not start: {' / '.join(said)}")
            time.sleep(0.02)


class RedisServer(Server):
    def start(self) -> None:
        super().start()
        self.wait(lambda: _says(self.port, b"PING\r\n", b"+PONG"))


class PostgresServer(Server):
    """Its children are in sessions of their own."""

    def family(self) -> list[int]:
        return [self._process.pid, *_children(self._process.pid)]

    def start(self) -> None:
        super().start()
        self.wait(lambda: _says(self.port, _HELLO, b"R"))

    def new_database(self, name: str) -> str:
        """Its URL."""
        address = ["--host=127.0.0.1", f"--port={self.port}", "--username=penstock"]
        program = Path(self._argv[0]).parent / "createdb"
        subprocess.run([program, *address, name], check=True, capture_output=True, cwd=self._folder)  # noqa: S603 - a program of a fixed name
        return f"{self.url.removesuffix('postgres')}{name}"


class PgBouncer(Server):
    def start(self) -> None:
        super().start()
        self.wait(lambda: _says(self.port, _HELLO, b"E"))  # it has no database called penstock


def _redis_program() -> str:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise NotInstalled("redis-server is not installed: sudo apt install redis-server")
    return program


@contextlib.contextmanager
def _redis_running(argv: list[str], port: int, folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(argv, f"redis://127.0.0.1:{port}", port, folder, user=None, stop=signal.SIGTERM)
    try:
        yield server
    finally:
        server.stop(kill=True)


@contextlib.contextmanager
def redis_server(*, options: Sequence[str] = ("--appendonly", "yes")) -> Iterator[RedisServer]:
    """Redis, or Valkey where that is installed instead. Each change is written before it is answered."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="penstock-redis-") as folder:
        port = free_port()
        argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", *options]
        with _redis_running(argv, port, Path(folder)) as server:
            yield server


@contextlib.contextmanager
def redis_sentinel(primary: RedisServer, *, name: str = "main", quorum: int = 1) -> Iterator[RedisServer]:
    """One that watches `primary`, and takes it for gone after half a second of silence."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="penstock-sentinel-") as folder:
        port = free_port()
        settings = Path(folder) / "sentinel.conf"
        settings.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {name} 127.0.0.1 {primary.port} {quorum}\n"
            f"sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
        )
        argv = [program, str(settings), "--sentinel"]
        with _redis_running(argv, port, Path(folder)) as server:
            yield server


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL, trusting who connects from this machine."""
    programs = _postgres_programs()
    user = POSTGRES_USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-", dir=_roomy_memory()) as name:
        folder, port = Path(name), free_port()
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(  # noqa: S603 - a program of a fixed name
            [programs / "initdb", "-D", data, "-U", "penstock", "--auth=trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        argv = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]
        url = f"postgresql://penstock@127.0.0.1:{port}/postgres"
        server = PostgresServer(argv, url, port, folder, user=user, stop=signal.SIGINT)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def pgbouncer(postgres: PostgresServer, mode: str) -> Iterator[str]:
    """The URL of a database behind PgBouncer. mode: `session` or `transaction`."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise NotInstalled("pgbouncer is not installed: sudo apt install pgbouncer")
    user = POSTGRES_USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="penstock-pgbouncer-") as name:
        folder, port = Path(name), free_port()
        if user is not None:
            shutil.chown(folder, user)
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=penstock\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 50\n"
        )
        url = f"postgresql://penstock@127.0.0.1:{port}/postgres"
        server = PgBouncer([program, str(settings)], url, port, folder, user=user, stop=signal.SIGINT)
        try:
            yield url
        finally:
            server.stop(kill=True)


def _roomy_memory() -> Path | None:
    """Each database is some 300 files: on a busy disk they take longer to delete than all tests with them."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return _MEMORY
    return None


def _postgres_programs() -> Path:
    """Where initdb and postgres are; Debian does not put them on the path."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found is None and not debian:
        raise NotInstalled("postgresql is not installed: sudo apt install postgresql")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(POSTGRES_USER)
        except KeyError as exc:
            raise NotInstalled("PostgreSQL cannot run as root, and there is no user `postgres`") from exc
    return Path(found).resolve().parent if found is not None else debian[-1].parent


def _children(pid: int) -> list[int]:
    """Where there is a /proc."""
    return [child for child, (_, parent) in _processes() if parent == pid]


def _is_running(pid: int) -> bool:
    return any(one == pid and state != "Z" for one, (state, _) in _processes())


def _processes() -> Iterator[tuple[int, tuple[str, int]]]:
    """Of each its state and its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            yield int(stat.parent.name), (state, int(parent))


# A startup message of protocol 3.0: length, version, user; a server that is ready answers with `R`.
_HELLO: Final = b"\x00\x00\x00\x17\x00\x03\x00\x00user\x00penstock\x00\x00"


def _says(port: int, question: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as server:
            server.sendall(question)
            return server.recv(16).startswith(answer)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port
