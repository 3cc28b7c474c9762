"""What a running server cannot take from a new file. Pure.

Where and how it listens, how keys are hashed and where the store is are fixed when it starts; engines are
started and stopped with it. A file that changes any of that is not taken at all: half of it would be neither
the old nor the new.
"""

from collections.abc import Iterator, Mapping

from penstock.config.schema import Settings
from penstock.types.deployment import Pool

_FIXED = ("host", "port", "workers", "secret", "tls", "media_hosts")  # of `server`


def needs_restart(
    old: Settings, new: Settings, old_pools: Mapping[str, Pool], new_pools: Mapping[str, Pool]
) -> tuple[str, ...]:
    """One sentence for each."""
    return tuple(_reasons(old, new, old_pools, new_pools))


def _reasons(
    old: Settings, new: Settings, old_pools: Mapping[str, Pool], new_pools: Mapping[str, Pool]
) -> Iterator[str]:
    for name in _FIXED:
        if getattr(old.server, name) != getattr(new.server, name):
            yield f"server.{name} changed"
    for section in ("store", "limits", "telemetry"):
        if getattr(old, section) != getattr(new, section):
            yield f"{section} changed"
    for name in new_pools.keys() - old_pools.keys():
        yield f"a model on this machine was added: {name}"
    for name in old_pools.keys() - new_pools.keys():
        yield f"a model on this machine was removed: {name}"
    for name in old_pools.keys() & new_pools.keys():
        if old_pools[name] != new_pools[name]:
            yield f"a model on this machine changed: {name}"
