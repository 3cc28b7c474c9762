"""`identity`, `server.tls` and the terms of keys: what they become, and what is wrong with them."""

from ipaddress import ip_network
from pathlib import Path

import pytest
import trustme

from penstock.auth.policy import Claims, Login
from penstock.auth.tls import Files
from penstock.config.compile import compile_settings
from penstock.config.errors import ConfigError
from penstock.config.load import Flags, load, load_text
from penstock.config.snapshot import Snapshot
from penstock.config.units import format_moment, parse_moment

SECRET = b"0" * 32
DAY_S = 86400.0
MIDNIGHT = 1_798_675_200.0  # 2026-12-31T00:00:00Z


def compiled(text: str) -> Snapshot:
    return compile_settings(load_text("builtin: off\n" + text, env={}), secret=SECRET)


def test_moments() -> None:
    assert parse_moment("2026-12-31") == MIDNIGHT + DAY_S  # the whole day is good
    assert parse_moment("2026-12-31T00:00:00Z") == MIDNIGHT
    assert parse_moment("2026-12-31t01:30:00.5+01:30") == MIDNIGHT + 0.5
    assert parse_moment(format_moment(MIDNIGHT)) == MIDNIGHT
    assert parse_moment("9999-12-30") > MIDNIGHT
    for wrong in ("2026", "2026-13-01", "2026-12-31T00:00:00", "", "9999-12-31"):
        with pytest.raises(ValueError, match="a moment is"):
            parse_moment(wrong)


def test_a_key_without_terms_has_none() -> None:
    key = compiled("keys: {a: {secret: s}}").authenticate(b"s")
    assert key is not None
    assert (key.terms, key.role) == (None, "developer")


def test_terms_of_a_key_and_of_its_previous_secret() -> None:
    snapshot = compiled("""
keys:
  a: {secret: new, role: viewer, expires: 2026-12-31, ips: [10.0.0.0/8, "2001:db8::1"],
      previous: {secret: old, until: 2026-12-30}}
  b: {secret: n, expires: 2026-12-29, previous: {secret: o, until: 2026-12-30}}
  c: {secret: n2, previous: {secret: o2, until: 2026-12-30}}
""")
    new, old = snapshot.authenticate(b"new"), snapshot.authenticate(b"old")
    assert new is not None
    assert new.terms is not None
    assert old is not None
    assert old.terms is not None
    assert (new.name, new.role, new.terms.expires_s) == ("a", "viewer", MIDNIGHT + DAY_S)
    assert new.terms.networks == (ip_network("10.0.0.0/8"), ip_network("2001:db8::1"))
    assert (old.name, old.terms.expires_s, old.terms.networks) == ("a", MIDNIGHT, new.terms.networks)
    ended = snapshot.authenticate(b"o")
    assert ended is not None
    assert ended.terms is not None
    assert ended.terms.expires_s == MIDNIGHT - DAY_S  # the key's own end is before
    plain = snapshot.authenticate(b"n2")
    assert plain is not None
    assert plain.terms is None


def test_issuers() -> None:
    policy = compiled("""
keys: {k: {secret: s}}
deployments: {small: {model: qwen3:0.6b}}
teams: {search: {limits: {requests: 50/min}}}
identity:
  oidc:
    people:
      issuer: https://idp.example.com/
      audience: [penstock, api://penstock]
      claims: {role: realm_access.roles, team: groups}
      roles: {penstock-admin: admin}
      teams: {g-1: search}
      require: {tid: t-1, azp: [a, b]}
      limits: {requests: 5/min}
      budget: {usd: 2, period: day, models: [small]}
      client_id: penstock
      client_secret: hidden
    machines: {issuer: https://idp.example.com/, audience: machines, leeway: 5s, algorithms: [ES256]}
  trusted_proxies: [10.0.0.0/8]
  public_url: https://ai.example.com/
  session: 8h
""").identity
    people, machines = policy.issuers["https://idp.example.com/"]
    assert people.audiences == {"penstock", "api://penstock"}
    assert people.claims == Claims(role="realm_access.roles", team="groups")
    assert (people.roles, people.default_role) == ({"penstock-admin": "admin"}, None)
    assert people.require == {"tid": {"t-1"}, "azp": {"a", "b"}}
    assert [claim.key for claim in people.each.always] == ["user:"]
    assert [claim.key for claim in people.each.by_model["small"]] == ["user: small"]
    assert [claim.key for claim in people.of_teams["search"].always] == ["team:search"]
    assert people.login == Login("penstock", "hidden")
    assert (machines.default_role, machines.leeway_s, machines.login) == (None, 5.0, None)
    assert (policy.public_url, policy.session_s) == ("https://ai.example.com", 8 * 3600.0)
    assert policy.login("people") is people
    assert policy.login("machines") is None


def test_a_key_that_a_certificate_stands_for_needs_no_secret() -> None:
    policy = compiled("""
keys: {runner: {}}
identity:
  trusted_proxies: [10.0.0.1]
  client_certificates: {header: X-Client-Cert, map: {"dns:Runner.Example.com": runner}}
""").identity
    assert policy.certificate_header == b"x-client-cert"
    assert policy.certificates["dns:runner.example.com"].name == "runner"


