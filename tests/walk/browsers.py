"""A browser that signs in: cookies, and redirects one by one."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from gateways import Answer, Gateway

from penstock.lib import http1
from penstock.testing.oidc import OidcProvider


class Browser:
    """Cookies, and redirects one by one."""

    def __init__(self, gate: Gateway, idp: OidcProvider) -> None:
        self.gate = gate
        self.idp = idp
        self.cookies: dict[str, str] = {}
        self.gone: dict[str, str] = {}  # as they were before they were deleted
        self.attributes: dict[str, str] = {}

    def sent(self) -> dict[str, str]:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"authorization": "", "cookie": kept}

    async def go(self, path: str, *, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """headers: their names with _ for -."""
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.gate.open(path, body, headers={**self.sent(), **said}, method=method)
        for name, value in response.headers:
            if name.lower() == b"set-cookie":
                pair, _, rest = value.decode().partition("; ")
                key, _, content = pair.partition("=")
                self.attributes[key] = rest
                self.cookies[key] = content
                if "Max-Age=0" in rest:
                    del self.cookies[key]
                elif content:
                    self.gone[key] = content
        found = {name.decode(): value.decode() for name, value in response.headers}
        return Answer(response.status, found, await response.read(1_000_000))

    async def until(
        self, status: int, path: str, *, method: str = "GET", body: Any = None, **headers: str
    ) -> None:
        """Until it gets this answer."""
        async with asyncio.timeout(5):
            while (await self.go(path, method=method, body=body, **headers)).status != status:
                await asyncio.sleep(0.02)

    async def authorize(self, url: str) -> str:
        """The path and query that the issuer sends us back with."""
        origin, _ = http1.Origin.parse(self.idp.url)
        parts = urlsplit(url)
        response = await self.gate.client.request(origin, "GET", f"{parts.path}?{parts.query}")
        await response.read(10_000)
        assert response.status == 302
        back = urlsplit(next(value.decode() for name, value in response.headers if name == b"location"))
        return f"{back.path}?{back.query}"

    async def sign_in(self, after: str = "/") -> Answer:
        begun = await self.go(f"/auth/login/corp?next={after}")
        assert begun.status == 302, begun.body
        return await self.go(await self.authorize(begun.headers["location"]))
