"""Who calls, where that takes more than the lookup of a key: tokens, certificates, sessions, addresses.

    policy.py         what the configuration says of it, compiled
    tokens.py         a bearer token (JWT) -> who it is of
    jwks.py           the keys that an issuer signs with, fetched and kept
    web.py            the requests that takes, and where they may go
    certificates.py   a client certificate -> the names it can be known by
    addresses.py      where a request comes from, through trusted proxies
    attempts.py       who fails again and again is answered later
    login.py          a person signs in (authorization code + PKCE), and the session after it
    seal.py           cookies that only we can write and read
    tls.py            TLS at our own door

Nothing here knows HTTP requests: gateway/callers.py and gateway/signin.py do.
"""
