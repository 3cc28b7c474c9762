"""Where settings come from. Each value remembers its source, for `penstock check`.

    weakest    defaults -> penstock.yaml -> PENSTOCK_* variables -> command-line flags    strongest

The file is that of `-c`, else PENSTOCK_CONFIG, else ./penstock.yaml where there is one, else none.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from penstock.config.errors import ConfigError, Problem
from penstock.config.fields import LogLevel
from penstock.config.problems import problems
from penstock.config.reader import read
from penstock.config.schema import MAX_WORKERS, Deployment, Settings
from penstock.types.store import SQLITE, is_store_url

DEFAULT_FILE: Final = "penstock.yaml"
DEFAULT_DATA_DIR: Final = "~/.local/share/penstock"
STORE_FILE: Final = "penstock.db"

# variable -> what it sets
VARIABLES: Final[dict[str, str]] = {
    "PENSTOCK_HOST": "server.host",
    "PENSTOCK_PORT": "server.port",
    "PENSTOCK_WORKERS": "server.workers",
    "PENSTOCK_LOG_LEVEL": "telemetry.log_level",
    "PENSTOCK_DATA_DIR": "the folder that holds the minted key and the key-hash secret",
    "PENSTOCK_CONFIG": "the configuration file",
    "PENSTOCK_READY_FILE": "the file that says when the server is ready",
    "PENSTOCK_CACHE_DIR": "the folder that holds fetched models",
    "PENSTOCK_URL": "the server that administrative commands ask",
    "PENSTOCK_KEY": "the key with which they ask it",
}


@dataclass(frozen=True)
class Flags:
    """What the command line said; None: nothing."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    log_level: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Loaded:
    settings: Settings
    origin: str  # the file's path, or `built-in defaults`
    data_dir: Path
    sources: Mapping[str, str] = field(default_factory=dict)  # setting -> where it was said
    lines: Mapping[str, int] = field(default_factory=dict)
    path: Path | None = None  # of the file
    text: str | None = None  # of the file

    @property
    def store_url(self) -> str:
        return self.settings.store.url or f"{SQLITE}{self.data_dir / STORE_FILE}"

    def source(self, path: str) -> str:
        return self.sources.get(path, "default")


def load_text(
    text: str,
    *,
    env: Mapping[str, str] | None = None,
    origin: str = DEFAULT_FILE,
    adopted: Iterable[str] = (),
) -> Settings:
    """The settings of a YAML text. Raises ConfigError with everything that is wrong.

    adopted: names of providers that will be there besides the file's.
    """
    return _read(text, os.environ if env is None else env, origin, adopted)[0]


def load(
    flags: Flags,
    *,
    env: Mapping[str, str] | None = None,
    adopted: Iterable[str] = (),
    text: str | None = None,
) -> Loaded:
    """Raises ConfigError. text: what the file held, instead of what it holds."""
    variables = os.environ if env is None else env
    path = _file(flags, variables)
    settings, origin, lines = Settings(), "built-in defaults", dict[str, int]()
    if path is not None:
        origin = str(path)
        try:
            text = path.read_text("utf-8") if text is None else text
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise ConfigError([Problem("", f"cannot be read: {reason}")], origin) from exc
        settings, lines = _read(text, variables, origin, adopted, path.parent.absolute())
    sources = {where: f"{origin}:{line}" for where, line in lines.items() if where}
    settings = _override(settings, flags, variables, sources)
    data_dir = flags.data_dir or Path(variables.get("PENSTOCK_DATA_DIR") or DEFAULT_DATA_DIR)
    return Loaded(settings, origin, data_dir.expanduser(), sources, lines, path, text)


def _file(flags: Flags, env: Mapping[str, str]) -> Path | None:
    if flags.config is not None:
        return flags.config
    if named := env.get("PENSTOCK_CONFIG"):
        return Path(named).expanduser()
    here = Path(DEFAULT_FILE)
    return here if here.is_file() else None