OIDC = "identity: {oidc: {a: {issuer: 'https://i.example', audience: p, %s}}}"
WRONG = [
    ("keys: {k: {}}", "keys.k: secret is missing"),
    ("keys: {k: {secret: s, ips: [10.0.0.1/8]}}", "keys.k.ips[0]: '10.0.0.1/8' has bits set"),
    ("keys: {k: {secret: s, ips: [here]}}", "is no address range"),
    ("keys: {k: {secret: s, previous: {secret: s, until: 2026-12-31}}}", "is the same as that of keys.k"),
    (
        "keys: {k: {secret: s}, l: {secret: t, previous: {secret: s, until: 2026-12-31}}}",
        "keys.l.previous.secret: is the same as that of keys.k",
    ),
    ("keys: {k: {previous: {secret: s, until: 2026-12-31}}}", "keys.k.previous: needs `secret`"),
    ("identity: {oidc: {a: {issuer: 'http://i.example', audience: p}}}", "must be an https URL"),
    ("identity: {oidc: {a: {issuer: 'https://u:p@i.example', audience: p}}}", "must be an https URL"),
    ("identity: {oidc: {a: {issuer: 'https://i.example', audience: []}}}", "audience: must not be empty"),
    ("identity: {oidc: {a: {issuer: 'https://i.example', audience: ''}}}", "audience: must not be empty"),
    (OIDC % "jwks_url: 'http://i.example/k'", "jwks_url: 'http://i.example/k' must be an https URL"),
    (OIDC % "roles: {x: admin}", "identity.oidc.a.roles: needs `claims.role`"),
    (OIDC % "claims: {role: groups}", "identity.oidc.a.claims.role: needs `roles`"),
    (OIDC % "teams: {x: y}", "identity.oidc.a.teams: needs `claims.team`"),
    (OIDC % "claims: {team: g}, teams: {x: lab}", "identity.oidc.a.teams.x: there is no team 'lab'"),
    (OIDC % "default_team: lab", "identity.oidc.a.default_team: there is no team 'lab'; there are: none"),
    (OIDC % "limits: {requests: [5/min, 6/min]}", "identity.oidc.a.limits.requests: holds two rates"),
    (OIDC % "client_secret: x", "client_secret: needs `client_id`"),
    (OIDC % "client_id: x, scopes: [email]", "must hold openid"),
    (OIDC % "require: {tid: []}", "identity.oidc.a.require.tid: must not be empty"),
    (OIDC % "routes: [nope]", "identity.oidc.a.routes[0]: there is no route or deployment 'nope'"),
    (OIDC % "roles: {x: king}", "'king' is not one of admin, developer"),
    (
        "identity: {oidc: {a: &a {issuer: 'https://i.example', audience: p}, b: *a}}",
        "identity.oidc.b.audience: is that of identity.oidc.a",
    ),
    ("identity: {trusted_proxies: [x]}", "identity.trusted_proxies[0]: 'x' is no address range"),
    ("identity: {client_certificates: {header: x}}", "header: needs `identity.trusted_proxies`"),
    (
        "identity: {client_certificates: {map: {'cn:a': k}}}",
        "map: needs `server.tls.client_ca`, or a `header` of a trusted proxy",
    ),
    ("identity: {client_certificates: {map: {a: k}}}", "'a' is no name of a certificate"),
    ("identity: {client_certificates: {map: {'cn:a': k}}}", "there is no key 'k'; there are: none"),
    ("identity: {public_url: 'https://x.example/app'}", "identity.public_url: must be as https://"),
    ("identity: {public_url: 'http://x.example'}", "identity.public_url: must be as https://"),
    ("identity: {public_url: 'https://x.example?app'}", "identity.public_url: must be as https://"),
    ("identity: {public_url: 'https://x.example:port'}", "identity.public_url: must be as https://"),
    ("identity: {public_url: x.example}", "identity.public_url: must be as https://"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_mistakes(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compiled(text)
    assert expected in str(raised.value)


def test_http_is_for_this_machine_or_for_who_insists() -> None:
    for issuer, more in (("http://127.0.0.1:8080", ""), ("http://keycloak:8080", ", insecure: on")):
        compiled(f"identity: {{oidc: {{a: {{issuer: '{issuer}', audience: p{more}}}}}}}")


def test_a_bind_that_others_reach_needs_some_credential() -> None:
    with pytest.raises(ConfigError, match=r"server\.host: 0\.0\.0\.0 can be reached"):
        compiled("server: {host: 0.0.0.0}")
    compiled("server: {host: 0.0.0.0}\n" + OIDC % "leeway: 1s")
    compiled("server: {host: 0.0.0.0}\nkeys: {k: {secret: s}}")


# -- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "other"):
        issued = ca.issue_cert("localhost")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    (tmp_path / "text.pem").write_text("hello")
    return tmp_path


def test_tls_files_lie_beside_the_configuration(folder: Path) -> None:
    path = folder / "penstock.yaml"
    path.write_text("server: {tls: {cert: server.pem, key: server.key, client_ca: ca.pem, client: required}}")
    snapshot = compile_settings(load(Flags(config=path), env={}).settings, secret=SECRET)
    files = [folder / name for name in ("server.pem", "server.key", "ca.pem")]
    assert snapshot.tls == Files(*files, requires_client=True)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{cert: none.pem, key: server.key}", "server.tls.cert: {}/none.pem cannot be read"),
        ("{cert: server.pem, key: none.key}", "server.tls.key: {}/none.key cannot be read"),
        ("{cert: server.pem, key: other.key}", "server.tls.key: {}/other.key is not the key of"),
        ("{cert: text.pem, key: server.key}", "server.tls.cert: {}/text.pem and"),
        (
            "{cert: server.pem, key: server.key, client_ca: text.pem}",
            "server.tls.client_ca: {}/text.pem holds",
        ),
        ("{cert: server.pem, key: server.key, client: required}", "server.tls.client: needs `client_ca`"),
    ],
)
def test_tls_files_that_cannot_be_used(written: str, expected: str, folder: Path) -> None:
    path = folder / "penstock.yaml"
    path.write_text(f"server: {{tls: {written}}}")
    with pytest.raises(ConfigError) as raised:
        compile_settings(load(Flags(config=path), env={}).settings, secret=SECRET)
    assert expected.format(folder) in str(raised.value)
