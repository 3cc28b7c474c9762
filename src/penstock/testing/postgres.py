"""A PostgreSQL server of one's own, for tests.

    with postgres_server() as url:      postgresql://penstock@127.0.0.1:PORT/postgres
    with Postgres() as server:          the same, to be killed and started again
        server.kill(); server.start()

Its data is in a temporary folder and is not synced to disk. It listens on a free port of 127.0.0.1.
PostgreSQL refuses to run as root: for root it runs as the user `postgres`.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

INSTALL: Final = "PostgreSQL is not installed: sudo apt install postgresql"
USER: Final = "penstock"
_START_S: Final = 30.0
_POLL_S: Final = 0.02


class NotInstalled(Exception):
    """The message says what to install."""


class Postgres:
    def __init__(self) -> None:
        self._bin = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self._port: int = door.getsockname()[1]
        self.url = f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        options = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={USER}")
        try:
            self._call("initdb", f"--pgdata={self._folder / 'data'}", *options)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        options = ("-p", str(self._port), "-h", "127.0.0.1", "-k", "", "-F", "-c", "max_connections=100")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the server's own program
                [self._bin / "postgres", "-D", self._folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._as,
            )
        deadline_s = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()[-500:]}")
            time.sleep(_POLL_S)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is what PostgreSQL calls a fast shutdown: sessions are ended, nothing is lost."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait(_START_S)
            self._process = None

    def kill(self) -> None:
        """All its processes at once, as if the machine had gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def new_database(self, name: str) -> str:
        """Its URL."""
        self._call("createdb", "--host=127.0.0.1", f"--port={self._port}", f"--username={USER}", name)
        return f"{self.url.removesuffix('postgres')}{name}"

    def _is_ready(self) -> bool:
        asked = [str(self._bin / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self._port}"]
        return subprocess.run(asked, check=False).returncode == 0  # noqa: S603 - as above

    def _call(self, program: str, *arguments: str) -> None:
        argv = [str(self._bin / program), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", **self._as)  # noqa: S603 - as above
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises NotInstalled."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not debian:
        raise NotInstalled(INSTALL)
    return debian[-1].parent


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a running server. Raises NotInstalled."""
    with Postgres() as server:
        yield server.url
