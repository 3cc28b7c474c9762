"""Cookies that only we can write and read: AES-256-GCM under keys derived from the server's secret.

Hosts that share `server.secret` read each other's. What was sealed for one purpose opens for no other.
"""

import base64
import binascii
import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_CHARS: Final = 3900  # browsers keep 4096 bytes of a cookie, its name and attributes included
_NONCE_BYTES: Final = 12


class Sealer:
    def __init__(self, secret: bytes, purpose: str) -> None:
        # `person` keeps this apart from the hashes of keys, which are made with the same secret.
        key = hashlib.blake2b(purpose.encode(), key=secret, digest_size=32, person=b"penstock-seal").digest()
        self._cipher = AESGCM(key)

    def seal(self, content: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, None)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str) -> bytes | None:
        """None for what we did not seal."""
        if len(text) > MAX_CHARS or not text.isascii():
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except (binascii.Error, InvalidTag, ValueError):
            return None