def _read(
    text: str, env: Mapping[str, str], origin: str, adopted: Iterable[str], folder: Path | None = None
) -> tuple[Settings, dict[str, int]]:
    """folder: where relative paths in it begin; None: in the working folder."""
    reading = read(text, env)
    if folder is not None:
        reading.settings = _anchored(reading.settings, folder)
    if reading.problems:
        named = {section: set(names) for section, names in reading.names.items()}
        named.setdefault("providers", set()).update(adopted)
        named.setdefault("keys", set()).add("")  # whether keys suffice is asked of a readable file
        unread = [problem.path for problem in reading.problems]
        more = [
            problem
            for problem in problems(reading.settings, also_named=named)
            if not any(
                path.startswith(f"{problem.path}.") for path in unread
            )  # what it lacks is written, wrongly
        ]
        dangling = ConfigError(more).located(reading.lines, origin)
        raise ConfigError([*reading.problems, *dangling.problems], origin)
    return reading.settings, reading.lines


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Relative paths mean files beside the configuration, wherever the server is started from."""

    def anchored(written: Deployment) -> Deployment:
        scheme, _, rest = written.model.strip().partition(":")
        if written.provider is not None or scheme != "file" or not rest or rest.startswith("~"):
            return written
        return msgspec.structs.replace(written, model=f"file:{folder / rest}")

    deployments = {name: anchored(written) for name, written in settings.deployments.items()}
    url = settings.store.url or ""
    file = url.removeprefix(SQLITE)
    store = settings.store
    if url.startswith(SQLITE) and is_store_url(url) and not file.startswith(("/", "~")):
        store = msgspec.structs.replace(store, url=f"{SQLITE}{folder / file}")
    server = settings.server
    if (tls := server.tls) is not None:
        paths = {field: getattr(tls, field) for field in ("cert", "key", "client_ca")}
        beside = {field: str(folder / Path(path).expanduser()) for field, path in paths.items() if path}
        server = msgspec.structs.replace(server, tls=msgspec.structs.replace(tls, **beside))
    return msgspec.structs.replace(settings, deployments=deployments, store=store, server=server)


def _override(settings: Settings, flags: Flags, env: Mapping[str, str], sources: dict[str, str]) -> Settings:
    found: list[Problem] = []
    rows = (
        ("server", "host", flags.host, "PENSTOCK_HOST", "--host"),
        ("server", "port", flags.port, "PENSTOCK_PORT", "--port"),
        ("server", "workers", flags.workers, "PENSTOCK_WORKERS", "--workers"),
        ("telemetry", "log_level", flags.log_level, "PENSTOCK_LOG_LEVEL", "--log-level"),
    )
    for section, name, flag, variable, option in rows:
        said = flag if flag is not None else env.get(variable) or None
        if said is None:
            continue
        source = option if flag is not None else variable
        try:
            value = _OVERRIDES[name](said)
        except ValueError as exc:
            found.append(Problem(source, str(exc)))
            continue
        changed = msgspec.structs.replace(getattr(settings, section), **{name: value})
        settings = msgspec.structs.replace(settings, **{section: changed})
        sources[f"{section}.{name}"] = source
    if found:
        raise ConfigError(found, "command line and environment")
    return settings


def _port(said: Any) -> int:
    try:
        port = int(said)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise ValueError(f"{said!r} is not a port; write 0 (a free one) to 65535")
    return port


def _workers(said: Any) -> int:
    try:
        workers = int(said)
    except ValueError:
        workers = 0
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"{said!r} is not a number of workers; write 1 to {MAX_WORKERS}")
    return workers


def _log_level(said: Any) -> str:
    levels = get_args(LogLevel)
    if said not in levels:
        raise ValueError(f"{said!r} is not one of {', '.join(levels)}")
    return str(said)


_OVERRIDES: Final[dict[str, Any]] = {
    "host": str,
    "port": _port,
    "workers": _workers,
    "log_level": _log_level,
}
