"""Where the configuration comes from: what was said at the start, and a file that may change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from penstock.config import schema
from penstock.config.compile import compile_settings
from penstock.config.errors import ConfigError, Problem
from penstock.config.load import Flags, Loaded, load
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot
from penstock.models import prices


class Stamp(NamedTuple):
    """Tells one state of a file from another."""

    modified_ns: int
    size: int
    inode: int


@dataclass(frozen=True)
class Source:
    """Its methods read files: they are for threads.

    path: the file that is watched; None: there is none. adopted: providers that the environment offers.
    data_dir: holds the newest table of prices.
    """

    flags: Flags
    origin: str
    path: Path | None = None
    secret: bytes = b""
    adopted: Mapping[str, schema.Provider] = field(default_factory=dict)
    minted_key: str | None = None
    created: int = 0
    data_dir: Path | None = None

    def stamp(self) -> Stamp | None:
        """None while there is no such file."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)

    def read(self, text: str | None = None) -> Loaded:
        """What the file, the environment and the command line say now. Raises ConfigError.

        A file that was found by its usual name and is gone is a mistake: no defaults take its place.
        text: what the file held, instead of what it holds.
        """
        flags = replace(self.flags, config=self.path or self.flags.config)
        return load(flags, adopted=self.adopted, text=text)

    def whole(self, settings: Settings) -> Settings:
        """With the adopted providers."""
        return msgspec.structs.replace(settings, providers={**self.adopted, **settings.providers})

    def compile(self, settings: Settings, routes: Mapping[str, schema.Route]) -> Snapshot:
        """routes: beside those of the settings. Raises ConfigError."""
        try:
            table = prices.own(self.data_dir)
        except (prices.PriceTableError, OSError) as exc:
            raise ConfigError([Problem("prices", str(exc))], self.origin) from exc
        return compile_settings(
            msgspec.structs.replace(settings, routes={**routes, **settings.routes}),
            secret=self.secret,
            adopted=self.adopted,
            minted_key=self.minted_key,
            created=self.created,
            table=table,
        )
