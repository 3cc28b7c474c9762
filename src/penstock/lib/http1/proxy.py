"""Which proxy, if any, stands between us and an origin. Pure: the environment is handed in.

    variable (lower case wins)   for
    ---------------------------  ------------------------------------------------------------------------
    HTTPS_PROXY                  https origins, by CONNECT
    HTTP_PROXY                   http origins, in absolute form; ignored under CGI (REQUEST_METHOD set),
                                 where a client's `Proxy:` header would set it (CVE-2016-5385)
    ALL_PROXY                    both, where the one above is not set
    NO_PROXY                     never: `*`, `host`, `.domain`, `domain` (and all below it), an address,
                                 a network (`10.0.0.0/8`), each with `:port` if it is meant for one port

Loopback and Unix sockets are never proxied.
"""

import base64
import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from penstock.lib.http1.origin import Origin


class Proxy(NamedTuple):
    host: str
    port: int
    authorization: bytes | None  # the value of `proxy-authorization`
    is_tls: bool = False  # speak TLS to the proxy itself

    @classmethod
    def parse(cls, url: str) -> "Proxy":
        """Raises ValueError for what is no http or https proxy; the message holds no password."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not an http or https proxy: {parts.scheme}://{parts.hostname or ''}")
        authorization = None
        if parts.username is not None:
            userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            authorization = b"Basic " + base64.b64encode(userinfo)
        is_tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), authorization, is_tls)


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The proxy settings of an environment: scheme -> URL, and `no` -> the list of exceptions."""
    found: dict[str, str] = {}
    for key in ("http", "https", "all", "no"):
        value = environ.get(f"{key}_proxy")
        if value is None and not (key == "http" and "REQUEST_METHOD" in environ):
            value = environ.get(f"{key.upper()}_PROXY")
        if value:
            found[key] = value
    return found


def proxy_for(origin: Origin, proxies: Mapping[str, str]) -> Proxy | None:
    """The proxy for an origin. Raises ValueError where the settings name something that is none."""
    if origin.uds is not None or _is_loopback(origin.host):
        return None
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url or _is_excepted(origin, proxies.get("no", "")):
        return None
    return Proxy.parse(url)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_excepted(origin: Origin, rules: str) -> bool:
    return any(_matches(origin, rule.strip().lower()) for rule in rules.split(",") if rule.strip())


def _matches(origin: Origin, rule: str) -> bool:
    if rule == "*":
        return True
    address = _address(origin.host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(rule.strip("[]"), strict=False)
        except ValueError:
            pass  # a name, or an address with a port
    if rule.startswith("[") or rule.count(":") == 1:
        name, _, port = rule.rpartition(":")
        if port.isdecimal():
            return int(port) == origin.port and _matches(origin, name)
    host = origin.host.lower().rstrip(".")
    domain = rule.removeprefix("*").strip("[]")
    if domain.startswith("."):
        return host.endswith(domain)
    return host == domain or host.endswith(f".{domain}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
