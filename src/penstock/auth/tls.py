"""TLS at our own door: a context from files, which are read again when they change.

TLS 1.2 or newer, HTTP/1.1 by ALPN. With `client_ca` clients may show a certificate of it, or must. A pair of
files that does not fit leaves the one that is served. A new `client_ca` is trusted besides the old one until
the next start: OpenSSL takes no trust back.
"""

import contextlib
import ssl
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import structlog

EVERY_S = 10.0  # how often the files are looked at

_log = structlog.get_logger("penstock.auth")


class Files(msgspec.Struct, frozen=True):
    """cert: the chain, the server's own certificate first. client_ca: who vouches for clients."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    requires_client: bool = False

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.cert, self.key) if self.client_ca is None else (self.cert, self.key, self.client_ca)


class BadFiles(ValueError):
    """`field` is the setting that names the file."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def make_context(files: Files) -> ssl.SSLContext:
    """Raises BadFiles. Reads files: blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    load(context, files)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED if files.requires_client else ssl.CERT_OPTIONAL
    return context


def load(context: ssl.SSLContext, files: Files) -> None:
    """Serves these from the next handshake on. Raises BadFiles."""
    for field, path in zip(("cert", "key", "client_ca"), files.all, strict=False):
        try:
            path.read_bytes()
        except OSError as exc:
            raise BadFiles(field, f"{path} cannot be read: {exc.strerror}") from exc
    try:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except _EncryptedKey as exc:
        raise BadFiles("key", f"{files.key} is encrypted; store it without a password") from exc
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise BadFiles("key", f"{files.key} is not the key of {files.cert}") from exc
        raise BadFiles("cert", f"{files.cert} and {files.key} hold no certificate and key in PEM") from exc
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError as exc:
            raise BadFiles("client_ca", f"{files.client_ca} holds no certificates in PEM") from exc


class Door:
    """The context that is served, and its files."""

    def __init__(self, files: Files) -> None:
        """Raises BadFiles. Reads files: blocks."""
        self.files = files
        self._seen = self._look()
        self.context = make_context(files)

    def has_new(self, *, always: bool = False) -> bool:
        """Whether the files have changed, or `always`, and can be served. Blocks: call it in a thread."""
        seen = self._look()
        if seen == self._seen and not always:
            return False
        self._seen = seen
        try:
            make_context(self.files)  # a context of its own: a bad pair must not reach the served one
        except BadFiles as exc:
            _log.error("new TLS files cannot be used; the old ones are served on", reason=str(exc))
            return False
        return True

    def take(self) -> None:
        """Serves what the files hold now, after `has_new`.

        On the thread of the loop, where handshakes begin: OpenSSL guards no context against both at once.
        """
        try:
            load(self.context, self.files)
        except BadFiles as exc:  # they changed once more since they were looked at
            self._seen = ()
            _log.error("new TLS files went while they were read", reason=str(exc))
        else:
            _log.info("TLS files were read again", cert=str(self.files.cert))

    def _look(self) -> tuple[Any, ...]:
        found: list[Any] = []
        for path in self.files.all:
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)


class _EncryptedKey(Exception):
    """OpenSSL asks for a password, and nobody is there to type one."""


def _no_password() -> NoReturn:
    raise _EncryptedKey
