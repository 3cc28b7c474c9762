"""Rows of the store over what the file says. Pure.

    check_route(settings, name, body)     the route that a body means, or ConfigError
    routes_of(settings, rows)             the routes that hold beside the file's, and the rows that do not
    key_of(row, disabled)                 whom a key stands for; None for one that is off
    with_keys(snapshot, keys)             the snapshot with these keys beside the file's

The file wins: a row that names what the file names is left out, and so is a row that is wrong. Both are told
(`LeftOut`), and neither stops anything.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

import msgspec

from penstock.config import schema
from penstock.config.compile import route_problems
from penstock.config.errors import ConfigError, Problem
from penstock.config.reader import read_value
from penstock.config.schema import Settings
from penstock.config.snapshot import Snapshot
from penstock.types.control import LeftOut
from penstock.types.identity import Network, Terms, VirtualKey
from penstock.types.store import Key, StoredRoute


def check_route(settings: Settings, name: str, body: Mapping[str, Any]) -> schema.Route:
    """The problems of the ConfigError begin with `routes.<name>`.

    A variable of the environment is not filled in: who may write routes need not know what is in there.
    """
    try:
        reading = read_value({"routes": {name: body}})
    except RecursionError:
        raise ConfigError([Problem(f"routes.{name}", "is nested too deeply")]) from None
    if reading.problems:
        raise ConfigError(problem._replace(line=None) for problem in reading.problems)
    route = reading.settings.routes[name]
    alone = msgspec.structs.replace(settings, routes={name: route})
    if found := route_problems(alone):
        raise ConfigError(found)
    return route


def routes_of(
    settings: Settings, rows: Iterable[StoredRoute]
) -> tuple[dict[str, schema.Route], tuple[LeftOut, ...]]:
    routes: dict[str, schema.Route] = {}
    left_out: list[LeftOut] = []
    for row in rows:
        path = f"routes/{row.id}"
        if row.id in settings.routes:
            left_out.append(LeftOut(path, "the file has a route of this name, and the file wins"))
            continue
        try:
            routes[row.id] = check_route(settings, row.id, row.body)
        except ConfigError as exc:
            left_out.append(LeftOut(path, "; ".join(f"{one.path}: {one.message}" for one in exc.problems)))
    return routes, tuple(left_out)


def key_of(row: Key, disabled: Collection[str]) -> VirtualKey | None:
    """disabled: the ids of users and service accounts that are."""
    if row.revoked is not None or row.user in disabled or row.account in disabled:
        return None
    ends = [stamp for stamp in (row.expires, row.overlap_ends) if stamp is not None]
    terms = _terms(min(ends, default=None), row.networks)
    return VirtualKey(
        row.id,
        None if row.routes is None else _names(row.routes),
        row.priority,
        role=row.role,
        team=row.team or "",
        user=row.user or "",
        terms=terms,
    )


def with_keys(snapshot: Snapshot, keys: Mapping[bytes, VirtualKey]) -> Snapshot:
    """`snapshot` holds the file's keys alone."""
    both = dict(keys)
    both.update(snapshot.keys)
    return dataclasses.replace(snapshot, keys=both)


# Thousands of keys say the same: they share what it becomes.


@lru_cache(maxsize=4096)
def _names(routes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(routes)


def _terms(expires: int | None, networks: tuple[str, ...]) -> Terms | None:
    if expires is None and not networks:
        return None
    return Terms(expires, _networks(networks))


@lru_cache(maxsize=4096)
def _networks(written: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text, strict=False) for text in written)
