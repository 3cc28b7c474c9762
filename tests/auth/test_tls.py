"""The context that is served, and its files when they change. On memory: no socket, no clock."""

import os
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from penstock.auth.tls import BadFiles, Door, Files, make_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def issue(ca: trustme.CA, folder: Path, name: str) -> Files:
    issued = ca.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return Files(folder / "cert.pem", folder / "key.pem")


def served(context: ssl.SSLContext, ca: trustme.CA, *, host: str, limit: ssl.TLSVersion | None = None) -> str:
    """The name in the certificate that a client gets, after a handshake in memory."""
    mine = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    mine.set_alpn_protocols(["h2", "http/1.1"])
    if limit is not None:
        mine.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        mine.maximum_version = limit
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = mine.wrap_bio(to_client, to_server, server_hostname=host)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
    assert client.selected_alpn_protocol() == "http/1.1"
    der = client.getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.DNSName)[0]


def reload(door: Door, *, always: bool = False) -> bool:
    if not door.has_new(always=always):
        return False
    door.take()
    return True


def test_tls_1_2_and_newer(tmp_path: Path, authority: trustme.CA) -> None:
    context = make_context(issue(authority, tmp_path, "a.example"))
    assert served(context, authority, host="a.example") == "a.example"
    assert served(context, authority, host="a.example", limit=ssl.TLSVersion.TLSv1_2) == "a.example"
    with pytest.warns(DeprecationWarning, match="TLSVersion"), pytest.raises(ssl.SSLError):
        served(context, authority, host="a.example", limit=ssl.TLSVersion.TLSv1_1)


def test_new_files_are_served_from_the_next_handshake_on(tmp_path: Path, authority: trustme.CA) -> None:
    door = Door(issue(authority, tmp_path, "old.example"))
    assert served(door.context, authority, host="old.example") == "old.example"
    assert not reload(door)  # nothing has changed
    issue(authority, tmp_path, "new.example")
    assert reload(door)
    assert served(door.context, authority, host="new.example") == "new.example"


def test_a_pair_that_does_not_fit_leaves_the_old_one(tmp_path: Path, authority: trustme.CA) -> None:
    door = Door(issue(authority, tmp_path, "old.example"))
    authority.issue_cert("x.example").private_key_pem.write_to_path(tmp_path / "key.pem")  # half a change
    assert not reload(door)
    assert served(door.context, authority, host="old.example") == "old.example"
    issue(authority, tmp_path, "new.example")
    assert reload(door)
    assert served(door.context, authority, host="new.example") == "new.example"


def test_files_that_went_leave_the_old_ones(tmp_path: Path, authority: trustme.CA) -> None:
    door = Door(issue(authority, tmp_path, "old.example"))
    (tmp_path / "cert.pem").unlink()
    assert not reload(door, always=True)
    assert served(door.context, authority, host="old.example") == "old.example"


def test_a_key_with_a_password_is_refused_without_asking_for_it(
    tmp_path: Path, authority: trustme.CA
) -> None:
    files = issue(authority, tmp_path, "a.example")
    key = load_pem_private_key(files.key.read_bytes(), None)
    secret = BestAvailableEncryption(b"pass")
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    with pytest.raises(BadFiles, match="is encrypted") as raised:
        make_context(files)
    assert raised.value.field == "key"


def test_a_new_authority_of_clients_is_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    files = issue(authority, tmp_path, "a.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    door = Door(Files(files.cert, files.key, tmp_path / "ca.pem", requires_client=True))
    assert door.context.verify_mode is ssl.CERT_REQUIRED
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    os.utime(tmp_path / "ca.pem", (1, 1))
    assert reload(door)
    assert door.context.cert_store_stats()["x509_ca"] == 2


def test_files_that_change_while_they_are_read_are_looked_at_again(
    tmp_path: Path, authority: trustme.CA
) -> None:
    files = issue(authority, tmp_path, "old.example")
    door = Door(files)
    issue(authority, tmp_path, "new.example")
    assert door.has_new(always=True)
    files.cert.rename(tmp_path / "away.pem")
    door.take()
    assert served(door.context, authority, host="old.example") == "old.example"
    (tmp_path / "away.pem").rename(files.cert)
    assert reload(door)
    assert served(door.context, authority, host="new.example") == "new.example"
