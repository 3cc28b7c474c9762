"""What a certificate can be known by, however it comes."""

import base64
from urllib.parse import quote

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from penstock.auth.certificates import as_configured, from_header, names


@pytest.fixture(scope="module")
def certificate() -> x509.Certificate:
    issued = trustme.CA().issue_cert("Runner.example.com", "ci@Example.com", common_name="runner")
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


def test_names(certificate: x509.Certificate) -> None:
    fingerprint = certificate.fingerprint(SHA256()).hex()
    found = names(certificate.public_bytes(Encoding.DER))
    assert found[0] == f"sha256:{fingerprint}"
    assert {"dns:runner.example.com", "email:ci@example.com", "cn:runner"} <= set(found)
    assert any(one.startswith("subject:CN=runner,") for one in found)


@pytest.mark.parametrize("way", ["nginx", "apache", "aws", "base64", "rfc9440", "traefik"])
def test_every_proxy_s_way(way: str, certificate: x509.Certificate) -> None:
    der, pem = (certificate.public_bytes(encoding) for encoding in (Encoding.DER, Encoding.PEM))
    plain = base64.b64encode(der)
    sent = {
        "nginx": quote(pem).encode(),
        "apache": pem.replace(b"\n", b" "),
        "aws": quote(pem, safe="+=/").encode(),
        "base64": plain,
        "rfc9440": b":%b:" % plain,
        "traefik": quote(plain, safe="").encode() + b"," + plain,
    }[way]
    assert from_header(sent) == der


@given(st.binary(max_size=300))
def test_anything_else_is_none(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_header(value)


@pytest.mark.parametrize(
    "value", [b"A" * 20_000, b"-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----"]
)
def test_large_or_broken_ones_are_none(value: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_header(value)


def test_a_version_that_there_is_not_is_none(certificate: x509.Certificate) -> None:
    odd = certificate.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    for reads in (names, lambda der: from_header(base64.b64encode(der))):
        with pytest.raises(ValueError, match="cannot be read"):
            reads(odd)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cn:runner", "cn:runner"),
        ("CN: runner", "cn:runner"),
        ("dns:Runner.Example.com", "dns:runner.example.com"),
        ("uri:spiffe://example.com/ci", "uri:spiffe://example.com/ci"),
        ("sha256:" + ":".join(["AB"] * 32), "sha256:" + "ab" * 32),
        ("subject:CN=a,O=b", "subject:CN=a,O=b"),
    ],
)
def test_as_written(written: str, meant: str) -> None:
    assert as_configured(written) == meant


@pytest.mark.parametrize("written", ["runner", "sha1:00", "sha256:abc", "cn:", ":x"])
def test_what_is_no_name(written: str) -> None:
    with pytest.raises(ValueError, match=r"no name of a certificate|64 hexadecimal"):
        as_configured(written)
