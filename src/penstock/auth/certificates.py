"""Client certificates: the names one can be known by, and how proxies pass one on.

A name in the configuration is `kind:value`, and one certificate bears several; the first of these that the
configuration knows decides:

    sha256:<hex>      the fingerprint of the certificate
    uri:<URI>         a SAN, such as spiffe://example.com/ci
    dns:<host>        a SAN
    email:<address>   a SAN
    subject:<DN>      the whole subject as RFC 4514 writes it, such as CN=ci,O=Example
    cn:<name>         the subject's common name

Whoever calls here has had the certificate verified: our own listener against `client_ca`, or a trusted proxy.
"""

import base64
import binascii
import functools
import re
from typing import Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

KINDS: Final = ("sha256", "uri", "dns", "email", "subject", "cn")
MAX_HEADER_BYTES: Final = 16 * 1024
# What the library raises for odd certificates besides ValueError.
_ODD: Final = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


@functools.lru_cache(maxsize=1024)
def names(der: bytes) -> tuple[str, ...]:
    """What a certificate can be known by, in the order of KINDS. Raises ValueError when it is none."""
    try:
        return tuple(_names(x509.load_der_x509_certificate(der)))
    except _ODD as exc:
        raise ValueError(f"the certificate cannot be read: {exc}") from exc


def _names(certificate: x509.Certificate) -> list[str]:
    found = [f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"]
    try:
        other = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        other = x509.SubjectAlternativeName([])
    found += [f"uri:{uri}" for uri in other.get_values_for_type(x509.UniformResourceIdentifier)]
    found += [f"dns:{host.lower()}" for host in other.get_values_for_type(x509.DNSName)]
    found += [f"email:{address.lower()}" for address in other.get_values_for_type(x509.RFC822Name)]
    if subject := certificate.subject.rfc4514_string():
        found.append(f"subject:{subject}")
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    found += [f"cn:{str(one.value)}" for one in common]  # noqa: RUF010 - bytes of an odd encoding, too
    return found


def as_configured(written: str) -> str:
    """A name of the configuration as `names` would say it. Raises ValueError with a sentence."""
    kind, colon, value = written.partition(":")
    kind, value = kind.strip().lower(), value.strip()
    if not colon or kind not in KINDS or not value:
        raise ValueError(
            f"{written!r} is no name of a certificate; write {', '.join(f'{kind}:...' for kind in KINDS)}"
        )
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise ValueError(f"{written!r}: a SHA-256 fingerprint has 64 hexadecimal digits")
    elif kind in ("dns", "email"):
        value = value.lower()
    return f"{kind}:{value}"


def from_header(value: bytes) -> bytes:
    """The certificate (DER) in a proxy's header. Raises ValueError.

    nginx and AWS escape its PEM for URLs, Apache joins its lines by spaces, HAProxy, Traefik and Caddy send
    base64 of its DER, RFC 9440 puts colons around that. Of several the first is the client's.
    """
    if len(value) > MAX_HEADER_BYTES:
        raise ValueError("the header is too long for a certificate")
    text = unquote(value.decode("latin-1")).strip()  # not unquote_plus: a + is base64's own
    found = _PEM.search(text)
    body = found[1] if found is not None else text.split(",", 1)[0].strip().strip(":")
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as exc:
        raise ValueError("the header holds no certificate") from exc
    try:
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.DER)
    except _ODD as exc:
        raise ValueError(f"the certificate cannot be read: {exc}") from exc
