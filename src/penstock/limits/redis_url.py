"""What a URL of `limits.store` says of Redis. Pure, and without redis-py: the configuration is checked by it.

    redis://user:password@host:6379/0?ssl_ca_certs=/path            a server, or a node of a cluster
    redis+sentinel://user:password@host1:26379,host2/mymaster/0     the primary that these sentinels name

rediss:// and rediss+sentinel:// are TLS, to the sentinels, too. User, password and database are the
primary's; sentinels that ask for a password have it as `sentinel_password`.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SENTINEL: Final = "+sentinel"
SENTINEL_PORT: Final = 26379
_OF_SENTINELS: Final = "sentinel_"  # what they are told: sentinel_username, sentinel_password
_MASTER: Final = re.compile(r"/([A-Za-z0-9._-]+)(/[0-9]*)?", re.ASCII)  # as Sentinel itself allows it
_DATABASE: Final = re.compile(r"(/[0-9]*)?", re.ASCII)


class RedisUrl(NamedTuple):
    """url: as redis-py reads it; where there are sentinels, its host is none that is asked.

    sentinels: such URLs, too. options: what stands after `?`.
    """

    url: str
    options: list[tuple[str, str]]
    master: str | None = None
    sentinels: tuple[str, ...] = ()


def parse(url: str) -> RedisUrl | None:
    """None: it is none."""
    try:
        parts = urlsplit(url)
        scheme, plus, kind = parts.scheme.partition("+")
        if scheme not in ("redis", "rediss") or plus + kind not in ("", SENTINEL):
            return None
        options = parse_qsl(parts.query, keep_blank_values=True)
        if not kind:
            is_good = parts.hostname and parts.port != 0 and _DATABASE.fullmatch(parts.path)
            return RedisUrl(url, options) if is_good else None
        path = _MASTER.fullmatch(parts.path)
        login, at, hosts = parts.netloc.rpartition("@")
        places = [_place(one) for one in hosts.split(",")]
    except ValueError:  # a port is asked for last
        return None
    if path is None or "@" in login:  # it would be written %40, and may be the one of a second host
        return None
    said = {name: value for name, value in options if name.startswith(_OF_SENTINELS)}
    further = urlencode([(name, value) for name, value in options if name not in said])
    user, password = (said.get(f"{_OF_SENTINELS}{name}", "") for name in ("username", "password"))
    their = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    return RedisUrl(
        f"{scheme}://{login}{at}{places[0]}{path[2] or ''}?{further}",
        options,
        path[1],
        tuple(f"{scheme}://{their}{place}?{further}" for place in places),
    )


def _place(text: str) -> str:
    """`host:port`. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0 or parts.netloc != text or "@" in text:
        raise ValueError(text)
    return text if parts.port else f"{text.removesuffix(':')}:{SENTINEL_PORT}"
