"""The section `identity`, `server.tls` and the terms of keys -> what runs, and what is wrong with them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from penstock.auth import certificates, tls
from penstock.auth.addresses import origin_of, parse_network
from penstock.auth.policy import Bounds, Claims, Issuer, Login, Policy
from penstock.auth.web import is_safe
from penstock.config import claims, schema
from penstock.config.claims import budgets_of, claims_of, limit_problems
from penstock.config.errors import Problem
from penstock.config.schema import Settings
from penstock.lib.registry import hint
from penstock.types.identity import Network, VirtualKey


def policy_of(
    settings: Settings, keys: Mapping[str, VirtualKey], teams: Mapping[str, claims.Claims]
) -> Policy:
    """Of settings without problems."""
    written = settings.identity
    of_teams = {name: Bounds(one.always, one.by_model) for name, one in teams.items()}
    issuers: dict[str, tuple[Issuer, ...]] = {}
    for name, one in written.oidc.items():
        issuers[one.issuer] = (*issuers.get(one.issuer, ()), _issuer(name, one, settings, of_teams))
    known = written.client_certificates
    return Policy(
        issuers=issuers,
        proxies=networks(written.trusted_proxies),
        certificate_header=(known.header or "").lower().encode(),
        certificates={certificates.as_configured(name): keys[key] for name, key in known.map.items()},
        public_url="" if written.public_url is None else _origin(written.public_url),
        session_s=written.session,
    )


def tls_files(settings: Settings) -> tls.Files | None:
    written = settings.server.tls
    if written is None:
        return None
    return tls.Files(
        _path(written.cert),
        _path(written.key),
        None if written.client_ca is None else _path(written.client_ca),
        requires_client=written.client == "required",
    )


def networks(written: Iterable[str]) -> tuple[Network, ...]:
    return tuple(map(parse_network, written))


def _issuer(name: str, written: schema.Oidc, settings: Settings, of_teams: Mapping[str, Bounds]) -> Issuer:
    said, on_failure = written.claims, settings.limits.on_store_failure
    each = claims_of("user", "", written.limits, budgets_of(written), on_failure=on_failure)
    return Issuer(
        name,
        written.issuer,
        frozenset(_texts(written.audience)),
        written.jwks_url,
        frozenset(written.algorithms),
        written.leeway,
        Claims(said.subject, said.email, said.team, said.role, said.routes, said.user),
        written.roles,
        written.default_role,
        written.teams,
        written.default_team,
        None if written.routes is None else frozenset(written.routes),
        {claim: frozenset(_texts(values)) for claim, values in written.require.items()},
        Bounds(each.always, each.by_model),
        of_teams,
        is_insecure=written.insecure,
        login=None
        if written.client_id is None
        else Login(written.client_id, written.client_secret, written.scopes),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return origin_of(parts.scheme, parts.netloc)


def _texts(written: str | tuple[str, ...]) -> tuple[str, ...]:
    return (written,) if isinstance(written, str) else written


def _path(written: str) -> Path:
    return Path(written).expanduser()


# --- what may be wrong ---


def problems(
    settings: Settings, also_keys: set[str], also_teams: set[str], no_such_route: Callable[[str], str]
) -> Iterator[Problem]:
    """also_keys, also_teams: names of those whose settings were unusable.

    no_such_route: what is wrong with a public name.
    """
    yield from _tls_problems(settings)
    yield from _range_problems("identity.trusted_proxies", settings.identity.trusted_proxies)
    audiences: dict[tuple[str, str], str] = {}
    for name, written in settings.identity.oidc.items():
        path = f"identity.oidc.{name}"
        yield from _issuer_problems(path, written)
        yield from limit_problems(path, written.limits, budgets_of(written))
        yield from _team_problems(path, written, sorted({*settings.teams, *also_teams}))
        for audience in _texts(written.audience):
            other = audiences.setdefault((written.issuer, audience), name)
            if other != name:
                yield Problem(f"{path}.audience", f"is that of identity.oidc.{other}, of the same issuer")
        for index, route in enumerate(written.routes or ()):
            if said := no_such_route(route):
                yield Problem(f"{path}.routes[{index}]", said)
    yield from _certificate_problems(settings, also_keys)
    yield from _key_problems(settings)
    url = settings.identity.public_url
    if url is not None and not (is_safe(url, is_insecure=False) and _is_bare(url)):
        yield Problem(
            "identity.public_url",
            "must be as https://penstock.example.com, without a path; http is for this machine alone",
        )


def _is_bare(url: str) -> bool:
    """Whether it names a place, and nothing at it."""
    parts = urlsplit(url)
    try:
        return not (parts.path.strip("/") or parts.query) and parts.port != 0
    except ValueError:  # no number, or above 65535
        return False


def _tls_problems(settings: Settings) -> Iterator[Problem]:
    files = tls_files(settings)
    if files is None:
        return
    if files.requires_client and files.client_ca is None:
        yield Problem("server.tls.client", "needs `client_ca`: who vouches for those certificates")
        return
    try:
        tls.make_context(files)
    except tls.BadFiles as exc:
        yield Problem(f"server.tls.{exc.field}", str(exc))


def _range_problems(path: str, written: Iterable[str]) -> Iterator[Problem]:
    for index, text in enumerate(written):
        try:
            parse_network(text)
        except ValueError as exc:
            yield Problem(f"{path}[{index}]", str(exc))


def _issuer_problems(path: str, written: schema.Oidc) -> Iterator[Problem]:
    for field, url in (("issuer", written.issuer), ("jwks_url", written.jwks_url)):
        if url is not None and not is_safe(url, is_insecure=written.insecure):
            yield Problem(
                f"{path}.{field}",
                f"{url!r} must be an https URL; http is for hosts on this machine, or with `insecure: on`",
            )
    if not all(_texts(written.audience)) or not written.audience:
        yield Problem(f"{path}.audience", "must not be empty: a token for another service would be taken")
    for field, claim in (("roles", "role"), ("teams", "team")):
        if getattr(written, field) and getattr(written.claims, claim) is None:
            yield Problem(f"{path}.{field}", f"needs `claims.{claim}`: which claim holds those values")
    if written.claims.role is not None and not written.roles:
        yield Problem(f"{path}.claims.role", "needs `roles`: which of its values gives which role")
    if written.client_id is None and written.client_secret is not None:
        yield Problem(f"{path}.client_secret", "needs `client_id`")
    if written.client_id is not None and "openid" not in written.scopes:
        yield Problem(f"{path}.scopes", "must hold openid: without it there is no ID token")
    for claim, values in written.require.items():
        if not values:
            yield Problem(f"{path}.require.{claim}", "must not be empty")


def _team_problems(path: str, written: schema.Oidc, known: list[str]) -> Iterator[Problem]:
    named = {f"teams.{value}": team for value, team in written.teams.items()}
    if written.default_team is not None:
        named["default_team"] = written.default_team
    for where, team in named.items():
        if team not in known:
            there = ", ".join(known) if known else "none"
            yield Problem(
                f"{path}.{where}", f"there is no team {team!r}; there are: {there}{hint(team, known)}"
            )


def _certificate_problems(settings: Settings, also_keys: set[str]) -> Iterator[Problem]:
    path = "identity.client_certificates"
    written = settings.identity.client_certificates
    door = settings.server.tls
    if written.header is not None and not settings.identity.trusted_proxies:
        yield Problem(f"{path}.header", "needs `identity.trusted_proxies`: anybody can send a header")
    if written.map and written.header is None and (door is None or door.client_ca is None):
        yield Problem(f"{path}.map", "needs `server.tls.client_ca`, or a `header` of a trusted proxy")
    known = [*settings.keys, *also_keys]
    seen: dict[str, str] = {}
    for name, key in written.map.items():
        where = f"{path}.map.{name}"
        try:
            meant = certificates.as_configured(name)
        except ValueError as exc:
            yield Problem(where, str(exc))
            continue
        if meant in seen:
            yield Problem(where, f"means the same as {seen[meant]}")
        seen[meant] = name
        if key not in known:
            there = ", ".join(known) if known else "none"
            yield Problem(where, f"there is no key {key!r}; there are: {there}{hint(key, known)}")


def _key_problems(settings: Settings) -> Iterator[Problem]:
    mapped = set(settings.identity.client_certificates.map.values())
    for name, written in settings.keys.items():
        path = f"keys.{name}"
        yield from _range_problems(f"{path}.ips", written.ips)
        if written.secret is None and name not in mapped:
            yield Problem(
                path, "secret is missing; only a key that a client certificate stands for can do without"
            )
        if written.previous is not None and written.secret is None:
            yield Problem(f"{path}.previous", "needs `secret`, which took its place")
