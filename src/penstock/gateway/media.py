"""Fetches an image or file that a request points to, for vendors that take bytes only.

The URL is the client's, the network is ours: without a guard a caller could read what only this machine can
reach (server-side request forgery). So

    schemes      http and https, ports 80 and 443 only, no credentials in the URL
    addresses    the name is resolved here, every address must be public, and the connection goes to the very
                 address that was checked: a name that resolves otherwise the second time gains nothing
    redirects    at most REDIRECTS, each checked anew
    size, time   LIMIT_BYTES, WITHIN_S for all of it
    kind         what the server calls an image, sound, film, PDF or text

Hosts the operator names (`server.media_hosts`) may have private addresses and any port: an image store of
one's own. What a client hears never tells an address, nor what a private host answered.
"""

import asyncio
import base64
from urllib.parse import urljoin, urlsplit

from penstock.lib import http1
from penstock.lib.addresses import NotPublic, public_address
from penstock.types.errors import InvalidRequest

LIMIT_BYTES = 20 * 1024 * 1024
WITHIN_S = 10.0
REDIRECTS = 3
KINDS = ("image/", "audio/", "video/", "text/", "application/pdf")
_TIMEOUTS = http1.Timeouts(connect_s=5.0, first_byte_s=WITHIN_S, between_s=WITHIN_S, total_s=WITHIN_S)


class Media:
    def __init__(self, client: http1.Client, private_hosts: frozenset[str] = frozenset()) -> None:
        self._client = client
        self._private_hosts = private_hosts

    async def fetch(self, url: str) -> tuple[str, str]:
        """(media type, base64) of what is at `url`. Raises InvalidRequest."""
        try:
            async with asyncio.timeout(WITHIN_S):
                for _ in range(1 + REDIRECTS):
                    found = await self._get(url)
                    if isinstance(found, tuple):
                        return found
                    url = urljoin(url, found)
        except TimeoutError as exc:
            raise InvalidRequest(f"The media at {shown(url)} did not arrive in {WITHIN_S:g} s.") from exc
        except http1.BodyTooLarge as exc:
            limit = LIMIT_BYTES // (1024 * 1024)
            raise InvalidRequest(f"The media at {shown(url)} is larger than {limit} MB.") from exc
        except http1.HTTPClientError as exc:
            raise InvalidRequest(f"The media at {shown(url)} could not be fetched.") from exc
        raise InvalidRequest(f"The media at {shown(url)} is redirected more than {REDIRECTS} times.")

    async def _get(self, url: str) -> tuple[str, str] | str:
        """What is there, or where it has moved."""
        try:
            parts = urlsplit(url)
            origin, _ = http1.Origin.parse(f"{parts.scheme}://{parts.netloc}")
        except ValueError as exc:
            raise InvalidRequest(f"{shown(url)} is no http or https URL that can be fetched.") from exc
        if origin.uds is not None:
            raise InvalidRequest(f"{shown(url)} is no http or https URL that can be fetched.")
        origin = origin._replace(ip=await self._checked(origin, url))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = (("accept", "image/*, audio/*, video/*, application/pdf, text/*"),)
        response = await self._client.request(origin, "GET", target, headers, timeouts=_TIMEOUTS)
        try:
            moved = response.header(b"location")
            if response.status in (301, 302, 303, 307, 308) and moved is not None:
                return moved.decode("latin-1")
            if response.status != 200:
                raise InvalidRequest(f"The media at {shown(url)} could not be fetched.")
            media_type = (
                (response.header(b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
            )
            if not media_type.startswith(KINDS):
                raise InvalidRequest(f"What is at {shown(url)} is no image, sound, film or document.")
            return media_type, base64.b64encode(await response.read(LIMIT_BYTES)).decode()
        finally:
            response.close()

    async def _checked(self, origin: http1.Origin, url: str) -> str | None:
        """The address to connect to; None = as the name says. Raises InvalidRequest."""
        if origin.host.lower() in self._private_hosts:
            return None
        refused = InvalidRequest(f"{shown(url)} is not fetched: only public addresses are.")
        if origin.port not in (80, 443):
            raise refused
        try:
            return await public_address(origin.host, origin.port)
        except NotPublic as exc:
            raise refused from exc
        except OSError as exc:
            raise InvalidRequest(f"The media at {shown(url)} could not be fetched.") from exc


def shown(url: str) -> str:
    """A URL as an error may repeat it: no query (it may hold a signature), not endless."""
    return url.partition("?")[0].partition("#")[0][:200]
