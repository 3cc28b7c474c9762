"""Ids in tables -> what people called these: a team by its name, a user by the e-mail, a key by its name.

An id stays where there is no such row any more, or the key that asks may not see it; a name that two rows
have is followed by the id. Programs get ids (`--json`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from penstock.cli.admin_client import AdminClient, step
from penstock.types.errors import PenstockError

_PLACES: Final = {"team": ("/teams", "name"), "key": ("/keys", "name"), "user": ("/users", "email")}
_ONE_BY_ONE: Final = 20


def named(client: AdminClient, kind: str, ids: Iterable[str | None]) -> Mapping[str | None, str]:
    """kind: team, key or user; ids of any other are their own names."""
    wanted = {one for one in ids if one}
    names = {one: one for one in wanted}
    if kind in _PLACES:
        names |= _asked(client, *_PLACES[kind], wanted)
    often = Counter(names.values())
    return {one: name if often[name] == 1 else f"{name} ({one})" for one, name in names.items()}


def _asked(client: AdminClient, path: str, field: str, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        if len(wanted) > _ONE_BY_ONE:
            return {row["id"]: row[field] for row in client.every(path) if row["id"] in wanted}
    except PenstockError:
        return found
    for one in wanted:
        try:
            found[one] = client.get(f"{path}/{step(one)}")[field]
        except PenstockError:
            continue
    return found
